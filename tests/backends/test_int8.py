"""Element-wise operators, reductions and moves on integers, bit for bit as TFLite-Micro.

Every operator is run on random integers under random scales and zero points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from irprune.ir.errors import InvalidType
from irprune.ir.types import Array
from tests.int8 import Quantized, agrees, drawn, integers, ints
from tests.tflite_files import litert_reference

RELU = schema.ActivationFunctionType.RELU
RELU6 = schema.ActivationFunctionType.RELU6
RELU_N1_TO_1 = schema.ActivationFunctionType.RELU_N1_TO_1
NONE = schema.ActivationFunctionType.NONE

seeds = pytest.mark.parametrize("seed", range(6))
types = pytest.mark.parametrize("dtype", [np.int8, np.int16])
every_byte = np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 64)
image = (1, 14, 12, 15)


@seeds
@types
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6, RELU_N1_TO_1])
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_arithmetic(kind: str, activation: int, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, *image, dtype=dtype), drawn(rng, 1, 1, 12, 15, dtype=dtype)
    out = drawn(rng, *image, dtype=dtype)
    options = f"{kind.capitalize()}Options"
    agrees(kind, [a, b], [out], options, fusedActivationFunction=activation)


@seeds
def test_division(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, 1, 6, 7), drawn(rng, 1, 6, 7)
    b = replace(b, scale=a.scale)
    pairs = [[integers(rng, a.shape), integers(rng, b.shape)] for _ in range(4)]
    for _, divisor in pairs:
        divisor[divisor == b.zero_point] += 1 if b.zero_point < 127 else -1
    # Where a quotient has fewer bits than it is shifted by, C leaves the result undefined.
    fine = 1 / float(rng.uniform(64, 200))
    out = Quantized((1, 6, 7), fine, int(rng.integers(-128, 128)))
    agrees("DIV", [a, b], [out], "DivOptions", pairs)


@seeds
@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
def test_extrema(kind: str, seed: int) -> None:
    a = drawn(np.random.default_rng(seed), *image)
    agrees(kind, [a, a.reshaped(1, 1, 1, 15)], [a], "MaximumMinimumOptions")


@seeds
@pytest.mark.parametrize("kind", ["RELU", "ELU", "HARD_SWISH", "ABS"])
def test_pointwise_over_every_byte(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = drawn(rng, *every_byte.shape), drawn(rng, *every_byte.shape)
    agrees(kind, [x], [y], inputs=[[every_byte]])


@seeds
@pytest.mark.parametrize("kind", ["RELU", "ABS"])
def test_pointwise_over_16_bits(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    agrees(kind, [drawn(rng, *image, dtype=np.int16)], [drawn(rng, *image, dtype=np.int16)])


@seeds
def test_relu6(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = Quantized(every_byte.shape, float(rng.uniform(0.05, 0.2)), int(rng.integers(-128, 0)))
    agrees("RELU6", [x], [x], inputs=[[every_byte]])


@seeds
@types
@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.5, -0.2])
def test_leaky_relu(alpha: float, dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (drawn(rng, *every_byte.shape, dtype=dtype) for _ in range(2))
    agrees("LEAKY_RELU", [x], [y], "LeakyReluOptions", alpha=alpha)


@seeds
@types
def test_prelu(dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slope = Quantized((1, 1, 15), 0.01, 3, data=integers(rng, (1, 1, 15)))
    x, y = (drawn(rng, *image, dtype=dtype) for _ in range(2))
    agrees("PRELU", [x, slope], [y])


@seeds
@pytest.mark.parametrize(
    ("kind", "scale", "zero_point"), [("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0)]
)
def test_sigmoids(kind: str, scale: float, zero_point: int, seed: int) -> None:
    x = drawn(np.random.default_rng(seed), *every_byte.shape)
    agrees(kind, [x], [Quantized(x.shape, scale, zero_point)], inputs=[[every_byte]])


@seeds
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_softmax(beta: float, seed: int) -> None:
    x = drawn(np.random.default_rng(seed), 3, 11)
    agrees("SOFTMAX", [x], [Quantized(x.shape, 1 / 256, -128)], "SoftmaxOptions", beta=beta)


@seeds
def test_log_softmax(seed: int) -> None:
    x = drawn(np.random.default_rng(seed), 3, 11)
    agrees("LOG_SOFTMAX", [x], [Quantized(x.shape, 1 / 16, 127)], "LogSoftmaxOptions")


@seeds
@types
@pytest.mark.parametrize("axes", [(1, 2), (3,), (1, 2, 3)])
@pytest.mark.parametrize("kind", ["MEAN", "SUM"])
def test_means_and_sums(kind: str, axes: tuple[int, ...], dtype: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, *image, dtype=dtype)
    shape = [1 if axis in axes else size for axis, size in enumerate(image)]
    out = drawn(rng, *shape, dtype=dtype)
    agrees(kind, [x, ints(*axes)], [out], "ReducerOptions", keepDims=True)


@seeds
def test_reduce_max(seed: int) -> None:
    x = drawn(np.random.default_rng(seed), *image)
    agrees("REDUCE_MAX", [x, ints(1, 2)], [x.reshaped(1, 15)], "ReducerOptions", keepDims=False)


@seeds
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.int8, np.int8),
        (np.int8, np.int16),
        (np.int8, np.int32),
        (np.int16, np.int8),
        (np.int16, np.int16),
        (np.int32, np.int8),
        (np.int32, np.int16),
        (np.int8, np.uint8),
        (np.uint8, np.int8),
    ],
)
def test_requantization(source: type, target: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = drawn(rng, 4, 50, dtype=source), drawn(rng, 4, 50, dtype=target)
    least = 0 if source is np.uint8 else -100
    small: list[list[Array]] = [
        [rng.integers(least, 100, x.shape).astype(source)] for _ in range(3)
    ]
    agrees("QUANTIZE", [x], [y], "QuantizeOptions", small)


@seeds
@types
def test_quantization_of_reals(dtype: type, seed: int) -> None:
    """Half of the reals are halves of the scale, where the direction of rounding shows."""
    rng = np.random.default_rng(seed)
    y = drawn(rng, 4, 60, dtype=dtype)
    halves = (rng.integers(-200, 200, (2, 60)) / 2).astype(np.float32) * np.float32(y.scale)
    reals = np.concatenate([halves, rng.normal(size=(2, 60)).astype(np.float32)])
    x = Quantized((4, 60), None, dtype=np.float32)
    agrees("QUANTIZE", [x], [y], "QuantizeOptions", [[reals]])


@seeds
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8])
def test_dequantization(dtype: type, seed: int) -> None:
    x = drawn(np.random.default_rng(seed), 4, 60, dtype=dtype)
    y = Quantized((4, 60), None, dtype=np.float32)
    agrees("DEQUANTIZE", [x], [y], "DequantizeOptions")


@pytest.mark.parametrize(("corners", "centres"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(10, 9), (3, 2), (5, 13), (1, 1)])
@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_resize(kind: str, size: tuple[int, int], corners: bool, centres: bool) -> None:
    x = drawn(np.random.default_rng(5), 1, 5, 4, 3)
    options = "".join(part.capitalize() for part in kind.split("_")) + "Options"
    agrees(
        kind,
        [x, ints(*size)],
        [x.reshaped(1, *size, 3)],
        options,
        alignCorners=corners,
        halfPixelCenters=centres,
    )


def test_moves() -> None:
    rng = np.random.default_rng(4)
    x = drawn(rng, 1, 4, 6, 8)
    pads = np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32)
    padded = [x.reshaped(1, 7, 9, 8)]
    fill = Quantized((), x.scale, x.zero_point, data=np.array(17, np.int8))
    agrees("PAD", [x, pads], padded)
    agrees("PADV2", [x, pads, fill], padded)
    agrees("MIRROR_PAD", [x, pads], padded, "MirrorPadOptions", mode=0)
    agrees("TRANSPOSE", [x, ints(0, 3, 1, 2)], [x.reshaped(1, 8, 4, 6)])
    agrees("CONCATENATION", [x, x], [x.reshaped(1, 4, 12, 8)], "ConcatenationOptions", axis=2)
    agrees("SPLIT", [ints(3), x], [x.reshaped(1, 4, 6, 4)] * 2, "SplitOptions", numSplits=2)
    agrees("SLICE", [x, ints(0, 1, 2, 3), ints(1, 2, -1, 4)], [x.reshaped(1, 2, 4, 4)])
    agrees("DEPTH_TO_SPACE", [x], [x.reshaped(1, 8, 12, 2)], "DepthToSpaceOptions", blockSize=2)
    agrees("SPACE_TO_DEPTH", [x], [x.reshaped(1, 2, 3, 32)], "SpaceToDepthOptions", blockSize=2)
    agrees("GATHER", [x, ints(3, 0, 0)], [x.reshaped(1, 3, 6, 8)], "GatherOptions", axis=1)


@pytest.mark.parametrize(
    ("kind", "zeros", "out", "options", "fields"),
    [
        ("ADD", (120, 7), (0.04, 100), "AddOptions", {}),
        ("MUL", (120, 7), (0.04, 100), "MulOptions", {}),
        ("SOFTMAX", (120,), (1 / 256, 0), "SoftmaxOptions", {"beta": 1.0}),
        ("LOGISTIC", (120,), (1 / 256, 0), "", {}),
    ],
)
def test_unsigned_bytes_as_litert_has_them(
    kind: str, zeros: tuple[int, ...], out: tuple[float, int], options: str, fields: dict[str, Any]
) -> None:
    """TFLite-Micro has no arithmetic on uint8, LiteRT's reference kernels do."""
    operands = [Quantized((3, 9), 0.05 / (1 + i), zero, np.uint8) for i, zero in enumerate(zeros)]
    output = Quantized((3, 9), *out, np.uint8)
    agrees(kind, operands, [output], options, runtime=litert_reference, **fields)


scores = Quantized((1, 4), 0.1)
REFUSED: dict[str, tuple[str, list[Quantized], Quantized, str, dict[str, Any]]] = {
    "fused Tanh has no integer arithmetic": (
        "ADD",
        [scores, scores],
        scores,
        "AddOptions",
        {"fusedActivationFunction": schema.ActivationFunctionType.TANH},
    ),
    "differ in quantization": (
        "CONCATENATION",
        [scores, replace(scores, scale=0.2)],
        Quantized((1, 8), 0.1),
        "ConcatenationOptions",
        {"axis": 1},
    ),
    "not the fixed one": ("SOFTMAX", [scores], scores, "SoftmaxOptions", {"beta": 1.0}),
    "beta nan is not positive": (
        "SOFTMAX",
        [scores],
        Quantized((1, 4), 1 / 256, -128),
        "SoftmaxOptions",
        {"beta": float("nan")},
    ),
    "is not a number": (
        "LEAKY_RELU",
        [scores],
        scores,
        "LeakyReluOptions",
        {"alpha": float("nan")},
    ),
    "too wide": (
        "ELU",
        [replace(scores, dtype=np.int16)],
        replace(scores, dtype=np.int16),
        "",
        {},
    ),
    "Gelu has no integer arithmetic": ("GELU", [scores], scores, "GeluOptions", {}),
    "too far apart": (
        "QUANTIZE",
        [replace(scores, scale=1e20)],
        replace(scores, scale=1e-10),
        "QuantizeOptions",
        {},
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_integer_arithmetic_says_so(reason: str) -> None:
    kind, operands, output, options, fields = REFUSED[reason]

    def no_runtime(model: bytes) -> Any:
        return lambda *arrays: []

    with pytest.raises(InvalidType, match=reason) as caught:
        agrees(kind, operands, [output], options, runtime=no_runtime, **fields)
    assert f"{kind}#0" in str(caught.value)
