"""What TFLite-Micro keeps in its arena beside tensors: the tail, which is allocated from above.

Sizes are those of structures in a 64-bit build of the version that ``pyproject.toml`` names, with
its recording allocator (tensorflow/lite/micro/recording_micro_allocator.cc): in a 32-bit one most
are smaller, as pointers are. They come in the order of ``MicroInterpreter::AllocateTensors``, each
moved down to its alignment, as ``SingleArenaBufferAllocator`` does; sizes of operators' data were
read from what that allocator records, operator by operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import tflite

from irprune.frontends.tflite.compression import DECODE
from irprune.frontends.tflite.file import ModelFile, Operator, Tensor
from irprune.ir.types import DType

BASE = 488
"""The allocator's and the interpreter's own objects."""
EVAL_TENSOR = 24
"""TfLiteEvalTensor, of any tensor."""
REGISTRATION = 64
"""NodeAndRegistration, of an operator."""
SCRATCH_HANDLE = 8
"""ScratchBufferHandle."""
TENSOR = 64
"""TfLiteTensor: kept of inputs and outputs, of others while their operators are prepared."""
QUANTIZATION = 24
"""Its TfLiteAffineQuantization, beside which is an array of zero points."""
POINTER = 8
DECODER = 80
"""What a DECODE keeps for each tensor that it unpacks, beside the pointer to it."""
WORD = 16
"""Alignment of what kernels allocate."""

OPTIONS: Mapping[str, int] = {
    "ADD": 8,
    "AVERAGE_POOL_2D": 40,
    "BATCH_MATMUL": 3,
    "CONCATENATION": 8,
    "CONV_2D": 28,
    "DEPTHWISE_CONV_2D": 28,
    "DEPTH_TO_SPACE": 4,
    "DIV": 4,
    "FULLY_CONNECTED": 32,
    "GATHER": 8,
    "LEAKY_RELU": 4,
    "MAX_POOL_2D": 40,
    "MEAN": 1,
    "MIRROR_PAD": 4,
    "MUL": 4,
    "REDUCE_MAX": 1,
    "RESHAPE": 36,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SOFTMAX": 4,
    "SPACE_TO_DEPTH": 4,
    "SPLIT": 4,
    "SPLIT_V": 4,
    "STRIDED_SLICE": 24,
    "SUB": 8,
    "SUM": 1,
    "TRANSPOSE_CONV": 20,
}
"""Bytes of an operator's options; none of those that are not named. Flags alone are of 1 byte."""

DATA: Mapping[str, int] = {
    "ABS": 28,
    "ADD": 60,
    "AVERAGE_POOL_2D": 32,
    "BATCH_MATMUL": 32,
    "CONCATENATION": 80,
    "CONV_2D": 80,
    "DEPTHWISE_CONV_2D": 80,
    "DEQUANTIZE": 32,
    "DIV": 28,
    "ELU": 256,
    "FULLY_CONNECTED": 72,
    "HARD_SWISH": 20,
    "LEAKY_RELU": 24,
    "LOGISTIC": 16,
    "LOG_SOFTMAX": 40,
    "MAX_POOL_2D": 32,
    "MEAN": 44,
    "MIRROR_PAD": 20,
    "MUL": 36,
    "PAD": 56,
    "PADV2": 56,
    "PRELU": 28,
    "QUANTIZE": 32,
    "REDUCE_MAX": 44,
    "RELU": 28,
    "RELU6": 8,
    "SOFTMAX": 80,
    "STRIDED_SLICE": 84,
    "SUB": 52,
    "SUM": 44,
    "TANH": 16,
    "TRANSPOSE_CONV": 88,
}
"""Bytes of an operator's own data; none of those that are not named."""

CHANNELS = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
"""Operators that keep a multiplier and a shift, of 32 bits, for each output channel.

So does FULLY_CONNECTED where its weights have scales of their own."""
RESHAPED = {"BATCH_MATMUL", "DEPTH_TO_SPACE", "GATHER", "SPACE_TO_DEPTH"}
"""Operators that keep the dimensions of what they make."""
EXPONENTS = 2 * 513
"""Bytes of one of the two tables of SOFTMAX on 16 bits."""
PRODUCTS = 28
"""What BATCH_MATMUL on integers keeps of its quantization."""


class Block(NamedTuple):
    """Bytes at an address that is a multiple of their alignment."""

    size: int
    alignment: int = WORD


def tail(file: ModelFile, scratch: int) -> tuple[int, int]:
    """Bytes that are kept before tensors get their places, and in the end.

    The end of the arena is taken to be at a multiple of 16.

    Args:
        file: the model.
        scratch: how many buffers its operators want while they run.
    """
    before = stacked(_before(file, scratch))
    return before, stacked((*_port(file, file.inputs), *_port(file, file.outputs)), before)


def stacked(blocks: Iterator[Block] | Sequence[Block], used: int = 0) -> int:
    """Bytes that blocks fill, one behind the other."""
    for block in blocks:
        used = -(-(used + block.size) // block.alignment) * block.alignment
    return used


def described(tensor: Tensor) -> Iterator[Block]:
    """The description of a tensor, with its quantization."""
    yield Block(TENSOR, 8)
    if tensor.type.quant is not None:
        yield Block(QUANTIZATION, 8)
        yield Block(_integers(len(tensor.type.quant.scale)), 4)


def _before(file: ModelFile, scratch: int) -> Iterator[Block]:
    yield Block(BASE, 8)
    yield Block(EVAL_TENSOR * file.tensor_count, 8)
    yield Block(REGISTRATION * len(file.operators), 8)
    for operator in file.operators:
        size = OPTIONS.get(operator.kind, 0)
        yield Block(size, 1 if size % 4 or not size else 4)
    for operator in file.operators:
        size = _own(file, operator)
        if size:
            yield Block(size)
    for operator in file.operators:
        yield from map(Block, _prepared(file, operator))
    if scratch:
        yield Block(SCRATCH_HANDLE * scratch, 8)


def _port(file: ModelFile, tensors: Sequence[int]) -> Iterator[Block]:
    yield Block(POINTER * len(tensors))
    for index in tensors:
        yield from described(file.tensor(index))


def _integers(count: int) -> int:
    """Bytes of a TfLiteIntArray."""
    return 4 + 4 * count


def _own(file: ModelFile, operator: Operator) -> int:
    """Bytes of an operator's own data."""
    made = file.tensor(operator.outputs[0]).type
    is_real = operator.kind == "LOG_SOFTMAX" and made.dtype is DType.F32
    return 0 if is_real else DATA.get(operator.kind, 0)


def _prepared(file: ModelFile, operator: Operator) -> Iterator[int]:
    """What an operator's kernel keeps as it is prepared, piece by piece."""
    made = file.tensor(operator.outputs[0]).type
    if operator.kind == f"CUSTOM {DECODE}":
        yield POINTER * len(operator.outputs)
        yield from [DECODER] * len(operator.outputs)
    if operator.kind in CHANNELS:
        yield from [4 * made.shape[-1]] * 2
    if operator.kind == "FULLY_CONNECTED":
        quant = file.tensor(operator.inputs[1]).type.quant
        if quant is not None and len(quant.scale) > 1:
            yield from [4 * len(quant.scale)] * 2
    if operator.kind == "SOFTMAX" and made.dtype is DType.I16:
        yield from [EXPONENTS] * 2
    if operator.kind == "BATCH_MATMUL":
        yield from _products(file, operator)
    if operator.kind in RESHAPED:
        yield _integers(made.rank)


def _products(file: ModelFile, operator: Operator) -> Iterator[int]:
    """What BATCH_MATMUL keeps: its quantization, and operands that it transposes."""
    left, right = (file.tensor(index).type for index in operator.inputs[:2])
    if left.dtype is not DType.F32:
        yield PRODUCTS
    options = operator.options(tflite.BatchMatMulOptions)
    transposed = (left,) * options.flag("AdjX") + (right,) * (not options.flag("AdjY"))
    for t in transposed:
        yield from (EVAL_TENSOR, _integers(t.rank), t.nbytes)
