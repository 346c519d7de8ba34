"""What the integer forms of operators share: quantization parameters, ranges and rescaling.

Follows TFLite's kernel_util.cc and quantization_util.cc. Scales are stored in single precision;
what is computed from them is in double, save for the bounds of activations and for tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from irprune.ir.errors import InvalidType
from irprune.ir.fixed_point import Multiplier, round_half_away, wrap
from irprune.ir.op import Op
from irprune.ir.types import Array, Quant, TensorType

T = TypeVar("T")


@runtime_checkable
class Clamp(Protocol):
    """An operator that only holds its operand to an interval."""

    def bounds(self) -> tuple[float, float]:
        """The interval; infinite where it is open."""


def quantization(t: TensorType) -> Quant:
    """The quantization of an integer type; InvalidType where it has none."""
    if t.quant is None or not t.dtype.is_integer:
        raise InvalidType(f"{t} is not quantized, but other operands are")
    return t.quant


def scale(t: TensorType) -> float:
    """The scale of a tensor that has one; InvalidType where it has several."""
    return float(np.float32(_only(quantization(t).scale)))


def zero_point(t: TensorType) -> int:
    """The zero point of a tensor that has one; InvalidType where it has several."""
    return _only(quantization(t).zero_point)


def scales(t: TensorType) -> Array:
    """Every scale of a tensor, as double-precision numbers."""
    return np.asarray(quantization(t).scale, np.float32).astype(np.float64)


def centred(x: Array, t: TensorType) -> Array:
    """Stored integers less their zero points: registers proportional to the reals."""
    _, zero = quantization(t).along(t.rank)
    return np.asarray(x.astype(np.int64) - zero)


def exact(x: Array, t: TensorType) -> Array:
    """The same as double-precision numbers, which a sum of products below 2**53 never rounds.

    They use the processor's fast matrix product. A bias without quantization is as it is.
    """
    return (x if t.quant is None else centred(x, t)).astype(np.float64)


def stored(x: Array, t: TensorType, activation: Op | None = None) -> tuple[Array]:
    """Registers in the output's scale as the output stores them, after the fused activation."""
    low, high = activation_range(activation, t)
    return (np.clip(x + zero_point(t), low, high).astype(t.dtype.numpy),)


def rescaled(x: Array, factor: float, t: TensorType, activation: Op | None = None) -> tuple[Array]:
    """Registers times a real factor, as the output stores them."""
    return stored(Multiplier.of(factor)(x), t, activation)


def accumulated(
    total: Array, inputs: Sequence[TensorType], t: TensorType, activation: Op | None
) -> tuple[Array]:
    """Sums of products of the first two operands, as the output stores them.

    The last axis of ``total`` is that of the weights' channels. A sum over 16-bit activations is
    64 bits wide, unless it starts from a 32-bit bias.
    """
    multiplier = Multiplier.of(scale(inputs[0]) * scales(inputs[1]) / scale(t))
    narrow = inputs[0].dtype.itemsize == 1 or (len(inputs) == 3 and inputs[2].dtype.itemsize == 4)
    whole = total.astype(np.int64)
    return stored(multiplier(wrap(whole)) if narrow else multiplier.wide(whole), t, activation)


def activation_range(activation: Op | None, t: TensorType) -> tuple[int, int]:
    """The least and greatest stored integers that a fused activation lets through."""
    low, high = t.dtype.limits
    if activation is None:
        return low, high
    if not isinstance(activation, Clamp):
        raise InvalidType(f"fused {type(activation).__name__} has no integer arithmetic")
    least, most = activation.bounds()
    return (
        max(low, nearest(least, t)) if math.isfinite(least) else low,
        min(high, nearest(most, t)) if math.isfinite(most) else high,
    )


def nearest(real: float, t: TensorType) -> int:
    """The integer nearest to a real number; it may lie outside the type."""
    return zero_point(t) + int(round_half_away(np.asarray(np.float32(real) / np.float32(scale(t)))))


def through_table(
    function: Callable[[Array], Array], x: Array, t: TensorType, out: TensorType
) -> tuple[Array]:
    """A real function of 8-bit integers, tabulated in single precision."""
    low, high = t.dtype.limits
    if t.dtype.itemsize != 1:
        raise InvalidType(f"{t} is too wide for a table")
    reals = np.float32(scale(t)) * (np.arange(low, high + 1) - zero_point(t)).astype(np.float32)
    values = function(reals).astype(np.float32) * (np.float32(1) / np.float32(scale(out)))
    (table,) = stored(round_half_away(values).astype(np.int64), out)
    return (table[x.astype(np.int64) - low],)


def expect_same_quantization(inputs: Sequence[TensorType], outputs: Sequence[TensorType]) -> None:
    """Raise InvalidType unless every operand and output stands for the same reals."""
    first = quantization(inputs[0])
    for t in (*inputs, *outputs):
        if quantization(t) != first:
            raise InvalidType("operands and output differ in quantization; requantize them first")


def _only(numbers: Sequence[T]) -> T:
    if len(numbers) != 1:
        raise InvalidType("wants one scale for the whole tensor, not one a channel")
    return numbers[0]
