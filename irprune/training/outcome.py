"""What comes out of a training run: files for the device, and what they are worth."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.torch import save
from torch.utils.data import DataLoader, Subset

from irprune.backends.compile import CompileOptions, compile_tflite
from irprune.backends.files import write_atomically
from irprune.backends.pruned import write_plan
from irprune.backends.ranges import write_ranges
from irprune.backends.runtimes import Kind, Micro, open_runtime
from irprune.backends.tflite.footprint import Footprint
from irprune.backends.usage import compiled_usage, usage_of
from irprune.budget import Usage
from irprune.frontends.load import load
from irprune.ir.graph import Graph
from irprune.ir.ops.quant import as_stored
from irprune.passes.analysis.calibration import Range, calibrate
from irprune.training.data import Samples
from irprune.training.grid import lower, placed
from irprune.training.history import write_history
from irprune.training.loop import Loop
from irprune.training.stepper import seed_all

CALIBRATED = 128
"""Held-out samples that those ranges are taken from which were not trained."""

MODEL = "model.tflite"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Outcome:
    """A trained model and what it is worth.

    Attributes:
        model: what was trained.
        method: how it got within its budget.
        budget: that.
        whole: what the model takes on the device before it loses channels.
        usage: what the compiled model takes; SRAM as the runtime says, where it is installed.
        float_accuracy: the share of the test samples that are told right, on reals.
        quantized_accuracy: the same of the fake-quantized module; None without such training.
        int8_accuracy: that of the compiled model in TFLite-Micro, on ``samples`` test samples;
            None where it is not installed.
        quantized_accuracy_of_samples: that of the fake-quantized module on those.
        samples: how many.
        arena: what the runtime takes of its arena; None where it is not installed.
        exceeded: the resources of which more is taken than the budget has, and how much more.
    """

    model: str
    method: str
    budget: str | None
    whole: Usage
    usage: Usage
    float_accuracy: float
    quantized_accuracy: float | None
    int8_accuracy: float | None
    quantized_accuracy_of_samples: float | None
    samples: int
    arena: Footprint | None
    exceeded: Mapping[str, int]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # errors tell of it
def write_outcome(loop: Loop, folder: Path) -> Outcome:
    """Compile what a loop has trained, measure it, and write all of it into a folder.

    The folder gets the plan, the weights of the small module and the history, whatever comes of
    the rest: the ranges of activations, the compiled model, and a summary.

    Raises:
        UsageError: a file cannot be written.
        UnsupportedOp: TFLite-Micro lacks operators.
    """
    config, data = loop.config, loop.data
    module = loop.module.eval()
    if loop.plan is not None:
        write_plan(loop.plan, folder / "plan.json")
    write_atomically(
        folder / WEIGHTS, save({k: v.contiguous().clone() for k, v in module.state_dict().items()})
    )
    write_history(loop.rows, folder)
    graph = load(module, loop.example_inputs)
    ranges = _ranges(loop)
    write_ranges(ranges, graph, folder / "ranges.json")
    compiled = compile_tflite(graph, options=CompileOptions(plan=True), ranges=ranges)
    write_atomically(folder / MODEL, compiled.data)
    some = Subset(data.test, range(min(config.quantization.test_samples, len(data.test))))
    micro = _micro(folder / MODEL)
    quantizer = loop.quantizer
    usage = usage_of(compiled)
    if micro is not None:
        usage = replace(usage, sram=micro.arena.head)
    outcome = Outcome(
        model=config.model,
        method=config.method.value,
        budget=config.budget,
        whole=usage if loop.plan is None else compiled_usage(loop.graph),
        usage=usage,
        float_accuracy=loop.accuracy(module, data.test),
        quantized_accuracy=None if quantizer is None else loop.accuracy(quantizer, data.test),
        int8_accuracy=None if micro is None else _accuracy_in(micro, some, graph, config.seed),
        quantized_accuracy_of_samples=None if quantizer is None else loop.accuracy(quantizer, some),
        samples=len(some),
        arena=None if micro is None else micro.arena,
        exceeded=usage.beyond(config.limits),
    )
    text = json.dumps(asdict(outcome), indent=1) + "\n"
    write_atomically(folder / "summary.json", text.encode())
    return outcome


def _ranges(loop: Loop) -> Mapping[str, Range]:
    """Ranges that were trained, or else of held-out samples."""
    seed_all(loop.config.seed)
    held_out = loop.data.held_out
    batch, _ = next(iter(DataLoader(held_out, CALIBRATED)))
    if loop.quantizer is not None:
        return loop.quantizer.ranges((batch,))
    graph = load(loop.module, loop.example_inputs)
    lowered = lower(graph)
    samples = [placed([x[None].numpy()], graph, lowered) for x in batch]
    return {value.name: found for value, found in calibrate(lowered, samples).items()}


def _micro(path: Path) -> Micro | None:
    """The model in TFLite-Micro, where that is installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        return None
    runtime = open_runtime(str(path), Kind.tflm)
    assert isinstance(runtime, Micro)
    return runtime


def _accuracy_in(micro: Micro, samples: Samples, graph: Graph, seed: int) -> float:
    """The share of samples, each as the graph takes it, whose class the runtime finds."""
    seed_all(seed)
    (entry,), lowered = micro.graph.inputs, lower(graph)
    right = 0
    for i in range(len(samples)):
        x, y = samples[i]
        (given,) = placed([np.asarray(x)[None]], graph, lowered)
        (found,) = micro([as_stored(given, entry.type)])
        right += int(found.argmax() == y)
    return right / len(samples)
