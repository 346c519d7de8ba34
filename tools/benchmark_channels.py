"""Time finding channel groups beside torch-pruning, and pruning a model from the command line."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch_pruning

import irprune as compiler
from irprune import zoo
from irprune.ir.errors import IrpruneError
from irprune.passes.analysis.channels import channels
from tools.benchmark import check, export_mobilenet, irprune, seconds

MOBILENET = "mobilenet_v2?classes=1000&input=3x224x224"
SMALL = "mobilenet_v2?classes=2&input=3x50x50"
TIMES_FASTER = 10


def measure_channels(runs: int = 7) -> list[bool]:
    """Groups of MobileNetV2 and of every zoo network, and a budget of half of MobileNetV2."""
    ratio, note = time_groups(MOBILENET, runs)
    met = check("channel groups of MobileNetV2", ratio, 1 / TIMES_FASTER, "x", note)
    ratio, note = time_groups(SMALL, runs)
    print(f"{'the same for images of 50x50':<52}{ratio:>9.3f} x   {note}")
    return [met, *compare_zoo(), time_pruning()]


def time_groups(spec: str, runs: int) -> tuple[float, str]:
    """Our time over torch-pruning's, on one core; what reading the module takes is told apart."""
    torch.set_num_threads(1)
    module, inputs = zoo.from_spec(spec)
    start = time.perf_counter()
    graph = compiler.load(module, inputs)
    read = time.perf_counter() - start
    ours, theirs = [], []
    for _ in range(runs):
        # A graph of its own each time, as analyses are kept with theirs.
        ours.append(elapsed(channels, replace(graph, name=graph.name)))
        theirs.append(elapsed(peer_groups, module, inputs))
    ratio = statistics.median(ours) / statistics.median(theirs)
    note = (
        f"of torch-pruning's {1e3 * statistics.median(theirs):.0f} ms; "
        f"{1e3 * statistics.median(ours):.1f} ms, reading the module {read:.2f} s"
    )
    return ratio, note


def compare_zoo() -> list[bool]:
    """For every network how many groups both find that can lose channels, and in what time."""
    print(f"\n{'network':<20}{'groups':>8}{'ms':>8}{'  torch-pruning':<20}{'ms':>8}")
    handled = []
    for name in zoo.names():
        module, inputs = zoo.from_spec(name)
        graph = compiler.load(module, inputs)
        start = time.perf_counter()
        try:
            free = len(channels(graph).free)
        except IrpruneError as error:
            print(f"{name:<20} {error}")
            handled.append(False)
            continue
        ours = time.perf_counter() - start
        start = time.perf_counter()
        theirs = peer_groups(module, inputs)
        peer = time.perf_counter() - start
        print(f"{name:<20}{free:>8}{1e3 * ours:>8.1f}  {theirs:<18}{1e3 * peer:>8.0f}")
        handled.append(True)
    return handled


def time_pruning() -> bool:
    """The whole command, from an ONNX file to another."""
    with tempfile.TemporaryDirectory() as name:
        model, out = Path(name) / "mobilenet_v2.onnx", Path(name) / "half.onnx"
        export_mobilenet(model)
        costs = compiler.analyze(compiler.load(model)).costs
        budget = f"macs={costs.macs // 2} sram={costs.peak_sram // 2}"
        took = seconds(irprune("prune", str(model), "-o", str(out), "--budget", budget))
    return check("irprune prune, half the MACs and the peak", took, 5, "s")


def peer_groups(module: Any, inputs: Any) -> int:
    """How many groups torch-pruning finds."""
    graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=inputs)
    return len(list(graph.get_all_groups()))


def elapsed(function: Any, *args: Any) -> float:
    """Seconds of a call that has to collect no garbage but its own."""
    gc.collect()
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start
