"""Fixed-point arithmetic on registers of few bits, as TFLite-Micro's reference kernels do it.

A register is an int64 array whose values fit in its bits, 32 unless said otherwise. A number Qm.n
has m integer bits and n fractional ones beside the sign. The operations, and how each rounds, are
gemmlowp's (google/gemmlowp, fixedpoint/fixedpoint.h), which TFLite's integer kernels are built on
(tensorflow/tflite-micro, tensorflow/lite/kernels/internal/common.h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from irprune.ir.errors import InvalidType
from irprune.ir.types import Array

MOST_EXPONENT = 30
"""A multiplier beyond 2**30 shifts every bit of an operand out of its register."""


def round_half_away(x: Array) -> Array:
    """The nearest whole number, halves away from zero, as C's ``round``; same element type."""
    whole = np.trunc(x)
    return np.asarray(whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0), x.dtype)


def wrap(x: Array, bits: int = 32) -> Array:
    """``x`` as a register holds it after an overflow: modulo 2**bits, signed."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


def saturate(x: Array, bits: int = 32) -> Array:
    """``x`` held to what a signed register can hold."""
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def high_mul(a: Array, b: Array | int, bits: int = 32) -> Array:
    """The upper half of 2ab, rounded: the product of two numbers in Q0 or, Qm times Qn, in Qm+n."""
    product: Array = a * b
    return saturate((product + (1 << (bits - 2))) >> (bits - 1), bits)


def shift_right(x: Array, amount: Array | int) -> Array:
    """``x`` divided by 2**amount, rounded, halves away from zero."""
    half = _half(amount)
    return np.asarray((x + half - ((x < 0) & (half > 0))) >> amount)


def shift_left(x: Array, amount: Array | int, bits: int = 32) -> Array:
    """``x`` times 2**amount, held to the register."""
    return saturate(x << amount, bits)


def bit_length(x: Array) -> Array:
    """Bits of non-negative integers below 2**53 up to the highest that is set; 0 for 0."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Multiplier:
    """Real factors as significand * 2**(exponent - 31), the significand a register.

    Attributes:
        significand: of magnitude in [2**30, 2**31); 0 for what is too small.
        exponent: at most MOST_EXPONENT.
    """

    significand: Array
    exponent: Array

    @staticmethod
    def of(real: npt.ArrayLike) -> Multiplier:
        """The nearest multipliers; InvalidType where one is too large for a register."""
        factor = np.asarray(real, np.float64)
        if not np.all(np.isfinite(factor)):
            raise InvalidType("a factor of integer arithmetic is not a number")
        fraction, exponent = np.frexp(factor)
        significand = round_half_away(fraction * 2.0**31).astype(np.int64)
        carried = np.abs(significand) == 2**31
        significand = np.where(carried, significand // 2, significand)
        exponent = exponent.astype(np.int64) + carried
        small = exponent < -31
        if np.any(exponent > MOST_EXPONENT):
            raise InvalidType("the quantization scales are too far apart for integer arithmetic")
        return Multiplier(np.where(small, 0, significand), np.where(small, 0, exponent))

    def __call__(self, x: Array) -> Array:
        """Registers times the factors, rounded twice: to the product's 32 bits, then shifted."""
        left = wrap(x << np.maximum(self.exponent, 0))
        return shift_right(high_mul(left, self.significand), np.maximum(-self.exponent, 0))

    def wide(self, x: Array) -> Array:
        """Values of 48 bits times the factors, of which 16 bits are kept, rounded once."""
        small = self.significand < 0x7FFF0000
        reduced = np.where(small, (self.significand + (1 << 15)) >> 16, 0x7FFF)
        shift = 15 - self.exponent
        return np.asarray((x * reduced + _half(shift)) >> shift)


def _half(amount: Array | int) -> Array:
    """Half of 2**amount; 0 for amount 0."""
    one: Array = np.asarray(1, np.int64)
    return np.asarray(one << amount) >> 1
