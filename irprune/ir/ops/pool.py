"""Pooling windows; a global pool is a reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from irprune.ir.channels import Axes, Ties
from irprune.ir.integer import activation_range, expect_same_quantization
from irprune.ir.op import (
    Activated,
    Dims,
    Op,
    expect,
    expect_numbers,
    expect_operands,
    expect_rank,
    expect_reals,
    op,
    product,
)
from irprune.ir.ops.conv import (
    Layout,
    Padding,
    Pair,
    channel_axis,
    expect_extent,
    from_nchw,
    in_layout,
    slid_over,
    spatial_axes,
    to_nchw,
    window_count,
)
from irprune.ir.types import Array, Shape, TensorType


class Pool(Activated):
    """A window moved over height and width of each channel; costs its area an output element."""

    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    ceil: bool
    layout: Layout

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect_numbers(inputs)
        expect_rank(inputs[0], 4)
        x = inputs[0]
        n, c, *size = (
            x.shape[a] for a in (0, channel_axis(self.layout), *spatial_axes(self.layout))
        )
        h, w = (self._count(size[a], a) for a in (0, 1))
        expect_extent(n, c, *(size[a] + sum(self._padding(size[a], a)) for a in (0, 1)))
        return (TensorType(in_layout(self.layout, n, c, h, w), x.dtype, x.quant),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return product(outputs[0]) * product(self.kernel)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (slid_over(ties, inputs[0], outputs[0], self.layout),)

    def _count(self, size: int, axis: int) -> int:
        """Window positions along a spatial axis; with ``ceil`` the last may hang over the end."""
        kernel, stride, dilation = self.kernel[axis], self.stride[axis], self.dilation[axis]
        before, after = self.padding[axis]
        count = window_count(size, kernel, stride, (before, after), dilation)
        room = size + before + after - (kernel - 1) * dilation - 1
        starts_inside = count * stride < size + before
        return count + 1 if self.ceil and room % stride and starts_inside else count

    def windows(self, x: Array, fill: float) -> Array:
        """NCHW ``x`` as windows (n, c, h, w, kernel h, kernel w), padded with ``fill``."""
        around = [self._padding(x.shape[2 + a], a) for a in (0, 1)]
        padded = np.pad(x, ((0, 0), (0, 0), *around), constant_values=fill)
        windows = sliding_window_view(padded, (self._reach(0), self._reach(1)), axis=(2, 3))
        step_h, step_w = self.stride
        counts = [self._count(x.shape[2 + a], a) for a in (0, 1)]
        windows = windows[:, :, ::step_h, ::step_w, :: self.dilation[0], :: self.dilation[1]]
        return windows[:, :, : counts[0], : counts[1]]

    def _padding(self, size: int, axis: int) -> Pair:
        """The padding, with what the last window hangs over its end."""
        before, after = self.padding[axis]
        end = (self._count(size, axis) - 1) * self.stride[axis] + self._reach(axis)
        return before, max(after, end - size - before)

    def _reach(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


@op
class MaxPool2d(Pool):
    """The largest element of each window; padding never wins."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil: bool = False
    layout: Layout = "NCHW"
    activation: Op | None = None

    keeps_quantization = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = to_nchw(args[0], self.layout)
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        y = self.windows(x, least).max((4, 5))
        return self.activated(from_nchw(y, self.layout))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect_same_quantization(inputs, outputs)
        (y,) = replace(self, activation=None).evaluate(args)
        return (np.clip(y, *activation_range(self.activation, outputs[0])),)


@op
class AveragePool2d(Pool):
    """The mean of each window, over padding too where ``count_padding``."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil: bool = False
    count_padding: bool = False
    layout: Layout = "NCHW"
    activation: Op | None = None

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        types = super().infer(inputs)
        expect_reals(inputs)
        return types

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = to_nchw(args[0], self.layout)
        total = self.windows(x, 0).sum((4, 5))
        y = total / self.divisor(x.shape[2:]).astype(x.dtype)
        return self.activated(from_nchw(y.astype(x.dtype, copy=False), self.layout))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect_same_quantization(inputs, outputs)
        expect(not self.count_padding, "has no integer arithmetic over padding")
        x = to_nchw(args[0], self.layout).astype(np.int64)
        total, area = self.windows(x, 0).sum((4, 5)), self.divisor(x.shape[2:])
        y = np.sign(total) * ((np.abs(total) + area // 2) // area)
        held = np.clip(y, *activation_range(self.activation, outputs[0]))
        return (from_nchw(held.astype(args[0].dtype), self.layout),)

    def divisor(self, size: Sequence[int]) -> Array:
        """How many elements each window of an input of this height and width averages."""
        ones = np.ones((1, 1, *size), np.int64)
        if not self.count_padding:
            return np.asarray(self.windows(ones, 0).sum((4, 5)))
        # Declared padding counts, what a ceil-mode window hangs over does not.
        padded = np.pad(ones, ((0, 0), (0, 0), *self.padding), constant_values=1)
        unpadded = AveragePool2d(self.kernel, self.stride, dilation=self.dilation, ceil=self.ceil)
        counts = unpadded.windows(padded, 0).sum((4, 5))
        h, w = (self._count(size[a], a) for a in (0, 1))
        return np.asarray(counts[:, :, :h, :w])
