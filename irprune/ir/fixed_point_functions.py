"""Elementary functions in fixed point, bit for bit as gemmlowp computes them.

Arguments and results are registers (see ``fixed_point``). Results are in Q0.31, where 1 is the
largest register, unless said otherwise.
"""

from __future__ import annotations

import math

import numpy as np

from irprune.ir.fixed_point import bit_length, high_mul, saturate, shift_left, shift_right
from irprune.ir.types import Array

ONE = 2**31 - 1


def constant(value: float, integer_bits: int = 0) -> int:
    """A real number as a register with so many integer bits."""
    return round(value * 2.0 ** (31 - integer_bits))


def exp_of_negative(x: Array, integer_bits: int) -> Array:
    """exp(x) for x <= 0, up to 5 integer bits.

    x is a remainder in [-1/4, 0), whose exponential is a Taylor polynomial about -1/8, and a sum
    of powers of two, each of whose bits contributes a constant factor.
    """
    quarter = 1 << (29 - integer_bits)
    remainder = (x & (quarter - 1)) - quarter
    y = _exp_near_an_eighth(shift_left(remainder, integer_bits))
    rest = remainder - x
    for power in range(-2, integer_bits):
        bit = 1 << (31 - integer_bits + power)
        y = np.where(rest & bit, high_mul(y, constant(math.exp(-(2.0**power)))), y)
    return np.where(x == 0, ONE, y)


def reciprocal_of_one_plus(x: Array) -> Array:
    """1 / (1 + x) for x in [0, 1)."""
    return shift_left(_reciprocal_of_half_one_plus(x), 1)


def reciprocal(x: Array, integer_bits: int) -> tuple[Array, Array]:
    """1 / x for x > 0, and how many bits of x stand above 1: 1/x is the result / 2**bits."""
    headroom = 32 - bit_length(x)
    return reciprocal_of_one_plus((x << headroom) - (1 << 31)), integer_bits - headroom


def logistic(x: Array, integer_bits: int) -> Array:
    """1 / (1 + exp(-x))."""
    positive = reciprocal_of_one_plus(exp_of_negative(-np.abs(x), integer_bits))
    return np.where(x == 0, 1 << 30, np.where(x > 0, positive, ONE - positive))


def tanh(x: Array, integer_bits: int) -> Array:
    """(1 - exp(-2|x|)) / (1 + exp(-2|x|)), with the sign of x."""
    # The same register with one more integer bit is twice the number.
    e = exp_of_negative(-np.abs(x), integer_bits + 1)
    magnitude = shift_left(_reciprocal_of_half_one_plus(e) - (1 << 29), 2)
    return np.where(x == 0, 0, np.where(x < 0, -magnitude, magnitude))


def log(x: Array, integer_bits: int, output_bits: int) -> Array:
    """The natural logarithm of x >= 1, with ``output_bits`` integer bits.

    x is r * 2**n with r in [sqrt(1/2), 1] or, with n a half-integer, in the same interval times
    the fourth root of 1/2; log(r) is a rational function (TFLite's common.h).
    """
    wide = output_bits + 1
    root = constant(math.sqrt(0.5))
    quarter = 1 << (29 - wide)
    headroom = 31 - bit_length(x)
    r_a = shift_left(high_mul(shift_left(x, headroom), root), 1)
    power_a = saturate(((integer_bits - headroom - 1) << (31 - wide)) + quarter)
    headroom_b = 31 - bit_length(high_mul(x, root))
    r_b = shift_left(x, headroom_b)
    power_b = saturate(((integer_bits - headroom_b) << (31 - wide)) - quarter)
    r, power = np.minimum(r_a, r_b), np.maximum(power_a, power_b)

    fourth_root = math.sqrt(math.sqrt(2.0))
    middle = constant(1 / fourth_root)
    p = (r + middle + 1) >> 1
    q = 2 * (r - middle)
    square = high_mul(q, q)
    numerator = high_mul(q, r) + high_mul(high_mul(q, square), constant(11 / 240 * fourth_root))
    inner = constant(2 / fourth_root - fourth_root) + q
    inner = inner + high_mul(square, constant(fourth_root / 20))
    denominator = high_mul(p, inner) + high_mul(q, constant(fourth_root / 4))
    log_r = high_mul(shift_right(numerator, wide), reciprocal_of_one_plus(denominator))
    return shift_left(high_mul(power, constant(math.log(2.0))) + log_r, wide - output_bits)


def _exp_near_an_eighth(x: Array) -> Array:
    """exp(x) for x in [-1/4, 0), in Q0.31."""
    x = x + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    high = high_mul(shift_right(x4, 2) + x3, constant(1 / 3)) + x2
    eighth = constant(math.exp(-1 / 8))
    return eighth + high_mul(x + shift_right(high, 1), eighth)


def _reciprocal_of_half_one_plus(x: Array) -> Array:
    """2 / (1 + x) for x in [0, 1], in Q2.29, by three of Newton's steps."""
    half = (x + ONE + 1) >> 1
    y = constant(48 / 17, 2) + high_mul(half, constant(-32 / 17, 2))
    for _ in range(3):
        y = y + shift_left(high_mul(y, (1 << 29) - high_mul(half, y)), 2)
    return y
