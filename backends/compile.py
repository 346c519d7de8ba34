"""From a model as it was read to the TFLite file that the microcontroller runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np

from irprune.backends.c_array import c_array
from irprune.backends.files import expect_writable, write_atomically
from irprune.backends.layouts import has_channels_last
from irprune.backends.ranges import read_ranges
from irprune.backends.tflite import scheduled, write_tflite
from irprune.backends.tflite.compression import Packed, packed_tensors
from irprune.backends.tflite.footprint import Footprint, footprint
from irprune.backends.tflite.table import has_kernel
from irprune.budget import Budget
from irprune.frontends.load import load
from irprune.frontends.samples import read_samples
from irprune.frontends.tflite import TFLiteModel, read_tflite_file
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Array, DType, Shape, dims
from irprune.passes.analysis.calibration import Method, Range, calibrate
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.memory import Memory, memory_of
from irprune.passes.analysis.quantization_error import LayerError, quantization_error
from irprune.passes.pipeline import REALS, deployed, lowering, run
from irprune.passes.rewrite.placing import last_channels
from irprune.passes.rewrite.quantize import on_reals, quantize
from irprune.passes.rewrite.scales import by_name

COMPARED = 4
"""How many samples the error of every layer is measured on."""


class Numbers(Enum):
    """What the compiled model computes with."""

    FLOAT = "float"
    INT8 = "int8"
    INT16X8 = "int16x8"


class Compression(Enum):
    """How weights are stored that the device unpacks."""

    PRUNE = "prune"
    """Without their zeros, where that is smaller."""


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    Attributes:
        numbers: what to compute with; by default int8 for a float model. A model that is
            quantized already stays as it is.
        method: how calibration samples make ranges.
        float_io: whether inputs and outputs stay reals in a quantized model.
        keep_io_layout: whether inputs and outputs keep their layout, or have channels last.
        plan: whether to put a memory plan into the file.
        compress: how weights are stored; None for as they are. Only TFLite-Micro runs such files.
        time_limit: seconds to look for the best order and places.
    """

    numbers: Numbers | None = None
    method: Method = Method.MINMAX
    float_io: bool = False
    keep_io_layout: bool = False
    plan: bool = False
    compress: Compression | None = None
    time_limit: float = 10.0


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        data: the TFLite file.
        model: what the file says of itself, as it is read back.
        memory: the best order, in which the file is, and its arena, unpacked weights in it.
        reals: the nodes that compute on reals in a quantized model.
        errors: the quantization error of every layer; empty for a model that was not quantized.
        plain: the file as it is without compression; None where none was asked for.
    """

    data: bytes
    model: TFLiteModel
    memory: Memory
    reals: tuple[Node, ...]
    errors: tuple[LayerError, ...]
    plain: bytes | None = None

    @cached_property
    def footprint(self) -> Footprint:
        """What TFLite-Micro takes of its arena for the file, unpacked weights among it."""
        return footprint(self.data)

    @cached_property
    def packed(self) -> tuple[Packed, ...]:
        """The weights that the device unpacks."""
        return packed_tensors(self.data)

    def excess(self, budget: Budget) -> str:
        """What of a budget is exceeded, with the numbers; empty where it is kept."""
        best = self.memory.arena.size
        spare = f" ({best:,} with a plan in the file)" if best < self.footprint.head else ""
        if self.packed and self.plain is not None:
            spare = f" ({footprint(self.plain).head:,} without compression)"
        needs = (
            ("SRAM", self.footprint.head, budget.sram, spare),
            ("flash", len(self.data), budget.flash, ""),
        )
        return " and ".join(
            f"needs {needed:,} bytes of {resource}{note}, there are {available:,}"
            for resource, needed, available, note in needs
            if available is not None and needed > available
        )


def compile_tflite(
    graph: Graph,
    samples: Sequence[Sequence[Array]] = (),
    options: CompileOptions = CompileOptions(),
    *,
    ranges: Mapping[str, Range] | None = None,
) -> Compiled:
    """Compile a model for TFLite-Micro, its operators in the best order.

    Args:
        graph: the model as it was read.
        samples: calibration samples, arrays for the model's inputs; for integers only.
        options: how to compile.
        ranges: of each real activation of the lowered model, by its name, instead of samples
            (``FakeQuantizer.ranges``).

    Raises:
        UsageError: there are neither samples nor ranges, they give an output no scale, or ranges
            are missing; or the model is quantized already and numbers are asked for.
        UnsupportedOp: TFLite-Micro lacks operators; all of them in one message.
    """
    quantized = default_precision(deployed(graph)) is Precision.MODEL
    if quantized and (options.numbers is not None or options.float_io or samples or ranges):
        raise UsageError(
            "is quantized already",
            where=graph.name,
            hint="drop --int8, --calibration, --ranges, --io and the like",
        )
    numbers = options.numbers or Numbers.INT8
    final = run(deployed(graph), lowering(keep_io_layout=options.keep_io_layout))
    kept: tuple[Node, ...] = ()
    errors: tuple[LayerError, ...] = ()
    if not quantized and numbers is not Numbers.FLOAT:
        reals, dtype = final, DType.I8 if numbers is Numbers.INT8 else DType.I16
        given = _calibration(graph, final, samples, options) if ranges is None or samples else []
        chosen = (
            calibrate(reals, given, options.method, dtype)
            if ranges is None
            else by_name(ranges, reals)
        )
        final = quantize(reals, chosen, dtype, float_io=options.float_io, has_kernel=has_kernel)
        kept = on_reals(final)
        errors = quantization_error(reals, final, given[:COMPARED])
    final = run(final, REALS)
    data, memory = _scheduled(write_tflite(final), graph.name, options)
    plain = None
    if options.compress is not None:
        plain, packed = data, write_tflite(final, pack=True)
        data, memory = _scheduled(packed, graph.name, options)
    return Compiled(data, read_tflite_file(data, graph.name), memory, kept, errors, plain)


def _scheduled(data: bytes, name: str, options: CompileOptions) -> tuple[bytes, Memory]:
    """A file in the best order, with a plan where one is asked for, and its memory."""
    model = read_tflite_file(data, name)
    memory = memory_of(
        model.graph, Precision.MODEL, scratch=model.scratch, time_limit=options.time_limit
    )
    offsets = memory.arena.offsets if options.plan else None
    return scheduled(data, model, memory.schedule.order, offsets), memory


def compile_model(
    model: str,
    options: CompileOptions,
    calibration: Path | None = None,
    *,
    ranges: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Compiled:
    """Compile a model by its name (``frontends.load``), with samples from a file or folder.

    Args:
        model: the model's file or name.
        options: how to compile.
        calibration: where the samples are (``frontends.samples``).
        ranges: the file with the ranges of activations (``backends.ranges``), instead.
        mean: subtracted from the channels of images.
        std: what they are divided by.
        limit: the most samples to read.
        shapes: the shapes of inputs.
    """
    graph = load(model, shapes=shapes)
    samples: list[list[Array]] = []
    if calibration is not None:
        inputs = [(value.name, value.type.shape) for value in graph.inputs]
        samples = read_samples(
            calibration,
            inputs,
            channels_last=any(has_channels_last(graph, value) for value in graph.inputs),
            mean=mean,
            std=std,
            limit=limit,
        )
    exported = None if ranges is None else read_ranges(ranges, graph)
    return compile_tflite(graph, samples, options, ranges=exported)


def write_compiled(
    compiled: Compiled, path: Path, folder: Path | None, *, source: str, force: bool
) -> None:
    """Write a compiled model as a file, and as C++ sources where a folder is named.

    Args:
        compiled: the model.
        path: the TFLite file.
        folder: where ``model.cc`` and ``model.h`` go; made where it is missing.
        source: the file that the model was read from, if it is one.
        force: whether that may be overwritten.
    """
    origin = Path(source)
    sources = c_array(compiled.data, compiled.footprint.total) if folder is not None else {}
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot be made: {error.strerror}", where=str(folder)) from None
        for name in sources:
            expect_writable(folder / name)
        for name, text in sources.items():
            write_atomically(folder / name, text.encode())
    write_atomically(path, compiled.data, source=origin, force=force)


def _calibration(
    model: Graph, lowered: Graph, samples: Sequence[Sequence[Array]], options: CompileOptions
) -> list[list[Array]]:
    """Samples for a model in the layout of its lowered form."""
    if not samples:
        raise UsageError(
            f"{(options.numbers or Numbers.INT8).value} takes calibration samples",
            where=model.name,
            hint="give some with --calibration, or --ranges, or use --float",
        )
    return [
        [
            _placed(array, value, value is not after and not options.keep_io_layout)
            for array, value, after in zip(sample, model.inputs, lowered.inputs, strict=True)
        ]
        for sample in samples
    ]


def _placed(array: Array, value: Value, moves: bool) -> Array:
    """A sample for a model's input in the layout of the lowered model's."""
    if array.shape != value.type.shape:
        shapes = f"{dims(array.shape)}, not {dims(value.type.shape)}"
        raise UsageError(f"a sample of '{value.name}' is {shapes}")
    if not moves:
        return array
    return np.ascontiguousarray(array.transpose(last_channels(array.ndim)))
