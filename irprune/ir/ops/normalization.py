"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from irprune.ir.op import (
    Activated,
    Dims,
    Op,
    expect,
    expect_operands,
    normalize_axis,
    op,
    product,
)
from irprune.ir.ops.pointwise import Unary
from irprune.ir.types import Array, TensorType, dims


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
        x = inputs[0]
        channels = x.shape[normalize_axis(self.axis, x.rank)]
        for t in inputs[1:]:
            expect(t.shape == (channels,), f"{dims(t.shape)} statistics for {channels} channels")
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return product(outputs[0])

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
        x = inputs[0]
        normalized = x.shape[normalize_axis(self.axis, x.rank) :]
        for t in inputs[1:]:
            expect(t.shape == normalized, f"{dims(t.shape)} is not {dims(normalized)}")
        return (TensorType(x.shape, x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

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
        normalize_axis(self.axis, t.rank)
        return (t,)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        pad = [(0, 0)] * x.ndim
        pad[self.axis] = ((self.size - 1) // 2, self.size // 2)
        squares = sliding_window_view(np.pad(np.square(x), pad), self.size, axis=self.axis)
        kind = x.dtype.type
        norm = kind(self.k) + kind(self.alpha / self.size) * squares.sum(-1)
        return (x / np.power(norm, kind(self.beta)),)


@op
class Softmax(Unary):
    """exp(beta x) over its sum along an axis."""

    axis: int = -1
    beta: float = 1.0

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        (t,) = super().infer(inputs)
        normalize_axis(self.axis, t.rank)
        return (t,)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0] * args[0].dtype.type(self.beta)
        e = np.exp(x - x.max(self.axis, keepdims=True, initial=-np.inf))
        return (e / e.sum(self.axis, keepdims=True),)


@op
class LogSoftmax(Unary):
    """The logarithm of Softmax, without its rounding."""

    axis: int = -1

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        (t,) = super().infer(inputs)
        normalize_axis(self.axis, t.rank)
        return (t,)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0] - args[0].max(self.axis, keepdims=True, initial=-np.inf)
        return (x - np.log(np.exp(x).sum(self.axis, keepdims=True)),)
