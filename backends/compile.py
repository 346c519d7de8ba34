"""From a model as it was read to the TFLite file that the microcontroller runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from irprune.backends.tflite import scheduled, write_tflite
from irprune.backends.tflite.table import has_kernel
from irprune.frontends.tflite import TFLiteModel, read_tflite_file
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Array, DType, dims
from irprune.passes.analysis.calibration import Method, calibrate
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.memory import Memory, memory_of
from irprune.passes.analysis.quantization_error import LayerError, quantization_error
from irprune.passes.pipeline import REALS, deployed, lowering, run
from irprune.passes.rewrite.placing import last_channels
from irprune.passes.rewrite.quantize import on_reals, quantize

COMPARED = 4
"""How many samples the error of every layer is measured on."""


class Numbers(Enum):
    """What the compiled model computes with."""

    FLOAT = "float"
    INT8 = "int8"
    INT16X8 = "int16x8"


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        data: the TFLite file.
        model: what the file says of itself, as it is read back.
        memory: the best order, in which the file is, and its arena.
        reals: the nodes that compute on reals in a quantized model.
        errors: the quantization error of every layer; empty for a model that was not quantized.
    """

    data: bytes
    model: TFLiteModel
    memory: Memory
    reals: tuple[Node, ...]
    errors: tuple[LayerError, ...]


def compile_tflite(
    graph: Graph,
    samples: Sequence[Sequence[Array]] = (),
    numbers: Numbers | None = None,
    *,
    method: Method = Method.MINMAX,
    float_io: bool = False,
    keep_io_layout: bool = False,
    plan: bool = False,
    time_limit: float = 10.0,
) -> Compiled:
    """Compile a model for TFLite-Micro, its operators in the best order.

    Args:
        graph: the model as it was read.
        samples: calibration samples, arrays for the model's inputs; for integers only.
        numbers: what to compute with; by default int8 for a float model. A model that is
            quantized already stays as it is.
        method: how the samples make ranges.
        float_io: whether inputs and outputs stay reals in a quantized model.
        keep_io_layout: whether inputs and outputs keep their layout, or have channels last.
        plan: whether to put a memory plan into the file.
        time_limit: seconds to look for the best order and places.

    Raises:
        UsageError: there are no samples, or they give some layer no scale; or the model is
            quantized already and ``numbers`` is given.
        UnsupportedOp: TFLite-Micro lacks operators; all of them in one message.
    """
    quantized = default_precision(deployed(graph)) is Precision.MODEL
    if quantized and numbers is not None:
        raise UsageError("is quantized already", where=graph.name, hint="drop --int8 and the like")
    numbers = numbers or Numbers.INT8
    final = run(deployed(graph), lowering(keep_io_layout=keep_io_layout))
    errors: tuple[LayerError, ...] = ()
    kept: tuple[Node, ...] = ()
    if not quantized and numbers is not Numbers.FLOAT:
        if not samples:
            raise UsageError(
                f"{numbers.value} takes calibration samples",
                where=graph.name,
                hint="give some with --calibration, or use --float",
            )
        placed = [
            [_placed(array, value) for array, value in zip(sample, final.inputs, strict=True)]
            for sample in samples
        ]
        dtype = DType.I8 if numbers is Numbers.INT8 else DType.I16
        ranges = calibrate(final, placed, method)
        integers = quantize(final, ranges, dtype, float_io=float_io, has_kernel=has_kernel)
        errors = quantization_error(final, integers, placed[:COMPARED])
        kept = on_reals(integers)
        final = integers
    data = write_tflite(run(final, REALS))
    model = read_tflite_file(data, graph.name)
    memory = memory_of(model.graph, Precision.MODEL, time_limit=time_limit)
    offsets = memory.arena.offsets if plan else None
    data = scheduled(data, model, memory.schedule.order, offsets)
    return Compiled(data, read_tflite_file(data, graph.name), memory, kept, errors)


def _placed(array: Array, value: Value) -> Array:
    """A sample in the layout in which the compiled model takes it."""
    shape = value.type.shape
    if array.shape == shape:
        return array
    moved = array.transpose(last_channels(array.ndim))
    if moved.shape != shape:
        raise UsageError(f"a sample of '{value.name}' is {dims(array.shape)}, not {dims(shape)}")
    return np.ascontiguousarray(moved)
