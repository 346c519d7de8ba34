"""Versions of operators: the first that has the types and options that are used.

As in tensorflow/lite/tools/versioning/op_version.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

from irprune.backends.tflite.record import Record
from irprune.ir.types import DType, TensorType

_BY_TYPE: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (
            *("AVERAGE_POOL_2D", "MAX_POOL_2D", "TANH", "LOGISTIC", "RELU", "RELU6", "PAD"),
            *("PADV2", "CONCATENATION", "SOFTMAX", "MEAN", "MIRROR_PAD", "REDUCE_MAX", "ABS"),
            *("ADD", "BATCH_MATMUL"),
        ),
        (2, 3),
    ),
    **dict.fromkeys(("SPLIT", "GATHER", "MAXIMUM", "MINIMUM", "SLICE", "MUL"), (2, 4)),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), (2, 4)),
    **dict.fromkeys(("TRANSPOSE", "SUB"), (2, 5)),
    **dict.fromkeys(("EXP", "LOG"), (2, 2)),
    "CONV_2D": (3, 4),
    "DEPTHWISE_CONV_2D": (3, 5),
    "DEQUANTIZE": (2, 3),
    "LEAKY_RELU": (1, 2),
    "FULLY_CONNECTED": (4, 7),
    **dict.fromkeys(
        (
            *("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "SPLIT_V", "SUM", "LOG_SOFTMAX"),
            *("STRIDED_SLICE", "TRANSPOSE_CONV"),
        ),
        (2, 1),
    ),
}
"""The versions for operands of 8 and of 16 bits; 1 for others, and for operators not named."""

_LARGE_RANKS: dict[str, int] = {
    **dict.fromkeys(("PAD", "PADV2", "TRANSPOSE", "STRIDED_SLICE"), 4),
    "SLICE": 5,
}
"""The version for operands of more than four axes."""

_BROADCASTING: dict[str, int] = {"MAXIMUM": 3, "MINIMUM": 3, "SUB": 3, "DIV": 2}
"""The version for operands of more than four axes that are broadcast."""


def version(record: Record, operands: Sequence[TensorType | None], output: TensorType) -> int:
    """The version of an operator, for the types of its operands and of its first output."""
    types = [t for t in operands if t is not None]
    x = types[1] if record.kind in ("SPLIT", "TRANSPOSE_CONV") else types[0]
    found = _by_type(record.kind, x)
    rank = max(t.rank for t in types)
    if rank > 4:
        found = max(found, _LARGE_RANKS.get(record.kind, 1))
        if len({t.shape for t in types[:2]}) > 1:
            found = max(found, _BROADCASTING.get(record.kind, 1))
    return max(found, _by_options(record, types, output))


def _by_type(kind: str, x: TensorType) -> int:
    narrow, wide = _BY_TYPE.get(kind, (1, 1))
    match x.dtype:
        case DType.I8:
            return 3 if kind == "BROADCAST_TO" else narrow
        case DType.I16:
            return 3 if kind == "BROADCAST_TO" else wide
        case DType.I32 if kind == "SPLIT":
            return 3
        case _:
            return 2 if kind == "BROADCAST_TO" else 1


def _by_options(record: Record, types: Sequence[TensorType], output: TensorType) -> int:
    """The version that options and further operands ask for."""
    fields = record.fields
    match record.kind:
        case "CONV_2D" if types[0].shape[3] != types[1].shape[3]:
            return 6
        case "DEPTHWISE_CONV_2D" if (
            fields["DilationHFactor"] != 1 or fields["DilationWFactor"] != 1
        ):
            return 2
        case "FULLY_CONNECTED" if len(types) == 2:
            return 6
        case "FULLY_CONNECTED" if fields["KeepNumDims"]:
            return 5
        case "TRANSPOSE_CONV" if fields["FusedActivationFunction"]:
            return 4
        case "TRANSPOSE_CONV" if len(record.operands) == 4:
            return 3
        case "RESIZE_BILINEAR" if fields["HalfPixelCenters"]:
            return 3
        case "RESIZE_NEAREST_NEIGHBOR" if fields["HalfPixelCenters"] or fields["AlignCorners"]:
            return 3
        case "MUL" if (
            output.quant is not None and _product_of_scales(types) >= output.quant.scale[0]
        ):
            return 3
        case "QUANTIZE" if output.dtype is DType.I16:
            return 2
        case _:
            return 1


def _product_of_scales(types: Sequence[TensorType]) -> float:
    product = 1.0
    for t in types:
        product *= t.quant.scale[0] if t.quant is not None else 0.0
    return product
