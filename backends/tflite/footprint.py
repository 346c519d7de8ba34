"""What TFLite-Micro takes of its arena for a file: the head for tensors, the tail for the rest.

The head is planned from below, the tail is allocated from above and kept. Bytes of the tail are
those of a 64-bit build of the version that ``pyproject.toml`` names, in which pointers, and so
most structures, are larger than in a 32-bit one. They were measured with its recording allocator
(tensorflow/lite/micro/recording_micro_allocator.cc), operator by operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from irprune.frontends.tflite import read_tflite_file
from irprune.frontends.tflite.compression import DECODE
from irprune.frontends.tflite.file import ModelFile, Operator
from irprune.ir.types import Bytes, DType
from irprune.passes.analysis.offline_plan import RUNTIME, RuntimeModel, aligned

BASE = 528
"""The allocator's and the interpreter's own objects."""

TENSOR = 24
"""TfLiteEvalTensor."""

OPERATOR = 64
"""NodeAndRegistration."""

PORT = 64
"""TfLiteTensor, of an input or output."""

PORT_QUANTIZATION = 32
"""Its TfLiteAffineQuantization."""

SCRATCH = 8
"""ScratchBufferHandle."""

OPERATORS: Mapping[str, int] = {
    "ABS": 32,
    "ADD": 72,
    "AVERAGE_POOL_2D": 72,
    "CONCATENATION": 88,
    "CONV_2D": 104,
    "DEPTHWISE_CONV_2D": 104,
    "DEPTH_TO_SPACE": 32,
    "DEQUANTIZE": 32,
    "DIV": 32,
    "ELU": 256,
    "FULLY_CONNECTED": 112,
    "GATHER": 40,
    "HARD_SWISH": 32,
    "LEAKY_RELU": 40,
    "LOGISTIC": 16,
    "LOG_SOFTMAX": 48,
    "MAX_POOL_2D": 72,
    "MEAN": 64,
    "MIRROR_PAD": 48,
    "MUL": 56,
    "PAD": 64,
    "PADV2": 64,
    "PRELU": 32,
    "QUANTIZE": 32,
    "REDUCE_MAX": 64,
    "RELU": 32,
    "RELU6": 16,
    "RESHAPE": 32,
    "RESIZE_BILINEAR": 8,
    "RESIZE_NEAREST_NEIGHBOR": 40,
    "SOFTMAX": 80,
    "SPACE_TO_DEPTH": 32,
    "SPLIT": 4,
    "SPLIT_V": 4,
    "STRIDED_SLICE": 120,
    "SUB": 72,
    "SUM": 64,
    "TANH": 16,
    "TRANSPOSE_CONV": 112,
}
"""The options and data of an operator; none for those that are not named."""

CHANNELS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
"""Operators that keep a multiplier and a shift, of 32 bits, for each output channel."""


DECODER = 80
"""What a DECODE keeps for each tensor that it unpacks, beside the pointer to it."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of arena.

    Attributes:
        head: tensors and scratch memory.
        tail: all that is kept beside them.
    """

    head: Bytes
    tail: Bytes

    @property
    def total(self) -> Bytes:
        """All bytes that the arena must have."""
        return Bytes(self.head + self.tail)


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Memory from one operator to another, ends included; perhaps at a place that a plan gives."""

    size: int
    first: int
    last: int
    offset: int | None


def footprint(data: bytes) -> Footprint:
    """What TFLite-Micro takes of its arena for a TFLite file.

    Tensors that no memory plan in the file places are put where its greedy planner puts them.

    Raises:
        InvalidModel: as ``read_tflite_file``.
        UnsupportedOp: as ``read_tflite_file``.
    """
    file, model = ModelFile(data), read_tflite_file(data)
    scratch = [list(_scratch(file, operator)) for operator in file.operators]
    buffers = list(_tensors(model.runtime, model.plan))
    for step, sizes in enumerate(scratch):
        buffers += [_Buffer(size, step, step, None) for size in sizes]
    ports = [file.tensor(index).type for index in (*file.inputs, *file.outputs)]
    tail = (
        BASE
        + TENSOR * file.tensor_count
        + sum(OPERATOR + _kept(file, operator) for operator in file.operators)
        + sum(PORT + (PORT_QUANTIZATION if t.quant else 0) for t in ports)
        + SCRATCH * sum(map(len, scratch))
    )
    return Footprint(Bytes(_planned(buffers)), Bytes(aligned(tail)))


def _kept(file: ModelFile, operator: Operator) -> int:
    """Bytes that an operator keeps in the tail."""
    kept = OPERATORS.get(operator.kind, 0)
    made = file.tensor(operator.outputs[0]).type
    if operator.kind == "LOG_SOFTMAX" and made.dtype is DType.F32:
        return 0
    if operator.kind == f"CUSTOM {DECODE}":
        count = len(operator.outputs)
        return count * DECODER + aligned(8 * count)
    if operator.kind in CHANNELS:
        kept += 2 * aligned(4 * made.shape[-1])
    if operator.kind == "BATCH_MATMUL":
        kept += 128 if made.dtype is DType.F32 else 160
        right = file.tensor(operator.inputs[1])
        kept += right.type.nbytes if right.data is not None else 0
    return kept


def _scratch(file: ModelFile, operator: Operator) -> Iterator[int]:
    """Sizes of the memory that an operator on integers wants while it runs: sums of its own."""
    made = file.tensor(operator.outputs[0]).type
    if made.dtype is DType.F32:
        return
    match operator.kind:
        case "MEAN" | "SUM":
            x, axes = (file.tensor(index).type for index in operator.inputs)
            yield 4 * (made.elements + axes.elements + x.rank)
        case "TRANSPOSE_CONV":
            yield (4 if made.dtype is DType.I8 else 8) * made.elements


def _tensors(model: RuntimeModel, plan: tuple[int, ...] | None) -> Iterator[_Buffer]:
    """The tensors in memory, from the first operator that needs one to the last."""
    first = dict.fromkeys(model.inputs, 0)
    last = dict(first)
    for step, operation in enumerate(model.operations):
        first |= dict.fromkeys(operation.makes, step)
        last |= dict.fromkeys((*operation.reads, *operation.makes), step)
    last |= dict.fromkeys(model.outputs, len(model.operations) - 1)
    for tensor, size in model.sizes.items():
        if tensor in first:
            placed = None if plan is None or plan[tensor] == RUNTIME else plan[tensor]
            yield _Buffer(size, first[tensor], last[tensor], placed)


def _planned(buffers: list[_Buffer]) -> int:
    """The size of TFLite-Micro's greedy plan: what has a place, then the largest first.

    Of equal ones it takes the last first (memory_planner/greedy_memory_planner.cc).
    """
    placed: list[tuple[int, _Buffer]] = []
    last_first = enumerate(buffers)
    for _, buffer in sorted(last_first, key=lambda b: (b[1].offset is None, -b[1].size, -b[0])):
        at = buffer.offset if buffer.offset is not None else _lowest(buffer, placed)
        placed.append((at, buffer))
    return max((at + aligned(buffer.size) for at, buffer in placed), default=0)


def _lowest(buffer: _Buffer, placed: list[tuple[int, _Buffer]]) -> int:
    """The lowest gap between what is placed and lives while the buffer does."""
    at = 0
    others = [o for o in placed if o[1].first <= buffer.last and buffer.first <= o[1].last]
    for start, other in sorted(others, key=lambda o: o[0]):
        if at + aligned(buffer.size) <= start:
            break
        at = max(at, start + aligned(other.size))
    return at
