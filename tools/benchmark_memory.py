"""Time schedules, peaks and arenas against plain baselines in the same run."""

from __future__ import annotations

import csv
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np

import irprune
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.ops import Add, Conv2d
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import MemoryModel, memory_model, timeline
from irprune.passes.analysis.packing import Block, pack
from irprune.passes.analysis.peak_model import PeakModel
from irprune.passes.analysis.schedule import best_order
from tests.memory_models import memory_model_of
from tools.benchmark import check

SHARED = Path("../shared/cases")


def seconds_of(function: Callable[..., object], *args: object) -> float:
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def randwire(nodes: int, seed: int) -> Graph:
    """A stage of a randomly wired network (Xie et al., 2019): Watts-Strogatz, k 4, p 0.75.

    Every node is a sum of what it reads, a depthwise and a pointwise convolution.
    """
    wires = nx.connected_watts_strogatz_graph(nodes, 4, 0.75, seed=seed)
    b = Builder(f"randwire {nodes}")
    x = b.input("x", (1, 16, 14, 14))
    depthwise = b.constant("depthwise", np.zeros((16, 1, 3, 3), np.float32))
    pointwise = b.constant("pointwise", np.zeros((16, 16, 1, 1), np.float32))
    made: dict[int, Value] = {}
    for node in range(nodes):
        reads = [made[other] for other in sorted(wires[node]) if other < node] or [x]
        value = reads[0] if len(reads) == 1 else b.add(Add(), *reads)
        value = b.add(Conv2d(padding=((1, 1), (1, 1)), groups=16), value, depthwise)
        made[node] = b.add(Conv2d(), value, pointwise)
    ends = [made[node] for node in wires if max(wires[node]) < node]
    return b.finish([b.add(Add(), *ends) if len(ends) > 1 else ends[0]])


def set_dp(model: MemoryModel) -> int:
    """The least peak by dynamic programming over all sets of executed steps, and nothing else."""
    readers = [
        {at for at, s in enumerate(model.steps) if b in s.reads} for b in range(len(model.sizes))
    ]
    level = {frozenset[int](): 0}
    for _ in model.steps:
        following: dict[frozenset[int], int] = {}
        for done, peak in level.items():
            live = sum(
                model.sizes[b]
                for b in range(len(model.sizes))
                if (b in model.inputs or any(b in model.steps[at].makes for at in done))
                and (b in model.outputs or not readers[b] <= done)
            )
            for at, step in enumerate(model.steps):
                if at in done or not done.issuperset(step.after):
                    continue
                after = done | {at}
                made = sum(model.sizes[b] for b in step.makes)
                over = step.overwrites and any(
                    model.sizes[b] == made and b not in model.outputs and readers[b] <= after
                    for b in step.reads
                )
                usage = max(peak, live + (0 if over else made))
                following[after] = min(usage, following.get(after, usage))
        level = following
    return min(level.values())


def topological_peak(model: MemoryModel) -> int:
    """The peak of the order that networkx gives."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(model.steps)))
    graph.add_edges_from((a, at) for at, step in enumerate(model.steps) for a in step.after)
    return timeline(model, list(nx.topological_sort(graph))).peak


def compare_with_set_dp() -> list[bool]:
    met = []
    for nodes in (8, 10, 12):
        model = memory_model(randwire(nodes, 1), Precision.INT8)
        found = best_order(model)
        ours = statistics.median(seconds_of(best_order, model) for _ in range(5))
        start = time.perf_counter()
        agreed = set_dp(model) == found.peak and found.proven
        theirs = time.perf_counter() - start
        note = f"{1e3 * ours:.1f} ms and {1e3 * theirs:.0f} ms"
        met += [agreed, check(f"schedule / set-DP, randwire {nodes}", ours / theirs, 1, "x", note)]
    return met


def compare_with_topological_order() -> list[bool]:
    ratios = []
    for seed in range(20):
        model = memory_model(randwire(32, seed), Precision.INT8)
        ratios.append(topological_peak(model) / best_order(model).peak)
    note = f"least {min(ratios):.2f}, greatest {max(ratios):.2f}, 20 stages"
    median = statistics.median(ratios)
    print(f"{'peak of networkx topological_sort / ours, randwire 32':<52} {median:.2f} x  {note}")
    return [min(ratios) >= 1]


def time_peak_models() -> list[bool]:
    """Random sizes: one a buffer, and for the sums of randwire also one for all, as they want."""
    mobilenet = irprune.load("zoo:mobilenet_v2?classes=2&input=3x50x50")
    return [
        time_peaks("MobileNetV2", mobilenet, 3),
        time_peaks("randwire 32, one size", randwire(32, 0), 50, tied=True),
        time_peaks("randwire 32, one a buffer", randwire(32, 0), 50),
    ]


def time_peaks(name: str, graph: Graph, bound: float, *, tied: bool = False) -> bool:
    peaks = PeakModel(irprune.deployed(graph))
    peaks.peak(peaks.sizes)
    rng = np.random.default_rng(0)
    count = 1 if tied else len(peaks.sizes)
    drawn = [np.maximum(1, peaks.sizes * rng.uniform(0.2, 1, count)) for _ in range(50)]
    times = [1e3 * seconds_of(peaks.peak, sizes) for sizes in drawn]
    note = f"slowest of {len(times)} {max(times):.1f}"
    return check(f"PeakModel.peak, {name}", statistics.median(times), bound, "ms", note)


def time_shared_cases() -> list[bool]:
    path = SHARED / "peak_memory.json"
    if not path.exists():
        print(f"{path} is absent: its graphs are not timed")
        return []
    times, right = {}, []
    for case in json.loads(path.read_text())["cases"]:
        model, _ = memory_model_of(case)
        times[case["name"]] = seconds_of(best_order, model)
        right.append(best_order(model).lower_bound == case["peak"])
    fused = [t for name, t in times.items() if name.startswith("randwire_") and "32" in name]
    return [
        all(right),
        check(
            "schedule, median of shared graphs", 1e3 * statistics.median(times.values()), 5, "ms"
        ),
        check("schedule, slowest randwire 32", 1e3 * max(fused), 100, "ms"),
        check("schedule, all shared graphs", sum(times.values()), 90, "s"),
    ]


def time_packings() -> list[bool]:
    met = []
    for path in sorted((SHARED / "arena").glob("*.csv")):
        capacity = int(path.name.split(".")[1])
        with path.open() as file:
            rows = [{k: int(v) for k, v in row.items()} for row in csv.DictReader(file)]
        blocks = [Block(row["lower"], row["upper"], Bytes(row["size"])) for row in rows]
        start = time.perf_counter()
        size = pack(blocks, goal=capacity, time_limit=60).size
        note = f"{size:,} of {capacity:,} bytes"
        met += [
            size <= capacity,
            check(f"pack {path.name}", time.perf_counter() - start, 60, "s", note),
        ]
    return met


def measure_schedules() -> list[bool]:
    print()
    return [
        *compare_with_set_dp(),
        *compare_with_topological_order(),
        *time_peak_models(),
        *time_shared_cases(),
        *time_packings(),
    ]
