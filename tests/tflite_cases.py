"""Models of one operator in float32, at least one for each TFLite lowering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from irprune.ir.types import Array
from tests.int8 import ints
from tests.tflite_files import TFLiteFile

Case = tuple[str, Sequence[Any], Sequence[tuple[int, ...]], str, dict[str, Any]]
"""Kind; operands: a tuple is the shape of an input, an array a constant, None is left out;
the outputs' shapes; the options' class and fields.
"""

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
RELU6 = schema.ActivationFunctionType.RELU6
image, rng = (1, 6, 8, 4), np.random.default_rng(1)


def real(*shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def case(
    kind: str,
    operands: Sequence[Any],
    outputs: Sequence[tuple[int, ...]],
    options: str = "",
    **fields: Any,
) -> Case:
    return kind, operands, outputs, options, fields


UNARY = ["ELU", "EXP", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6", "TANH", "ABS"]
UNARY += ["RELU_N1_TO_1", "RELU_0_TO_1", "LOG_SOFTMAX"]
CASES = [
    *(case(kind, [image], [image]) for kind in UNARY),
    case("SQUARE", [image], [image]),
    case("GELU", [image], [image], "GeluOptions", approximate=False),
    case("GELU", [image], [image], "GeluOptions", approximate=True),
    case("LEAKY_RELU", [image], [image], "LeakyReluOptions", alpha=0.3),
    case("PRELU", [image, real(1, 1, 4)], [image]),
    case("ADD", [image, (1, 1, 8, 4)], [image], "AddOptions", fusedActivationFunction=RELU6),
    case("SUB", [image, image], [image], "SubOptions"),
    case("MUL", [image, real(4)], [image], "MulOptions"),
    case("DIV", [image, np.abs(real(4)) + 1], [image], "DivOptions"),
    case("POW", [np.abs(real(*image)), image], [image]),
    case("LOG", [np.abs(real(3, 4))], [(3, 4)]),
    case("SQRT", [np.abs(real(3, 4))], [(3, 4)]),
    case("MAXIMUM", [image, real(4)], [image], "MaximumMinimumOptions"),
    case("MINIMUM", [image, real(4)], [image], "MaximumMinimumOptions"),
    case("ADD_N", [image, image, image], [image], "AddNOptions"),
    case(
        "CONV_2D",
        [image, real(5, 3, 2, 4), real(5)],
        [(1, 3, 4, 5)],
        "Conv2DOptions",
        padding=SAME,
        strideH=2,
        strideW=2,
        fusedActivationFunction=RELU6,
    ),
    case(
        "CONV_2D",
        [image, real(6, 3, 3, 2), real(6)],
        [(1, 2, 4, 6)],
        "Conv2DOptions",
        padding=VALID,
        strideH=1,
        strideW=1,
        dilationHFactor=2,
        dilationWFactor=2,
    ),
    case(
        "DEPTHWISE_CONV_2D",
        [image, real(1, 3, 3, 8), real(8)],
        [(1, 3, 4, 8)],
        "DepthwiseConv2DOptions",
        padding=SAME,
        strideH=2,
        strideW=2,
        depthMultiplier=2,
    ),
    *(
        case(
            "TRANSPOSE_CONV",
            [ints(*shape), real(5, 3, 3, 4), image, real(5)],
            [shape],
            "TransposeConvOptions",
            padding=padding,
            strideH=stride,
            strideW=stride,
        )
        for padding, stride, shape in [
            (SAME, 1, (1, 6, 8, 5)),
            (SAME, 2, (1, 12, 16, 5)),
            (SAME, 2, (1, 11, 15, 5)),
            (VALID, 2, (1, 13, 17, 5)),
            (SAME, 4, (1, 24, 32, 5)),
        ]
    ),
    case("FULLY_CONNECTED", [(2, 9), real(5, 9), real(5)], [(2, 5)], "FullyConnectedOptions"),
    case("FULLY_CONNECTED", [(1, 3, 3), real(5, 9), None], [(1, 5)], "FullyConnectedOptions"),
    case(
        "FULLY_CONNECTED",
        [(2, 3, 9), real(5, 9), real(5)],
        [(2, 3, 5)],
        "FullyConnectedOptions",
        keepNumDims=True,
    ),
    case("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], "BatchMatMulOptions"),
    case(
        "BATCH_MATMUL",
        [(2, 4, 3), (2, 5, 4)],
        [(2, 3, 5)],
        "BatchMatMulOptions",
        adjX=True,
        adjY=True,
    ),
    *(
        case(
            kind,
            [image],
            [(1, 3, 4, 4)],
            "Pool2DOptions",
            padding=SAME,
            strideH=2,
            strideW=2,
            filterHeight=3,
            filterWidth=3,
        )
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    ),
    case("SOFTMAX", [(2, 7)], [(2, 7)], "SoftmaxOptions", beta=0.7),
    case(
        "LOCAL_RESPONSE_NORMALIZATION",
        [image],
        [image],
        "LocalResponseNormalizationOptions",
        radius=1,
        bias=1.5,
        alpha=0.4,
        beta=0.6,
    ),
    case("RESHAPE", [image, ints(1, -1, 4)], [(1, 48, 4)]),
    case("RESHAPE", [image], [(6, 32)], "ReshapeOptions", newShape=[6, 32]),
    case("SQUEEZE", [image], [(6, 8, 4)], "SqueezeOptions", squeezeDims=[0]),
    case("SQUEEZE", [(1, 6, 1)], [(6,)], "SqueezeOptions"),
    case("EXPAND_DIMS", [(3, 4), ints(-1)], [(3, 4, 1)]),
    case("TRANSPOSE", [image, ints(0, 3, 1, 2)], [(1, 4, 6, 8)]),
    case("BROADCAST_TO", [(1, 3), ints(4, 3)], [(4, 3)], version=2),
    case("CONCATENATION", [image, image], [(1, 6, 8, 8)], "ConcatenationOptions", axis=-1),
    case("PACK", [(3, 4), (3, 4)], [(3, 2, 4)], "PackOptions", axis=1, valuesCount=2),
    case("SPLIT", [ints(2), image], [(1, 6, 4, 4)] * 2, "SplitOptions", numSplits=2),
    case(
        "SPLIT_V",
        [image, ints(1, -1, 2), ints(1)],
        [(1, 1, 8, 4), (1, 3, 8, 4), (1, 2, 8, 4)],
        "SplitVOptions",
        numSplits=3,
    ),
    case("SLICE", [image, ints(0, 1, 2, 0), ints(1, 3, -1, 2)], [(1, 3, 6, 2)]),
    case(
        "STRIDED_SLICE",
        [image, ints(0, 5, 1, 2), ints(1, 0, 8, 3), ints(1, -2, 3, 1)],
        [(1, 3, 3)],
        "StridedSliceOptions",
        beginMask=1,
        shrinkAxisMask=8,
    ),
    case(
        "STRIDED_SLICE",
        [image, ints(0, -3), ints(0, 100), ints(1, 1)],
        [(1, 3, 8, 4)],
        "StridedSliceOptions",
        endMask=1,
    ),
    case("GATHER", [image, ints(3, 0, 1)], [(1, 6, 8, 3)], "GatherOptions", axis=3),
    case("PAD", [image, np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)], [(1, 9, 9, 4)]),
    case(
        "PADV2",
        [image, np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32), np.array([1.5], np.float32)],
        [(1, 9, 9, 4)],
    ),
    *(
        case(
            "MIRROR_PAD",
            [image, np.array([[0, 0], [1, 1], [0, 1], [0, 0]], np.int32)],
            [(1, 8, 9, 4)],
            "MirrorPadOptions",
            mode=mode,
        )
        for mode in (schema.MirrorPadMode.REFLECT, schema.MirrorPadMode.SYMMETRIC)
    ),
    case("MEAN", [image, ints(1, 2)], [(1, 1, 1, 4)], "ReducerOptions", keepDims=True),
    case("MEAN", [image, ints(-1, 3)], [(1, 6, 8)], "ReducerOptions"),
    case("SUM", [image, ints(2)], [(1, 6, 4)], "ReducerOptions"),
    case("REDUCE_MAX", [image, ints(1, 2)], [(1, 4)], "ReducerOptions"),
    *(
        case(
            f"RESIZE_{kind}",
            [image, ints(9, 5)],
            [(1, 9, 5, 4)],
            "Resize" + "".join(part.capitalize() for part in kind.split("_")) + "Options",
            alignCorners=corners,
            halfPixelCenters=centres,
        )
        for kind in ("BILINEAR", "NEAREST_NEIGHBOR")
        for corners, centres in ((False, False), (True, False), (False, True))
    ),
    case("DEPTH_TO_SPACE", [image], [(1, 12, 16, 1)], "DepthToSpaceOptions", blockSize=2),
    case("SPACE_TO_DEPTH", [image], [(1, 3, 4, 16)], "SpaceToDepthOptions", blockSize=2),
    case("CAST", [image], [image], "CastOptions"),
]
ELSEWHERE = {"QUANTIZE", "DEQUANTIZE", "SHAPE"}
"""Lowerings that tests of their own show: integers, and shape arithmetic."""


def build(
    kind: str,
    operands: Sequence[Any],
    outputs: Sequence[tuple[int, ...]],
    options: str,
    fields: dict[str, Any],
) -> tuple[bytes, list[Array]]:
    """The file of one operator, and random inputs for it."""
    file, indices, inputs, arrays = TFLiteFile(), [], [], []
    for operand in operands:
        if operand is None:
            indices.append(-1)
        elif isinstance(operand, tuple):
            indices.append(file.tensor(operand))
            inputs.append(indices[-1])
            arrays.append(np.random.default_rng(2).normal(size=operand).astype(np.float32))
        else:
            indices.append(file.constant(operand))
    results = [file.tensor(shape) for shape in outputs]
    file.operator(kind, indices, results, options, **fields)
    return file.finish(inputs, results), arrays
