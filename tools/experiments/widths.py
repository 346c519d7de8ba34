"""Learned widths beside uniform scaling, one-shot pruning and the ablations of section 4.1.

    python tools/experiments/widths.py mnist ../shared/data OUT
    python tools/experiments/widths.py cifar10 ../shared/data OUT

Each run is ``irprune train`` on one core, with a folder of its own in OUT; those that are there
already are not repeated, and those that were killed go on. At the end a table of all is printed.
Accuracy is that of the compiled model in TFLite-Micro, and on the same images that of the module on
the grid of integers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from irprune.budget import RESOURCES

TASKS = {
    "mnist": """
model = "zoo:ds_cnn?input=1x28x28&classes=10&widths=32-32-32-32"
{budget}
method = "{method}"
seed = {seed}
[data]
source = "mnist"
path = "{data}"
[training]
epochs = 3
learning_rate = 0.01
[pruning]
rate = 8.0
start = 200
{pruning}
[quantization]
epochs = 1
test_samples = 10000
""",
    "cifar10": """
model = "zoo:resnet8"
{budget}
method = "{method}"
seed = {seed}
[data]
source = "cifar10"
path = "{data}"
[training]
epochs = 4
learning_rate = 0.005
[pruning]
rate = 3.0
{pruning}
[quantization]
epochs = 1
test_samples = 10000
""",
    "vgg16": """
model = "zoo:vgg16"
{budget}
method = "{method}"
seed = {seed}
[data]
source = "cifar10"
path = "{data}"
[training]
epochs = 150
optimizer = "sgd"
learning_rate = 0.05
weight_decay = 5e-4
[pruning]
rate = 0.3
{pruning}
[quantization]
epochs = 10
test_samples = 1000
""",
}
TASKS["resnet18"] = TASKS["vgg16"].replace("zoo:vgg16", "zoo:resnet18")

BUDGETS = {
    "mnist": "sram=16KB flash=9KB macs=700k",
    "cifar10": "sram=16KB flash=24KB macs=2M",
    "vgg16": "sram=52.2KB flash=309KB macs=22.38M",
    "resnet18": "sram=81.9KB flash=256KB macs=29.58M",
}
"""The last two are what the paper's Table 3 has come to; they want a GPU."""

METHODS = {
    "whole model": ("none", ""),
    "learned widths": ("widths", ""),
    "learned, early termination": ("widths", "early_termination = true"),
    "one-shot": ("one-shot", ""),
    "uniform scaling": ("uniform", ""),
    "task only": ("widths", 'feedback = "task"'),
    "resources only": ("widths", 'feedback = "resources"'),
    "imprecise peak": ("widths", 'peak = "imprecise"'),
    "no peak": ("widths", 'peak = "none"'),
    "unweighted sum": ("widths", 'scalarization = "sum"'),
}
"""The method and what is set for widths, by the name in the table."""


SUMMARY = "summary.json"
"""Of a run's folder, the file that a run ends with."""

SECONDS = "seconds.txt"
"""Of a run's folder, the file with what it has taken."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("data", type=Path, help="the folder with the data")
    parser.add_argument("out", type=Path, help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    runs = [(name, seed) for seed in range(given.seeds) for name in given.only]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda run: train(given.task, given.data, given.out, *run), runs))
    print_table(given.task, given.out, given.seeds, given.only)
    missing = [
        run for run in runs if not (run_folder(given.out, given.task, *run) / SUMMARY).exists()
    ]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(runs)} runs have failed")


def run_folder(out: Path, task: str, name: str, seed: int) -> Path:
    return out / f"{task}-{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def train(task: str, data: Path, out: Path, name: str, seed: int) -> None:
    """One run, or what is left of it."""
    folder = run_folder(out, task, name, seed)
    method, pruning = METHODS[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    budget = "" if method == "none" else f'budget = "{BUDGETS[task]}"'
    settings = TASKS[task].format(
        budget=budget, method=method, seed=seed, data=data.resolve(), pruning=pruning
    )
    if config.exists() and config.read_text() != settings:
        raise SystemExit(f"{folder} is a run with other settings: give another folder")
    if (folder / SUMMARY).exists():
        return
    config.write_text(settings)
    resume = ["--resume"] if (folder / "checkpoint.safetensors").exists() else []
    start = time.time()
    done = subprocess.run(
        [Path(sys.executable).with_name("irprune"), "train", config, "-o", folder, *resume],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    (folder / "log.txt").write_text(done.stderr)
    took = folder / SECONDS
    seconds = time.time() - start + (float(took.read_text()) if took.exists() else 0.0)
    took.write_text(f"{seconds:.1f}\n")
    if not (folder / SUMMARY).exists():
        print(f"{name}, seed {seed} failed, see {folder / 'log.txt'}", file=sys.stderr, flush=True)
        return
    print(f"{name}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)


def print_table(task: str, out: Path, seeds: int, names: list[str]) -> None:
    """A row for each method: means over the seeds, the spread, the largest gap to int8."""
    print(f"| {task} | int8, % | fake-quantized, % | SRAM | flash | MACs | within | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        found = []
        for seed in range(seeds):
            folder = run_folder(out, task, name, seed)
            if (folder / SUMMARY).exists():
                seconds = float((folder / SECONDS).read_text())
                found.append(json.loads((folder / SUMMARY).read_text()) | {"s": seconds})
        if found:
            print(row(name, found))


def row(name: str, found: list[Any]) -> str:
    """One line of the table."""
    accuracies = [100 * one["int8_accuracy"] for one in found]
    spread = statistics.stdev(accuracies) if len(found) > 1 else 0.0
    fake = statistics.mean(100 * one["quantized_accuracy_of_samples"] for one in found)
    apart = max(
        100 * abs(one["quantized_accuracy_of_samples"] - one["int8_accuracy"]) for one in found
    )
    seconds = statistics.mean(one["s"] for one in found)
    used = [" / ".join(f"{one['usage'][resource]:,}" for one in found) for resource in RESOURCES]
    within = sum(not one["exceeded"] for one in found)
    mean = statistics.mean(accuracies)
    return (
        f"| {name} | {mean:.2f} ± {spread:.2f} | {fake:.2f}, {apart:.2f} apart at most | "
        + " | ".join(used)
        + f" | {within} of {len(found)} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
