"""Convolutions of two spatial dimensions; one-dimensional ones are lowered to height 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from irprune.ir.channels import Axes, Kept, Ties
from irprune.ir.integer import accumulated, exact
from irprune.ir.op import (
    Activated,
    Dims,
    Op,
    expect,
    expect_operands,
    expect_rank,
    expect_reals,
    op,
    product,
)
from irprune.ir.types import MAX_ELEMENTS, Array, Shape, TensorType, dims

Layout = Literal["NCHW", "NHWC"]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
"""Elements added before and after, for height and for width."""


def spatial_axes(layout: Layout) -> Pair:
    """The axes of height and width."""
    return (2, 3) if layout == "NCHW" else (1, 2)


def channel_axis(layout: Layout) -> int:
    """The axis of channels."""
    return 1 if layout == "NCHW" else 3


def in_layout(layout: Layout, n: Any, c: Any, h: Any, w: Any) -> tuple[Any, Any, Any, Any]:
    """The four sizes in the order of the layout."""
    return (n, c, h, w) if layout == "NCHW" else (n, h, w, c)


def to_nchw(x: Array, layout: Layout) -> Array:
    """``x`` seen as NCHW; also weights OHWI seen as OIHW."""
    return x if layout == "NCHW" else x.transpose(0, 3, 1, 2)


def from_nchw(y: Array, layout: Layout) -> Array:
    """An NCHW array seen in the layout."""
    return y if layout == "NCHW" else y.transpose(0, 2, 3, 1)


def slid_over(ties: Ties, x: Axes, made: Shape, layout: Layout) -> Axes:
    """The axes of a result of shape ``made`` whose windows slide over height and width of x."""
    axes = list(x)
    for axis in spatial_axes(layout):
        ties.freeze(x[axis], "moves windows over it")
        axes[axis] = ties.fixed(made[axis], "moves windows over it")
    return tuple(axes)


def alike(ties: Ties, ids: Array, groups: int, member: Array | None = None) -> None:
    """Tie the i-th ids of equal groups, and the i-th of a member to them."""
    if groups > 1:
        members = ids.reshape(groups, -1)
        ties.tie(members[1:], members[:1])
        ids = members[0]
    if member is not None:
        ties.tie(ids, member)


@op
class Conv2d(Activated):
    """Grouped two-dimensional convolution; depthwise where ``groups`` is the input channels.

    Operands: x in ``layout``; weights OIHW (NCHW) or OHWI (NHWC), where I is input channels of one
    group; optionally a bias of O elements. Padding is explicit, so SAME is settled on reading.
    """

    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    layout: Layout = "NCHW"
    activation: Op | None = None

    linear = True
    bias = 2

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x, w = _expect_conv(inputs)
        n, c, *size = (
            x.shape[a] for a in (0, channel_axis(self.layout), *spatial_axes(self.layout))
        )
        o, i = w.shape[0], w.shape[channel_axis(self.layout)]
        kernel = [w.shape[a] for a in spatial_axes(self.layout)]
        expect(self.groups > 0, f"has {self.groups} groups")
        expect(
            c == i * self.groups and o % self.groups == 0,
            f"weights {dims(w.shape)} in {self.groups} groups do not fit input {dims(x.shape)}",
        )
        _expect_bias(inputs, o)
        h, w_out = (
            window_count(size[a], kernel[a], self.stride[a], self.padding[a], self.dilation[a])
            for a in (0, 1)
        )
        expect_extent(n, c, *(size[a] + sum(self.padding[a]) for a in (0, 1)))
        return (TensorType(in_layout(self.layout, n, o, h, w_out), x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        y, w = outputs[0], inputs[1]
        return y[0] * product([y[a] for a in spatial_axes(self.layout)]) * product(w)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x, w, *bias = inputs
        c = channel_axis(self.layout)
        for axis in spatial_axes(self.layout):
            ties.freeze(w[axis], "has a window of this size")
        made, read = w[0], w[c]
        if len(read) == 1 and self.groups > 1:  # depthwise: each channel has filters of its own
            ties.freeze(read, "reads one channel with each filter")
            if len(made) == self.groups:
                ties.tie(made, x[c])
            else:
                ties.tie(made.reshape(self.groups, -1), x[c][:, None])
        else:
            alike(ties, x[c], self.groups, read)
            alike(ties, made, self.groups)
        for b in bias:
            ties.tie(made, b[0])
        axes = list(slid_over(ties, x, outputs[0], self.layout))
        axes[c] = made
        return (tuple(axes),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return replace(self, groups=_groups_left(self, inputs))

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return self.activated(from_nchw(self._sums(args), self.layout))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        sums = self._sums([exact(a, t) for a, t in zip(args, inputs, strict=True)])
        return _rescaled(self, sums, inputs, outputs[0])

    def _sums(self, args: Sequence[Array]) -> Array:
        """NCHW sums of products, and the bias."""
        x, w = to_nchw(args[0], self.layout), to_nchw(args[1], self.layout)
        x = np.pad(x, ((0, 0), (0, 0), *self.padding))
        y = convolve(x, w, self.stride, self.dilation, self.groups)
        if len(args) == 3:
            y += args[2].reshape(1, -1, 1, 1)
        return y


@op
class ConvTranspose2d(Activated):
    """Transposed convolution: the gradient of Conv2d with respect to its input.

    Operands: x in ``layout``; weights IOHW (NCHW) or OHWI (NHWC, as TFLite stores them; groups 1),
    where O is output channels of one group; optionally a bias. ``padding`` is cut from the full
    output, which ``output_padding`` lengthens at the end.
    """

    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    layout: Layout = "NCHW"
    activation: Op | None = None

    linear = True
    bias = 2

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x, w = _expect_conv(inputs)
        n, c, *size = (
            x.shape[a] for a in (0, channel_axis(self.layout), *spatial_axes(self.layout))
        )
        i, o, *kernel = self._iohw(w.shape)
        expect(
            self.groups > 0 and c == i and i % self.groups == 0,
            f"weights {dims(w.shape)} in {self.groups} groups do not fit input {dims(x.shape)}",
        )
        _expect_bias(inputs, o * self.groups)
        for a in (0, 1):
            _expect_window(kernel[a], self.stride[a], self.padding[a], self.dilation[a])
        extra = self.output_padding
        expect(min(extra) >= 0, f"output padding {extra} is negative")
        full = [
            (size[a] - 1) * self.stride[a] + (kernel[a] - 1) * self.dilation[a] + 1 + extra[a]
            for a in (0, 1)
        ]
        expect_extent(n, o * self.groups, *full)
        h, w_out = (full[a] - sum(self.padding[a]) for a in (0, 1))
        expect(min(h, w_out, *size) > 0, f"makes {h}x{w_out} of {dims(size)}: one is empty")
        return (TensorType(in_layout(self.layout, n, o * self.groups, h, w_out), x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        x, w = inputs[0], inputs[1]
        return x[0] * product([x[a] for a in spatial_axes(self.layout)]) * product(w)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return self.activated(from_nchw(self._sums(args), self.layout))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        sums = self._sums([exact(a, t) for a, t in zip(args, inputs, strict=True)])
        return _rescaled(self, sums, inputs, outputs[0])

    def _sums(self, args: Sequence[Array]) -> Array:
        """NCHW sums of products, and the bias."""
        x = to_nchw(args[0], self.layout)
        w = args[1] if self.layout == "NCHW" else args[1].transpose(3, 0, 1, 2)
        n, c, h, width = x.shape
        o, kh, kw = w.shape[1:]
        xg = x.reshape(n, self.groups, c // self.groups, h, width)
        wg = w.reshape(self.groups, c // self.groups, o, kh, kw)
        full = [
            (size - 1) * s + (k - 1) * d + 1 + extra
            for size, s, k, d, extra in zip(
                (h, width), self.stride, (kh, kw), self.dilation, self.output_padding, strict=True
            )
        ]
        y = np.zeros((n, self.groups, o, *full), x.dtype)
        for r in range(kh):
            for q in range(kw):
                rows, columns = (
                    slice(k * d, k * d + (size - 1) * s + 1, s)
                    for k, d, size, s in zip(
                        (r, q), self.dilation, (h, width), self.stride, strict=True
                    )
                )
                y[..., rows, columns] += np.einsum(
                    "ngihw,gio->ngohw", xg, wg[..., r, q], optimize=True
                )
        y = y.reshape(n, self.groups * o, *full)
        (top, bottom), (left, right) = self.padding
        y = y[:, :, top : full[0] - bottom, left : full[1] - right]
        if len(args) == 3:
            y = y + args[2].reshape(1, -1, 1, 1)
        return y

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x, w, *bias = inputs
        c = channel_axis(self.layout)
        read, filters, *window = self._iohw(w)
        for ids in window:
            ties.freeze(ids, "has a window of this size")
        ties.tie(x[c], read)
        made = np.tile(filters, self.groups)
        if len(read) == self.groups > 1:  # depthwise: each channel makes channels of its own
            ties.freeze(filters, "makes so many channels of each")
            made = np.repeat(read, len(filters))
        else:
            alike(ties, read, self.groups)
        for b in bias:
            ties.tie(made, b[0])
        axes = list(slid_over(ties, x, outputs[0], self.layout))
        axes[c] = made
        return (tuple(axes),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return replace(self, groups=_groups_left(self, inputs))

    def _iohw(self, shape: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        """Input channels, output channels of a group, kernel height and width."""
        first, second, third, last = shape
        if self.layout == "NCHW":
            return first, second, third, last
        return last, first, second, third


def window_count(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Positions of a window along one axis; InvalidType where it does not fit once."""
    _expect_window(kernel, stride, padding, dilation)
    room = size + sum(padding) - (kernel - 1) * dilation - 1
    expect(room >= 0, f"a window of {kernel} (dilation {dilation}) is wider than its input {size}")
    return room // stride + 1


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """TensorFlow's SAME along one axis: as little as gives ceil(size / stride) windows."""
    total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def transposed_padding(
    size: int, made: int, kernel: int, stride: int, before: int
) -> tuple[Pair, int]:
    """What a transposed convolution cuts from both ends, and adds to the last, for its sizes.

    Args:
        size: elements of an axis of its operand.
        made: elements of the axis of its result.
        kernel: the window; without dilation.
        stride: the stride.
        before: what is cut from the front. SAME cuts what ``same_padding`` of the result adds.
    """
    after = (size - 1) * stride + kernel - before - made
    return (before, max(after, 0)), max(-after, 0)


def expect_extent(*shape: int) -> None:
    """Raise InvalidType where a tensor, with all that is padded, would be larger than any may be.

    An input may be small and its output too, and what lies between them beyond all memory.
    """
    fits = math.prod(shape) <= MAX_ELEMENTS
    expect(fits, f"with its padding {dims(shape)} has more than {MAX_ELEMENTS} elements")


def _expect_window(kernel: int, stride: int, padding: Pair, dilation: int) -> None:
    expect(min(kernel, stride, dilation) > 0, "kernel, stride and dilation must be positive")
    expect(min(padding) >= 0, f"padding {padding} is negative")


def convolve(x: Array, w: Array, stride: Pair, dilation: Pair, groups: int) -> Array:
    """NCHW convolution of an already padded ``x`` with OIHW weights, without bias."""
    n, c, _, _ = x.shape
    o, i, kh, kw = w.shape
    reach = ((kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1)
    windows = sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    h, width = windows.shape[2:4]
    if i == 1:  # depthwise: one multiply-add a kernel position is faster than many tiny products
        y = np.zeros((n, c, o // c, h, width), x.dtype)
        wd = w.reshape(c, o // c, kh, kw)
        for r in range(kh):
            for q in range(kw):
                y += windows[:, :, None, :, :, r, q] * wd[None, :, :, None, None, r, q]
        return y.reshape(n, o, h, width)
    y = np.empty((n, o, h, width), np.result_type(x, w))
    per = o // groups
    for g in range(groups):
        part = windows[:, g * i : (g + 1) * i]
        columns = part.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * width, i * kh * kw)
        weights = w[g * per : (g + 1) * per].reshape(per, -1)
        product_ = (columns @ weights.T).reshape(n, h, width, per)
        y[:, g * per : (g + 1) * per] = product_.transpose(0, 3, 1, 2)
    return y


def _rescaled(
    op: Conv2d | ConvTranspose2d, sums: Array, inputs: Sequence[TensorType], output: TensorType
) -> tuple[Array]:
    """NCHW sums in the output's scale, one factor a channel (TFLite's kernel_util.cc)."""
    (y,) = accumulated(np.moveaxis(sums, 1, -1), inputs, output, op.activation)
    return (y if op.layout == "NHWC" else np.moveaxis(y, -1, 1),)


def _groups_left(op: Conv2d | ConvTranspose2d, inputs: Sequence[Kept]) -> int:
    """The groups of what is left: each channel of a depthwise convolution is one, others stay."""
    channels = inputs[0][channel_axis(op.layout)]
    return int(channels.sum()) if op.groups == len(channels) else op.groups


def _expect_conv(inputs: Sequence[TensorType]) -> tuple[TensorType, TensorType]:
    expect_operands(inputs, 2, 3)
    expect_reals(inputs)
    for t in inputs[:2]:
        expect_rank(t, 4)
    return inputs[0], inputs[1]


def _expect_bias(inputs: Sequence[TensorType], channels: int) -> None:
    if len(inputs) == 3:
        bias = inputs[2]
        expect(bias.shape == (channels,), f"bias {dims(bias.shape)} is not {channels} elements")
