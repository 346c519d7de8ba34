"""Normalizations and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from irprune.ir import fixed_point_functions as fixed
from irprune.ir.channels import Axes, Ties
from irprune.ir.fixed_point import Multiplier, high_mul, shift_right
from irprune.ir.integer import scale, stored, zero_point
from irprune.ir.op import (
    Activated,
    Dims,
    Op,
    expect,
    expect_operands,
    expect_reals,
    normalize_axis,
    op,
    product,
)
from irprune.ir.ops.conv import expect_extent
from irprune.ir.ops.pointwise import Unary
from irprune.ir.types import Array, DType, Shape, TensorType, dims


@op
class BatchNorm(Activated):
    """Inference batch normalization; operands x, gamma, beta, mean, variance.

    Folded into its neighbour wherever that is exact. One that stays runs as a multiplication and
    an addition, so it counts as an Add does.
    """

    epsilon: float = 1e-5
    axis: int = 1
    activation: Op | None = None

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 5)
        expect_reals(inputs)
        x = inputs[0]
        channels = x.shape[normalize_axis(self.axis, x.rank)]
        for t in inputs[1:]:
            expect(t.shape == (channels,), f"{dims(t.shape)} statistics for {channels} channels")
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return product(outputs[0])

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x = inputs[0]
        for (statistic,) in inputs[1:]:
            ties.tie(x[self.axis], statistic)
        return (x,)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        shape = [1] * x.ndim
        shape[self.axis] = -1
        gamma, beta, mean, variance = (a.reshape(shape) for a in args[1:])
        scale = gamma / np.sqrt(variance + variance.dtype.type(self.epsilon))
        return self.activated(((x - mean) * scale + beta).astype(x.dtype, copy=False))


@op
class LayerNorm(Op):
    """Normalization over the axes from ``axis`` on; operands x, gamma and optionally beta."""

    axis: int = -1
    epsilon: float = 1e-5

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2, 3)
        expect_reals(inputs)
        x = inputs[0]
        normalized = x.shape[normalize_axis(self.axis, x.rank) :]
        expect(math.prod(normalized) > 0, "normalizes no elements")
        for t in inputs[1:]:
            expect(t.shape == normalized, f"{dims(t.shape)} is not {dims(normalized)}")
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x = inputs[0]
        normalized = x[normalize_axis(self.axis, len(x)) :]
        for ids in normalized:
            ties.freeze(ids, "takes the mean and the variance over it")
        for factors in inputs[1:]:
            for ids, others in zip(normalized, factors, strict=True):
                ties.tie(ids, others)
        return (x,)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, gamma = args[:2]
        axes = tuple(range(normalize_axis(self.axis, x.ndim), x.ndim))
        centred = x - x.mean(axes, keepdims=True)
        variance = np.square(centred).mean(axes, keepdims=True)
        y = centred / np.sqrt(variance + x.dtype.type(self.epsilon)) * gamma
        return ((y if len(args) == 2 else y + args[2]).astype(x.dtype, copy=False),)


@op
class LRN(Unary):
    """Local response normalization across channels (AlexNet, §3.3): ONNX's size and bias."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    axis: int = 1

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect(self.size > 0, "a window of no channels")
        (t,) = super().infer(inputs)
        channels = t.shape[normalize_axis(self.axis, t.rank)]
        expect(channels > 0, "normalizes no channels")
        expect_extent(t.elements // channels, channels + self.size - 1)
        return (t,)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        ties.freeze(inputs[0][self.axis], "looks at neighbours along it")
        return (inputs[0],)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        pad = [(0, 0)] * x.ndim
        pad[self.axis] = ((self.size - 1) // 2, self.size // 2)
        padded = np.pad(np.square(x), pad)
        squares = sliding_window_view(padded, self.size, axis=self.axis)
        kind = x.dtype.type
        norm = kind(self.k) + kind(self.alpha / self.size) * squares.sum(-1)
        return (x / np.power(norm, kind(self.beta)),)


@op
class Softmax(Unary):
    """exp(beta x) over its sum along an axis; ``wide`` gives 16 bits of operands of 8."""

    axis: int = -1
    beta: float = 1.0
    wide: bool = False

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        (t,) = super().infer(inputs)
        normalize_axis(self.axis, t.rank)
        return (replace(t, dtype=DType.I16) if self.wide and t.dtype is DType.I8 else t,)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        ties.freeze(inputs[0][self.axis], "divides by a sum over it, to which zeros add")
        return (inputs[0],)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0] * args[0].dtype.type(self.beta)
        e = np.exp(x - x.max(self.axis, keepdims=True, initial=-np.inf))
        return (e / e.sum(self.axis, keepdims=True),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        out = outputs[0]
        bits = 8 * out.dtype.itemsize
        _expect_output(out, 2.0**-bits, out.dtype.limits[0])
        below, kept, step = _below_largest(args[0], inputs[0], self.axis, self.beta)
        e = np.where(kept, fixed.exp_of_negative(step(below), 5), 0)
        total = shift_right(e, 12).sum(self.axis, keepdims=True)
        inverse, over = fixed.reciprocal(total, 12)
        return stored(shift_right(high_mul(inverse, e), over + 31 - bits), out)


@op
class LogSoftmax(Unary):
    """The logarithm of Softmax, without its rounding."""

    axis: int = -1

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        (t,) = super().infer(inputs)
        normalize_axis(self.axis, t.rank)
        return (t,)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        ties.freeze(inputs[0][self.axis], "divides by a sum over it, to which zeros add")
        return (inputs[0],)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0] - args[0].max(self.axis, keepdims=True, initial=-np.inf)
        return (x - np.log(np.exp(x).sum(self.axis, keepdims=True)),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        low, high = outputs[0].dtype.limits
        _expect_output(outputs[0], 1 / 16, high)
        below, kept, step = _below_largest(args[0], inputs[0], self.axis, 1.0)
        exponents = step(below)
        e = np.where(kept, fixed.exp_of_negative(exponents, 5), 0)
        log_total = fixed.log(shift_right(e, 12).sum(self.axis, keepdims=True), 12, 5)
        back = Multiplier.of(2.0 ** (31 - int(step.exponent)) / int(step.significand))
        kept &= below > back(log_total - 2**31)
        y = shift_right(exponents - log_total, 31 - 5 - 4)
        return stored(np.where(kept, y, low - high), outputs[0])


def _below_largest(
    x: Array, t: TensorType, axis: int, beta: float
) -> tuple[Array, Array, Multiplier]:
    """8-bit integers less the largest along an axis, for exp (TFLite's softmax.h).

    Returns:
        The differences, 0 where too small to matter; where they do; and the factor that makes
        them numbers with 5 integer bits.
    """
    expect(t.dtype.itemsize == 1, f"has no integer arithmetic for {t}")
    expect(beta > 0, f"beta {beta} is not positive")
    step = Multiplier.of(min(beta * scale(t) * 2.0**26, 2.0**31 - 1))
    radius = math.floor(31 * 2.0**26 / 2.0 ** int(step.exponent))
    centre = x.astype(np.int64)
    below = centre - centre.max(axis, keepdims=True)
    kept = below >= -radius
    return np.where(kept, below, 0), kept, step


def _expect_output(t: TensorType, size: float, zero: int) -> None:
    expect(
        scale(t) == size and zero_point(t) == zero,
        f"the output's quantization is not the fixed one of scale {size} and zero point {zero}",
    )
