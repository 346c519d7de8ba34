"""Learned sparsity beside fixed sparsity and a dense network of the same size, on CIFAR-10.

    python tools/experiments/sparsity.py table ../shared/data OUT
    python tools/experiments/sparsity.py bytes ../shared/data OUT

The first is Table 2 of Retsinas et al. in small: a wide residual network, all convolutions but the
first at 85 % sparsity. The second trains to a budget of bytes as Vela encodes weights, the budget
being what fixed uniform sparsity takes for the same seed; both are compiled for an Ethos-U55, and
their accuracy is that of the int8 model in LiteRT. Each run is a process on one core that writes a
file in OUT; those that are there already are not repeated, and refused where they are of other
settings. At the end a table of all is printed; the exit code is 1 where a run has failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

import irprune
from irprune import zoo
from irprune.ir.types import Bytes
from irprune.training.data import Batches, Samples, Splits, splits
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import Density, FixedSparsity, SparsityOptions, Threshold
from irprune.training.sparsity_terms import BoundedBytes, BoundedCost, SparsityCost, SparsityTerm

DEPTH, WIDTH = 10, 2.0
SPARSITY = 0.85
BATCH = 64
RATE = 0.1
CLASSES = 10
WARM_UP = 0.05
FROZEN = 0.8
"""The share of the steps after which masks stay, where models are compiled."""
CALIBRATED = 128
ACCELERATOR = "ethos-u55-128"
LEAVE = ("1.features.0.weight", "1.dense.weight")
"""What the paper leaves whole: the first convolution and the classifier."""

Goal = FixedSparsity | Sequence[SparsityTerm]


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        goal: what sparsity is learned for; None for a dense network.
        width: how much wider than the thinnest the network is.
        density: what the loss takes for the density of a layer.
    """

    goal: Goal | None = None
    width: float = WIDTH
    density: Density = Density.COUNTED


METHODS = {
    "reference": Method(),
    "equivalent dense": Method(width=WIDTH * math.sqrt(1 - SPARSITY)),
    "fixed-BS": Method(FixedSparsity(SPARSITY)),
    "fixed-GA": Method(FixedSparsity(SPARSITY, Threshold.GAUSSIAN)),
    "budget-avg": Method([BoundedCost(SparsityCost.LAYERS, 1 - SPARSITY)]),
    "budget-wavg": Method([BoundedCost(SparsityCost.PARAMETERS, 1 - SPARSITY)]),
    "budget-wavg, Gaussian densities": Method(
        [BoundedCost(SparsityCost.PARAMETERS, 1 - SPARSITY)], density=Density.GAUSSIAN
    ),
}
"""By the name in the table; the dense network's widths are those of Eq. 12."""

UNIFORM = (0.7, 0.85, 0.95)
"""Fixed sparsities whose bytes are the budgets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=("table", "bytes"))
    parser.add_argument("data", type=Path, help="the folder with the data")
    parser.add_argument("out", type=Path, help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--steps", type=int, default=1500, help="of each run")
    parser.add_argument("--test", type=int, default=10_000, help="images to test on")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        name, seed = given.run[0], int(given.run[1])
        make = trained if given.task == "table" else compared
        found = {"settings": settings(given, name), **make(name, seed, given)}
        write(found, result(given, name, seed))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    names = list(METHODS) if given.task == "table" else [str(s) for s in UNIFORM]
    runs = [(name, seed) for seed in range(given.seeds) for name in names]
    for name in names:
        results(given, name)  # which refuses those of other settings before anything is run
    with ThreadPoolExecutor(given.jobs) as pool:
        done = list(pool.map(lambda run: start(given, *run), runs))
    rows = {name: results(given, name) for name in names}
    (print_table if given.task == "table" else print_bytes)(rows)
    if not all(done):
        raise SystemExit(1)


def settings(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """All that a run's numbers depend on beside its seed."""
    return {
        "goals": repr(
            METHODS[name].goal if given.task == "table" else (float(name), BoundedBytes(Bytes(0)))
        ),
        "options": repr(options(given, name)),
        "network": [DEPTH, METHODS[name].width if given.task == "table" else WIDTH],
        "training": [given.steps, BATCH, RATE, WARM_UP, FROZEN],
        "encoding": [ACCELERATOR, CALIBRATED],
        "tested": given.test,
    }


def start(given: argparse.Namespace, name: str, seed: int) -> bool:
    """One run in a process of its own, unless it has been done; whether it is there now."""
    if result(given, name, seed).exists():
        return True
    began = time.time()
    command = [sys.executable, *sys.argv, "--run", name, str(seed)]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{time.time() - began:.0f} s" if done.returncode == 0 else done.stderr[-2000:]
    print(f"{given.task}, {name}, seed {seed}: {said}", file=sys.stderr, flush=True)
    return done.returncode == 0


def result(given: argparse.Namespace, name: str, seed: int) -> Path:
    """Runs of other lengths, or tested on other images, have other names."""
    of = f"{given.task}-{name.replace(', ', '-').replace(' ', '-')}"
    return Path(given.out, f"{of}-{given.steps}-steps-{given.test}-tested-{seed}.json")


def write(found: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1) + "\n")
    partial.rename(path)


def trained(name: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """A row's network on reals, as its masks are at the end."""
    method, data = METHODS[name], read(given.data, seed)
    began = time.time()
    module, inputs = network(method.width, seed)
    learner = None
    if method.goal is not None:
        learner = SparsityLearner(module, inputs, method.goal, options=options(given, name))
    train(module, learner, data, seed, given.steps)
    seconds = time.time() - began
    parameters = sum(p.numel() for p in module.parameters())
    layers = {} if learner is None else dict(learner.sparsities)
    gone = sum(module.get_parameter(path).numel() * share for path, share in layers.items())
    return {
        "accuracy": accuracy(module, first(data.test, given.test)),
        "sparsity": None if learner is None else learner.sparsity,
        "parameters": round(parameters - gone),
        "seconds": seconds,
        "layers": layers,
    }


def compared(name: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Fixed uniform sparsity, and sparsity learned for the bytes that it takes."""
    data = read(given.data, seed)
    how = options(given, name)
    uniform = compiled_run(FixedSparsity(float(name)), how, data, seed, given)
    goal = [BoundedBytes(Bytes(uniform["bytes"]))]
    return {"uniform": uniform, "learned": compiled_run(goal, how, data, seed, given)}


def options(given: argparse.Namespace, name: str) -> SparsityOptions:
    """How the runs of a row learn."""
    if given.task == "table":
        return SparsityOptions(leave=LEAVE, density=METHODS[name].density)
    return SparsityOptions(leave=LEAVE, every=max(1, given.steps // 5))


def compiled_run(
    goal: Goal, how: SparsityOptions, data: Splits, seed: int, given: argparse.Namespace
) -> dict[str, Any]:
    """A network trained, compiled and encoded by Vela."""
    began = time.time()
    module, inputs = network(WIDTH, seed)
    shown = first(data.train, CALIBRATED)
    samples = [[shown[i][0][None].numpy()] for i in range(len(shown))]

    bounded = not isinstance(goal, FixedSparsity)
    check = irprune.compiled_bytes(ACCELERATOR, samples[:4]) if bounded else None
    learner = SparsityLearner(module, inputs, goal, options=how, check=check)
    train(module, learner, data, seed, given.steps, frozen=FROZEN)
    sparse = learner.finish().eval()
    seconds = time.time() - began
    graph = irprune.load(sparse, inputs)
    file = irprune.compile_tflite(graph, samples).data
    test = first(data.test, given.test)
    return {
        "accuracy": accuracy(sparse, test),
        "int8_accuracy": int8_accuracy(file, test),
        "bytes": round(irprune.compiled_bytes(ACCELERATOR, samples)(graph)),
        "sparsity": learner.sparsity,
        "seconds": seconds,
        "layers": dict(learner.sparsities),
    }


def read(folder: Path, seed: int) -> Splits:
    return splits("cifar10", folder, 0.02, seed)


def network(width: float, seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Images are read at half their size, so that a run takes minutes on one core."""
    torch.manual_seed(seed)
    body, _ = zoo.build("wide_resnet", depth=DEPTH, width=width, input=(3, 16, 16))
    return nn.Sequential(nn.AvgPool2d(2), body), (torch.zeros(1, 3, 32, 32),)


def train(
    module: nn.Module,
    learner: SparsityLearner[nn.Module] | None,
    data: Splits,
    seed: int,
    steps: int,
    frozen: float = 1.0,
) -> None:
    """By SGD, at a rate that rises and then falls as a cosine does."""
    optimizer = torch.optim.SGD(module.parameters(), RATE, 0.9, weight_decay=5e-4, nesterov=True)
    batches = Batches(data.train, BATCH, 1, seed, 0, 1, CLASSES)
    step, epoch = 0, 0
    module.train()
    while step < steps:
        for ((x, y),) in batches.of(epoch, 0):
            if step == steps:
                break
            if learner is not None and step == round(frozen * steps):
                learner.freeze()
            rising = min(1.0, (step + 1) / max(1, WARM_UP * steps))
            for group in optimizer.param_groups:
                group["lr"] = RATE * rising * (1 + math.cos(math.pi * step / steps)) / 2
            loss = functional.cross_entropy(module(x), y)
            if learner is not None:
                loss = loss + learner.loss()
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            if learner is not None:
                learner.step()
            step += 1
        epoch += 1
    module.eval()


def first(samples: Samples, count: int) -> Samples:
    """Some of them."""
    return Subset(samples, range(min(count, len(samples))))


def accuracy(module: nn.Module, samples: Samples) -> float:
    right = 0
    with torch.no_grad():
        for x, y in DataLoader(samples, 250):
            right += int((module(x).argmax(1) == y).sum())
    return right / len(samples)


def int8_accuracy(file: bytes, samples: Samples) -> float:
    """In LiteRT."""
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = entry["quantization"]
    right = 0
    for i in range(len(samples)):
        x, y = samples[i]
        stored = np.clip(np.rint(x[None].permute(0, 2, 3, 1).numpy() / scale) + zero, -128, 127)
        interpreter.set_tensor(entry["index"], stored.astype(np.int8))
        interpreter.invoke()
        right += int(interpreter.get_tensor(end["index"]).argmax() == y)
    return right / len(samples)


def results(given: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """The runs of a row that are there.

    Raises:
        SystemExit: one is of other settings, or does not say of which.
    """
    rows = []
    for path in (result(given, name, seed) for seed in range(given.seeds)):
        if path.exists():
            rows.append(json.loads(path.read_text()))
            if rows[-1].get("settings") != settings(given, name):
                raise SystemExit(f"{path}: is of other settings: name another folder, or remove it")
    return rows


def print_table(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Means over the seeds, and how far they spread."""
    print("| method | parameters | sparsity, % | mean of layers, % | accuracy, % | s | runs |")
    print("|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        if found:
            layers = [statistics.mean(r["layers"].values()) for r in found if r["layers"]]
            cells = (
                spread([row["parameters"] for row in found]),
                spread([row["sparsity"] for row in found], 100) if layers else "0",
                spread(layers, 100) if layers else "0",
                spread([row["accuracy"] for row in found], 100),
            )
            seconds = statistics.mean(row["seconds"] for row in found)
            print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {len(found)} |")


def print_bytes(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Both ways in turn; the budget is that of each seed, kept by all learned runs or not."""
    print("| | weights in Vela, bytes | within | sparsity, % | float, % | int8, % | s | runs |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        kept = sum(row["learned"]["bytes"] <= row["uniform"]["bytes"] for row in found)
        within = f"{kept} of {len(found)}"
        labels = (("uniform", f"uniform {name}", "-"), ("learned", "learned for its bytes", within))
        for way, label, share in labels if found else ():
            own = [row[way] for row in found]
            cells = (
                spread([row["bytes"] for row in own]),
                share,
                *(
                    spread([row[key] for row in own], 100)
                    for key in ("sparsity", "accuracy", "int8_accuracy")
                ),
            )
            seconds = statistics.mean(row["seconds"] for row in own)
            print(f"| {label} | {' | '.join(cells)} | {seconds:.0f} | {len(found)} |")


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """The mean, and from where to where."""
    form = "{:,.0f}" if scale == 1 else "{:.2f}"
    found = (statistics.mean(values), min(values), max(values))
    mean, low, high = (form.format(scale * value) for value in found)
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
