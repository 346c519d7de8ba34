"""Element-wise operators of one operand: activations and elementary functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from irprune.ir import fixed_point_functions as fixed
from irprune.ir.channels import Axes, Ties
from irprune.ir.fixed_point import Multiplier, high_mul, shift_left, shift_right
from irprune.ir.integer import (
    activation_range,
    centred,
    rescaled,
    scale,
    stored,
    through_table,
    zero_point,
)
from irprune.ir.op import Dims, Op, expect, expect_numbers, expect_operands, expect_reals, op
from irprune.ir.types import Array, Shape, TensorType


class Unary(Op):
    """Applies one function to every element; costs nothing, as all activations do.

    Class attributes:
        integers: it maps plain integers to integers, too.
    """

    integers: ClassVar[bool] = False

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        (expect_numbers if self.integers else expect_reals)(inputs)
        return (TensorType(inputs[0].shape, inputs[0].dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (inputs[0],)


@op
class Relu(Unary):
    """max(x, 0)."""

    integers = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.maximum(args[0], 0).astype(args[0].dtype, copy=False),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        factor = scale(inputs[0]) / scale(outputs[0])
        return rescaled(centred(args[0], inputs[0]), factor, outputs[0], self)

    def bounds(self) -> tuple[float, float]:
        """The interval that operands are held to."""
        return 0.0, math.inf


@op
class Relu6(Unary):
    """min(max(x, 0), 6)."""

    integers = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.clip(args[0], 0, 6).astype(args[0].dtype, copy=False),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        return (np.clip(args[0], *activation_range(self, inputs[0])),)

    def bounds(self) -> tuple[float, float]:
        """The interval that operands are held to."""
        return 0.0, 6.0


@op
class LeakyRelu(Unary):
    """x where x >= 0, else alpha * x."""

    alpha: float = 0.01

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        return (np.where(x >= 0, x, x * x.dtype.type(self.alpha)),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        x, (t,), (out,) = centred(args[0], inputs[0]), inputs, outputs
        above = Multiplier.of(scale(t) / scale(out))
        below = Multiplier.of(scale(t) * abs(float(np.float32(self.alpha))) / scale(out))
        sign = 1 if self.alpha >= 0 else -1
        return stored(np.where(x >= 0, above(x), sign * below(x)), out)


@op
class Elu(Unary):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        return (np.where(x > 0, x, x.dtype.type(self.alpha) * np.expm1(np.minimum(x, 0))),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect(self.alpha == 1, "has integer arithmetic for alpha 1 only")
        return through_table(_elu, args[0], inputs[0], outputs[0])


@op
class Clip(Unary):
    """min(max(x, low), high)."""

    low: float = -math.inf
    high: float = math.inf

    integers = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        low, high = (x.dtype.type(_into(bound, x.dtype)) for bound in (self.low, self.high))
        return (np.minimum(np.maximum(x, low), high),)

    def bounds(self) -> tuple[float, float]:
        """The interval that operands are held to."""
        return self.low, self.high


@op
class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (sigmoid(args[0]),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        return _squashed(fixed.logistic, 8, args[0], inputs[0], outputs[0])


@op
class Tanh(Unary):
    """Hyperbolic tangent."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.tanh(args[0]),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        return _squashed(fixed.tanh, 7, args[0], inputs[0], outputs[0])


@op
class HardSigmoid(Unary):
    """max(0, min(1, alpha * x + beta)); the defaults are torch's, ONNX's are 0.2 and 0.5."""

    alpha: float = 1 / 6
    beta: float = 0.5

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        kind = x.dtype.type
        return (np.clip(kind(self.alpha) * x + kind(self.beta), kind(0), kind(1)),)


@op
class HardSwish(Unary):
    """x * relu6(x + 3) / 6 (MobileNetV3, eq. 6)."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        kind = x.dtype.type
        return (x * np.clip(x + kind(3), kind(0), kind(6)) / kind(6),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        x, (t,), (out,) = centred(args[0], inputs[0]) << 7, inputs, outputs
        fine = scale(t) / 128
        gain, gain_exponent = _short(fine / scale(out))
        expect(gain_exponent <= 0, "the output's scale is too fine for integer arithmetic")
        slope, exponent = _short(fine / (3 / 32768))
        ramp = shift_left(x, max(exponent - 1, 0), 16)
        ramp = shift_left(high_mul(ramp, slope, 16), int(exponent > 0), 16)
        ramp = (shift_right(ramp, max(-exponent, 0)) + (1 << 15)) >> 1
        # This one product is cut, not rounded.
        y = np.trunc(ramp * high_mul(x, gain, 16) / 2**15).astype(np.int64)
        return stored(shift_right(y, -gain_exponent), out)


@op
class Silu(Unary):
    """x * sigmoid(x), also called swish."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (args[0] * sigmoid(args[0]),)


@op
class Gelu(Unary):
    """x * Phi(x) (Hendrycks & Gimpel), or its tanh approximation."""

    approximate: bool = False

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        kind = x.dtype.type
        if self.approximate:
            inner = kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x)
            return (kind(0.5) * x * (kind(1) + np.tanh(inner)),)
        return (kind(0.5) * x * (kind(1) + erf(x * kind(math.sqrt(0.5)))),)


@op
class Erf(Unary):
    """The error function; graphs that spell Gelu out have it."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (erf(args[0]),)


@op
class Abs(Unary):
    """|x|."""

    integers = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.abs(args[0]),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        factor = scale(inputs[0]) / scale(outputs[0])
        return rescaled(np.abs(centred(args[0], inputs[0])), factor, outputs[0])


@op
class Neg(Unary):
    """-x."""

    integers = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.negative(args[0]),)


@op
class Sqrt(Unary):
    """The square root; NaN below zero, as in every runtime."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.sqrt(args[0]),)


@op
class Exp(Unary):
    """e to the x; infinite where it overflows, as in every runtime."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.exp(args[0]),)


@op
class Log(Unary):
    """The natural logarithm; NaN below zero, as in every runtime."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.log(args[0]),)


@op
class PRelu(Op):
    """x where x >= 0, else slope * x; operands x and a slope that broadcasts to x."""

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2)
        expect_numbers(inputs)
        x, slope = inputs
        aligned = zip(reversed(x.shape), reversed(slope.shape), strict=False)
        expect(
            slope.rank <= x.rank and all(s in (1, d) for d, s in aligned),
            f"slope {slope} does not broadcast to {x}",
        )
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (ties.broadcast(inputs),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, slope = args
        return (np.where(x >= 0, x, x * slope),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        x, slope = (centred(a, t) for a, t in zip(args, inputs, strict=True))
        of_x, of_slope, of_y = (scale(t) for t in (*inputs, *outputs))
        above, below = Multiplier.of(of_x / of_y), Multiplier.of(of_x * of_slope / of_y)
        return stored(np.where(x >= 0, above(x), below(x * slope)), outputs[0])


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow on either side."""
    one = x.dtype.type(1)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, one / (one + e), e / (one + e)))


def erf(x: Array) -> Array:
    """The error function, element by element in double precision (numpy has none)."""
    exact = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, count=x.size)
    return exact.reshape(x.shape).astype(x.dtype)


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.exp(np.minimum(x, 0).astype(np.float64)).astype(x.dtype) - 1, x)


def _squashed(
    function: Callable[[Array, int], Array], bits: int, x: Array, t: TensorType, out: TensorType
) -> tuple[Array]:
    """A sigmoid of 8-bit integers, with ``bits`` fractional bits (integer_ops/logistic.h).

    Its argument has 4 integer bits; what is beyond them has the function's limit.
    """
    expect(t.dtype.itemsize == 1, f"has no integer arithmetic for {t}")
    low, _ = out.dtype.limits
    expect(
        zero_point(out) == (low if bits == 8 else low + 128) and scale(out) == 2.0**-bits,
        f"the output's quantization is not the fixed one of scale 1/{2**bits}",
    )
    argument = Multiplier.of(scale(t) * 2.0**27)
    radius = math.floor(15 * 2.0**27 / 2.0 ** int(argument.exponent))
    stored_x = centred(x, t)
    y = shift_right(function(argument(np.clip(stored_x, -radius, radius)), 4), 31 - bits)
    y = np.where(stored_x <= -radius, -256, np.where(stored_x >= radius, 256, y))
    return stored(y, out)


def _short(factor: float) -> tuple[int, int]:
    """A factor's significand in 16 bits, and its exponent."""
    whole = Multiplier.of(factor)
    return min((int(whole.significand) + (1 << 15)) >> 16, 2**15 - 1), int(whole.exponent)


def _into(bound: float, dtype: np.dtype[Any]) -> float | int:
    """A bound, moved into an integer type's range (a float type has room for any)."""
    if dtype.kind == "f":
        return bound
    info = np.iinfo(dtype)
    return int(min(max(bound, info.min), info.max))
