"""Element-wise arithmetic of several operands, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from irprune.ir.channels import Axes, Ties
from irprune.ir.errors import InvalidType
from irprune.ir.fixed_point import Multiplier, bit_length, high_mul, shift_right, wrap
from irprune.ir.fixed_point_functions import reciprocal
from irprune.ir.integer import centred, rescaled, scale, stored, zero_point
from irprune.ir.op import Activated, Dims, Op, expect, expect_numbers, expect_operands, op, product
from irprune.ir.types import Array, Shape, TensorType, dims


class Arithmetic(Activated):
    """Two operands of one element type that broadcast to the output."""

    most: ClassVar[int] = 2

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2, self.most)
        first = inputs[0]
        expect(
            all(t.dtype == first.dtype for t in inputs),
            f"mixes {' and '.join(t.dtype.value for t in inputs)}",
        )
        expect_numbers(inputs)
        try:
            shape = np.broadcast_shapes(*(t.shape for t in inputs))
        except ValueError:
            shapes = " and ".join(dims(t.shape) for t in inputs)
            raise InvalidType(f"shapes {shapes} do not broadcast") from None
        return (TensorType(shape, first.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (ties.broadcast(inputs),)


class Summation(Arithmetic):
    """A sum of terms: one operation for each term after the first, and it can run in place."""

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return (len(inputs) - 1) * product(outputs[0])


@op
class Add(Summation):
    """The sum of two or more operands."""

    activation: Op | None = None

    most: ClassVar[int] = 1_000

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return self.activated(reduce(np.add, args))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect(len(args) == 2, "has integer arithmetic for two operands only")
        return _summed(args, inputs, outputs[0], (1, 1), self.activation)

    def overwrites(self) -> bool:
        return True


@op
class Sub(Summation):
    """The first operand less the second; counted as the sum that it is."""

    activation: Op | None = None

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return self.activated(np.subtract(*args))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        return _summed(args, inputs, outputs[0], (1, -1), self.activation)


@op
class Mul(Arithmetic):
    """The product of two operands."""

    activation: Op | None = None

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return self.activated(np.multiply(*args))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        a, b = (centred(x, t) for x, t in zip(args, inputs, strict=True))
        out = outputs[0]
        factor = scale(inputs[0]) * scale(inputs[1]) / scale(out)
        if _has_17_bits(inputs):
            return stored(Multiplier.of(factor).wide(a * b), out, self.activation)
        return rescaled(wrap(a * b), factor, out, self.activation)


@op
class Div(Arithmetic):
    """The quotient; integers are truncated towards zero."""

    activation: Op | None = None

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, y = args
        if x.dtype.kind == "f":
            return self.activated(np.divide(x, y))
        floor = x // y
        return self.activated(floor + ((floor < 0) & (floor * y != x)))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        a, b = (centred(x, t) for x, t in zip(args, inputs, strict=True))
        expect(bool(np.all(b != 0)), "divides by zero")
        inverse, over = reciprocal(np.abs(b), 31)
        headroom = 31 - bit_length(np.abs(a))
        quotient = high_mul((a * np.sign(b)) << headroom, inverse)
        factor = Multiplier.of(scale(inputs[0]) / (scale(inputs[1]) * scale(outputs[0])))
        y = shift_right(high_mul(quotient, factor.significand), over + headroom - factor.exponent)
        return stored(y, outputs[0], self.activation)


def _summed(
    args: Sequence[Array],
    inputs: Sequence[TensorType],
    output: TensorType,
    signs: tuple[int, int],
    activation: Op | None,
) -> tuple[Array]:
    """A signed sum of two operands, brought to twice the larger of their scales first."""
    left = 13 if _has_17_bits(inputs) else 15 if output.dtype.itemsize == 2 else 20
    common = 2 * max(scale(t) for t in inputs)
    total = sum(
        sign * Multiplier.of(scale(t) / common)(centred(x, t) << left)
        for sign, x, t in zip(signs, args, inputs, strict=True)
    )
    factor = common / ((1 << left) * scale(output))
    return rescaled(np.asarray(total), factor, output, activation)


def _has_17_bits(inputs: Sequence[TensorType]) -> bool:
    """Whether operands of 16 bits need one more without their zero point; TFLite has none such."""
    return any(t.dtype.itemsize == 2 and zero_point(t) != 0 for t in inputs)


class _Extremum(Arithmetic):
    """Minimum or maximum of two operands."""

    activation = None
    keeps_quantization = True
    function: ClassVar[np.ufunc]

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.asarray(self.function(*args)),)


@op
class Minimum(_Extremum):
    """The smaller of two operands."""

    function = np.minimum


@op
class Maximum(_Extremum):
    """The larger of two operands."""

    function = np.maximum


@op
class Pow(Arithmetic):
    """The first operand to the power of the second."""

    activation = None

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, y = args
        expect(x.dtype.kind == "f" or not (y < 0).any(), "raises an integer to a negative power")
        return (np.power(x, y),)
