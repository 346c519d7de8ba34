"""Element-wise operators of one operand: activations and elementary functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from irprune.ir.op import Dims, Op, expect, expect_operands, op
from irprune.ir.types import Array, TensorType


class Unary(Op):
    """Applies one function to every element; costs nothing, as all activations do."""

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        return (TensorType(inputs[0].shape, inputs[0].dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0


@op
class Relu(Unary):
    """max(x, 0)."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.maximum(args[0], 0).astype(args[0].dtype, copy=False),)


@op
class Relu6(Unary):
    """min(max(x, 0), 6)."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.clip(args[0], 0, 6).astype(args[0].dtype, copy=False),)


@op
class LeakyRelu(Unary):
    """x where x >= 0, else alpha * x."""

    alpha: float = 0.01

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        return (np.where(x >= 0, x, x * x.dtype.type(self.alpha)),)


@op
class Elu(Unary):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    alpha: float = 1.0

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        return (np.where(x > 0, x, x.dtype.type(self.alpha) * np.expm1(np.minimum(x, 0))),)


@op
class Clip(Unary):
    """min(max(x, low), high)."""

    low: float = -math.inf
    high: float = math.inf

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        low, high = (x.dtype.type(_into(bound, x.dtype)) for bound in (self.low, self.high))
        return (np.minimum(np.maximum(x, low), high),)


@op
class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (sigmoid(args[0]),)


@op
class Tanh(Unary):
    """Hyperbolic tangent."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.tanh(args[0]),)


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

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.abs(args[0]),)


@op
class Neg(Unary):
    """-x."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.negative(args[0]),)


@op
class Sqrt(Unary):
    """The square root; NaN below zero, as in every runtime."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        with np.errstate(invalid="ignore"):
            return (np.sqrt(args[0]),)


@op
class Exp(Unary):
    """e to the x; infinite where it overflows, as in every runtime."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        with np.errstate(over="ignore"):
            return (np.exp(args[0]),)


@op
class PRelu(Op):
    """x where x >= 0, else slope * x; operands x and a slope that broadcasts to x."""

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2)
        x, slope = inputs
        aligned = zip(reversed(x.shape), reversed(slope.shape), strict=False)
        expect(
            slope.rank <= x.rank and all(s in (1, d) for d, s in aligned),
            f"slope {slope} does not broadcast to {x}",
        )
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, slope = args
        return (np.where(x >= 0, x, x * slope),)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow on either side."""
    one = x.dtype.type(1)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, one / (one + e), e / (one + e)))


def erf(x: Array) -> Array:
    """The error function, element by element in double precision (numpy has none)."""
    exact = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, count=x.size)
    return exact.reshape(x.shape).astype(x.dtype)


def _into(bound: float, dtype: np.dtype[Any]) -> float | int:
    """A bound, moved into an integer type's range (a float type has room for any)."""
    if dtype.kind == "f":
        return bound
    info = np.iinfo(dtype)
    return int(min(max(bound, info.min), info.max))
