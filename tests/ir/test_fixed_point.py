"""Fixed-point arithmetic against slow integers and against real functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir import fixed_point_functions as functions
from irprune.ir.errors import InvalidType
from irprune.ir.fixed_point import (
    Multiplier,
    bit_length,
    high_mul,
    round_half_away,
    saturate,
    shift_left,
    shift_right,
    wrap,
)
from irprune.ir.types import Array

registers = st.integers(-(2**31), 2**31 - 1)


def array(number: int) -> Array:
    return np.asarray(number, np.int64)


def slow_round(x: Fraction) -> int:
    """The nearest integer, halves away from zero."""
    return int(math.copysign(math.floor(abs(x) + Fraction(1, 2)), x))


@given(st.floats(-1e6, 1e6, width=32))
def test_halves_are_rounded_away_from_zero(x: float) -> None:
    assert round_half_away(np.asarray(x, np.float32)) == slow_round(Fraction(x))


@pytest.mark.parametrize(("x", "rounded"), [(0.5, 1), (-0.5, -1), (2.5, 3), (0.49999997, 0)])
def test_rounding_next_to_a_half(x: float, rounded: int) -> None:
    assert round_half_away(np.asarray(x, np.float32)) == rounded


@given(registers, st.integers(0, 31))
def test_a_shift_right_is_a_rounded_division(x: int, amount: int) -> None:
    assert shift_right(array(x), amount) == slow_round(Fraction(x, 2**amount))


@given(registers, registers)
def test_the_high_product_is_rounded_and_saturates(a: int, b: int) -> None:
    # Halves go up here, as gemmlowp's nudge and truncation work out.
    exact = math.floor(Fraction(a * b, 2**31) + Fraction(1, 2))
    assert high_mul(array(a), array(b)) == min(exact, 2**31 - 1)


@given(st.integers(-(2**40), 2**40))
def test_overflow_wraps_or_saturates(x: int) -> None:
    assert wrap(array(x)) == np.asarray(x).astype(np.int32)
    assert saturate(array(x)) == min(max(x, -(2**31)), 2**31 - 1)
    assert shift_left(array(x % 2**20), 14) == min(x % 2**20 * 2**14, 2**31 - 1)


@given(st.integers(0, 2**40))
def test_bit_length(x: int) -> None:
    assert bit_length(array(x)) == x.bit_length()


@given(st.floats(1e-6, 1e6), st.integers(-(2**20), 2**20))
def test_a_multiplier_is_its_factor_to_the_last_bit(factor: float, x: int) -> None:
    multiplier = Multiplier.of(factor)
    as_real = Fraction(int(multiplier.significand)) * Fraction(2) ** (int(multiplier.exponent) - 31)
    assert abs(as_real / Fraction(factor) - 1) <= Fraction(1, 2**31)
    room = min(30, 30 - int(multiplier.exponent))
    x = int(math.copysign(abs(x) % 2**room, x))
    assert abs(int(multiplier(array(x))) - as_real * x) <= 1


@given(st.floats(1e-4, 1), st.integers(-(2**40), 2**40))
def test_a_wide_product_keeps_16_bits_of_the_factor(factor: float, x: int) -> None:
    assert (
        abs(int(Multiplier.of(factor).wide(array(x))) - factor * x) <= abs(factor * x) / 2**15 + 1
    )


def test_factors_beyond_every_register() -> None:
    assert Multiplier.of(2.0**-40)(array(2**30)) == 0
    for factor in (2.0**31, math.inf, math.nan):
        with pytest.raises(InvalidType):
            Multiplier.of(factor)


ONE = 2.0**31
TAYLOR = (1 / 8) ** 5 / 120
"""What the exponential's polynomial leaves out at an eighth from its centre."""
NEWTON = 2.0**-28
"""A few roundings of numbers with 29 fractional bits."""


@pytest.mark.parametrize(
    ("fixed", "real", "greatest", "error"),
    [
        (functions.exp_of_negative, np.exp, 0, TAYLOR + NEWTON),
        (functions.logistic, lambda x: 1 / (1 + np.exp(-x)), 2**31 - 1, TAYLOR + NEWTON),
        (functions.tanh, np.tanh, 2**31 - 1, 2 * TAYLOR + NEWTON),
    ],
)
def test_functions_of_numbers_with_four_integer_bits(
    fixed: Callable[[Array, int], Array],
    real: Callable[[Array], Array],
    greatest: int,
    error: float,
) -> None:
    x = np.linspace(-(2**31) + 1, greatest, 20_001).astype(np.int64)
    found = fixed(x, 4) / ONE
    assert np.abs(found - real(x * 16 / ONE)).max() < error


def test_reciprocals() -> None:
    x = np.linspace(0, 2**31 - 1, 20_001).astype(np.int64)
    found = functions.reciprocal_of_one_plus(x) / ONE
    assert np.abs(found - 1 / (1 + x / ONE)).max() < NEWTON
    inverse, over = functions.reciprocal(np.arange(1, 5000), 31)
    np.testing.assert_allclose(inverse / ONE / 2.0**over, 1 / np.arange(1, 5000), rtol=2 * NEWTON)


def test_logarithms() -> None:
    x = np.geomspace(2**19, 2**31 - 1, 20_001).astype(np.int64)
    found = functions.log(x, 12, 5) * 32 / ONE
    assert np.abs(found - np.log(x * 4096 / ONE)).max() < 1e-7
