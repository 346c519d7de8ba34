"""Convolutions, dense layers and pools on integers, bit for bit as TFLite-Micro."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.int8 import Quantized, agrees, drawn, integers, ints, weights_and_bias
from tests.tflite_files import litert_reference

RELU = schema.ActivationFunctionType.RELU
RELU6 = schema.ActivationFunctionType.RELU6
NONE = schema.ActivationFunctionType.NONE
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID

seeds = pytest.mark.parametrize("seed", range(6))
paddings = pytest.mark.parametrize("padding", [SAME, VALID])
types_of_sums = pytest.mark.parametrize(
    ("dtype", "bias"), [(np.int8, np.int32), (np.int16, np.int64), (np.int16, np.int32)]
)


def some_activation(rng: np.random.Generator) -> int:
    return int(rng.choice([NONE, RELU, RELU6]))


@seeds
@types_of_sums
@paddings
@pytest.mark.parametrize("per_channel", [True, False])
def test_convolution(per_channel: bool, padding: int, dtype: type, bias: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, groups = drawn(rng, 1, 7, 8, 4, dtype=dtype), int(rng.choice([1, 2]))
    shape = (6, 3, 2, 4 // groups)
    w, b = weights_and_bias(rng, x, *shape, per_channel=per_channel, bias=bias)
    stride, dilation = (int(n) for n in rng.permutation([1, 2]))
    if padding == SAME:
        size = (-(-7 // stride), -(-8 // stride))
    else:
        size = ((7 - 2 * dilation - 1) // stride + 1, (8 - dilation - 1) // stride + 1)
    agrees(
        "CONV_2D",
        [x, w, b],
        [drawn(rng, 1, *size, 6, dtype=dtype)],
        "Conv2DOptions",
        padding=padding,
        strideH=stride,
        strideW=stride,
        dilationHFactor=dilation,
        dilationWFactor=dilation,
        fusedActivationFunction=some_activation(rng),
    )


@seeds
@pytest.mark.parametrize(("dtype", "bias"), [(np.int8, np.int32), (np.int16, np.int64)])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolution(multiplier: int, dtype: type, bias: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, 1, 6, 6, 4, dtype=dtype)
    w, b = weights_and_bias(rng, x, 1, 3, 3, 4 * multiplier, axis=3, bias=bias)
    agrees(
        "DEPTHWISE_CONV_2D",
        [x, w, b],
        [drawn(rng, 1, 3, 3, 4 * multiplier, dtype=dtype)],
        "DepthwiseConv2DOptions",
        padding=SAME,
        strideH=2,
        strideW=2,
        depthMultiplier=multiplier,
        fusedActivationFunction=some_activation(rng),
    )


@seeds
@paddings
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution(stride: int, padding: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, 1, 4, 5, 3)
    w, b = weights_and_bias(rng, x, 4, 3, 3, 3)
    more = 0 if padding == SAME else max(3 - stride, 0)
    shape = (1, 4 * stride + more, 5 * stride + more, 4)
    agrees(
        "TRANSPOSE_CONV",
        [ints(*shape), w, x, b],
        [drawn(rng, *shape)],
        "TransposeConvOptions",
        padding=padding,
        strideH=stride,
        strideW=stride,
    )


@seeds
@types_of_sums
@pytest.mark.parametrize("per_channel", [True, False])
def test_fully_connected(per_channel: bool, dtype: type, bias: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, 50, 40, dtype=dtype)
    w, b = weights_and_bias(rng, x, 16, 40, per_channel=per_channel, bias=bias)
    y = drawn(rng, 50, 16, dtype=dtype)
    activation = some_activation(rng)
    options = "FullyConnectedOptions"
    agrees("FULLY_CONNECTED", [x, w, b], [y], options, fusedActivationFunction=activation)
    agrees("FULLY_CONNECTED", [x, w, None], [y], options, fusedActivationFunction=activation)


@seeds
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True), (True, True)])
def test_batch_matmul(flip: tuple[bool, bool], dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = drawn(rng, *((2, 5, 4) if flip[0] else (2, 4, 5)), dtype=dtype)
    b = drawn(rng, *((2, 6, 5) if flip[1] else (2, 5, 6)), dtype=dtype)
    out = drawn(rng, 2, 4, 6, dtype=dtype)
    agrees("BATCH_MATMUL", [a, b], [out], "BatchMatMulOptions", adjX=flip[0], adjY=flip[1])


@seeds
@paddings
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools(kind: str, dtype: type, padding: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, 1, 7, 8, 3, dtype=dtype)
    size = (4, 4) if padding == SAME else (3, 4)
    agrees(
        kind,
        [x],
        [x.reshaped(1, *size, 3)],
        "Pool2DOptions",
        padding=padding,
        strideH=2,
        strideW=2,
        filterHeight=3,
        filterWidth=2,
        fusedActivationFunction=some_activation(rng),
    )


@seeds
@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_unsigned_bytes_as_litert_has_them(kind: str, seed: int) -> None:
    """TFLite-Micro has no arithmetic on uint8; LiteRT has, with a zero point for weights too."""
    rng = np.random.default_rng(seed)
    dense = kind == "FULLY_CONNECTED"
    x = Quantized((1, 5, 5, 4), 0.05, 120, np.uint8)
    shape = (6, 100) if dense else (6, 3, 3, 4)
    w = Quantized(shape, 0.01, 131, np.uint8, data=integers(rng, shape, np.uint8))
    biases = rng.integers(-500, 500, 6).astype(np.int32)
    b = Quantized((6,), 0.05 * 0.01, dtype=np.int32, data=biases)
    y = Quantized((1, 6) if dense else (1, 5, 5, 6), 0.2, 100, np.uint8)
    strides: dict[str, Any] = {} if dense else {"strideH": 1, "strideW": 1}
    options = "FullyConnectedOptions" if dense else "Conv2DOptions"
    agrees(kind, [x, w, b], [y], options, runtime=litert_reference, **strides)
