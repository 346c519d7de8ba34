"""Models of one operator on integers, held to a runtime bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irprune.backends.reference import run
from irprune.frontends.tflite import read_tflite
from irprune.ir.types import Array
from tests.tflite_files import Micro, TFLiteFile


@dataclass(frozen=True)
class Quantized:
    """A tensor of quantized integers, or of reals without a scale; a constant where it has data."""

    shape: tuple[int, ...]
    scale: float | Array | None
    zero_point: int = 0
    dtype: type = np.int8
    axis: int = 0
    data: Array | None = None

    def reshaped(self, *shape: int) -> Quantized:
        """An activation of the same quantization in another shape."""
        return Quantized(shape, self.scale, self.zero_point, self.dtype)


Operand = Quantized | Array | None
"""A quantized tensor, the array of a plain constant, or nothing for what is left out."""

Runtime = Callable[[bytes], Callable[..., list[Array]]]
"""Makes of a file what runs it: outputs for input arrays."""


def integers(rng: np.random.Generator, shape: Sequence[int], dtype: type = np.int8) -> Array:
    """Integers from the whole range of their type."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def ints(*numbers: int) -> Array:
    """A constant of TFLite's shape arithmetic."""
    return np.array(numbers, np.int32)


def drawn(rng: np.random.Generator, *shape: int, dtype: type = np.int8) -> Quantized:
    """An activation of random quantization; int16 is symmetric, as TFLite has it."""
    scale = float(np.float32(np.exp(rng.uniform(-5, 0)) / (256 if dtype is np.int16 else 1)))
    zero = 0 if dtype is np.int16 else int(rng.integers(-128, 128)) + 128 * (dtype is np.uint8)
    return Quantized(shape, scale, zero, dtype)


def weights_and_bias(
    rng: np.random.Generator,
    x: Quantized,
    *shape: int,
    axis: int = 0,
    per_channel: bool = True,
    bias: type = np.int32,
) -> tuple[Quantized, Quantized]:
    """Random weights, with one scale or one a channel, and a bias in the scales of products."""
    assert isinstance(x.scale, float)
    channels = shape[axis]
    scale = np.exp(rng.uniform(-7, -3, channels if per_channel else 1)).astype(np.float32)
    numbers: Array = rng.integers(-5000, 5000, channels).astype(bias)
    return (
        Quantized(shape, scale, axis=axis, data=integers(rng, shape)),
        Quantized((channels,), scale * np.float32(x.scale), dtype=bias, data=numbers),
    )


def agrees(
    kind: str,
    operands: Sequence[Operand],
    outputs: Sequence[Quantized],
    options: str = "",
    inputs: Sequence[Sequence[Array]] = (),
    runtime: Runtime = Micro,
    **fields: Any,
) -> None:
    """Hold the interpreter to a runtime (TFLite-Micro), on ``inputs`` or on random ones."""
    file = TFLiteFile()
    indices = [_add(file, operand) for operand in operands]
    results = [_add(file, output) for output in outputs]
    file.operator(kind, indices, results, options, **fields)
    free = [
        (index, operand)
        for index, operand in zip(indices, operands, strict=True)
        if isinstance(operand, Quantized) and operand.data is None
    ]
    model = file.finish([index for index, _ in free], results)
    graph, wanted = read_tflite(model), runtime(model)
    rng = np.random.default_rng(3)
    rounds = inputs or [[integers(rng, t.shape, t.dtype) for _, t in free] for _ in range(4)]
    for arrays in rounds:
        for ours, theirs in zip(run(graph, arrays), wanted(*arrays), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _add(file: TFLiteFile, operand: Operand) -> int:
    match operand:
        case None:
            return -1
        case Quantized(shape, scale, zero_point, dtype, axis, data):
            return file.tensor(
                shape, dtype, data=data, scale=scale, zero_point=zero_point, axis=axis
            )
        case _:
            return file.constant(operand)
