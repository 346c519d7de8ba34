"""Operators that move elements and compute nothing; the views do not even move them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from irprune.ir.channels import Axes, Kept, Ties, kept_shape
from irprune.ir.op import (
    Dims,
    Op,
    expect,
    expect_operands,
    expect_rank,
    normalize_axes,
    normalize_axis,
    op,
)
from irprune.ir.ops.conv import (
    Layout,
    channel_axis,
    from_nchw,
    in_layout,
    slid_over,
    spatial_axes,
    to_nchw,
)
from irprune.ir.types import Array, Shape, TensorType, dims


class Move(Op):
    """Output elements are input elements (or a constant): no arithmetic, quantization kept."""

    keeps_quantization = True

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0


class View(Move):
    """The same bytes in the same order under another shape: a free alias."""

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        shape = self.shape_of(x.shape)
        expect(math.prod(shape) == x.elements, f"{dims(x.shape)} is not {dims(shape)}")
        return (TensorType(shape, x.dtype, x.quant if x.quant and x.quant.axis is None else None),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (args[0].reshape(self.shape_of(args[0].shape)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (ties.reshaped(inputs[0], outputs[0]),)

    def alias(self) -> int | None:
        return 0

    def shape_of(self, shape: Shape) -> Shape:
        """The output's shape."""
        return shape


@op
class Identity(View):
    """The operand itself; dropout at inference, casts that change nothing."""


@op
class Reshape(View):
    """Any shape of as many elements."""

    shape: Shape

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return Reshape(kept_shape(outputs[0]))

    def shape_of(self, shape: Shape) -> Shape:
        return self.shape


@op
class Flatten(View):
    """The axes from ``start`` to ``end`` (both included) become one."""

    start: int = 1
    end: int = -1

    def shape_of(self, shape: Shape) -> Shape:
        if not shape:
            return (1,)
        first, last = (normalize_axis(a, len(shape)) for a in (self.start, self.end))
        expect(first <= last, f"axes {self.start} to {self.end} are in the wrong order")
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


@op
class Squeeze(View):
    """Axes of size 1 are dropped."""

    axes: tuple[int, ...]

    def shape_of(self, shape: Shape) -> Shape:
        axes = normalize_axes(self.axes, len(shape))
        expect(all(shape[a] == 1 for a in axes), f"{dims(shape)} has no size 1 at {self.axes}")
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)


@op
class Unsqueeze(View):
    """Axes of size 1 are inserted, at positions counted in the output."""

    axes: tuple[int, ...]

    def shape_of(self, shape: Shape) -> Shape:
        rank = len(shape) + len(self.axes)
        axes = normalize_axes(self.axes, rank)
        rest = iter(shape)
        return tuple(1 if axis in axes else next(rest) for axis in range(rank))


@op
class Transpose(Move):
    """Axes in a new order: output axis i is input axis perm[i]."""

    perm: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        expect(
            sorted(self.perm) == list(range(x.rank)),
            f"{self.perm} does not permute {dims(x.shape)}",
        )
        shape = tuple(x.shape[axis] for axis in self.perm)
        return (TensorType(shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (tuple(inputs[0][axis] for axis in self.perm),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (args[0].transpose(self.perm),)


@op
class Expand(Move):
    """Broadcasts to a shape."""

    shape: Shape

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        aligned = zip(reversed(self.shape), reversed(x.shape), strict=False)
        expect(
            x.rank <= len(self.shape) and all(s in (1, d) for d, s in aligned),
            f"{dims(x.shape)} does not broadcast to {dims(self.shape)}",
        )
        return (TensorType(self.shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (ties.broadcast([inputs[0], tuple(map(ties.fresh, self.shape))]),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return Expand(kept_shape(outputs[0]))

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.broadcast_to(args[0], self.shape),)


@op
class DepthToSpace(Move):
    """Blocks of channels become pixels: columns first (DCR) or depth first (CRD, pixel shuffle)."""

    block: int
    mode: Literal["DCR", "CRD"] = "DCR"
    layout: Layout = "NCHW"

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect_rank(inputs[0], 4)
        x, b = inputs[0], self.block
        n, c, h, w = (
            x.shape[a] for a in (0, channel_axis(self.layout), *spatial_axes(self.layout))
        )
        expect(b > 0 and c % (b * b) == 0, f"{c} channels are not blocks of {b}x{b}")
        shape = in_layout(self.layout, n, c // (b * b), h * b, w * b)
        return (TensorType(shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        axes = list(slid_over(ties, inputs[0], outputs[0], self.layout))
        c, blocks = channel_axis(self.layout), self.block**2
        by_block = axes[c].reshape((blocks, -1) if self.mode == "DCR" else (-1, blocks))
        by_block = by_block if self.mode == "DCR" else by_block.T
        ties.tie(by_block, by_block[:1])
        axes[c] = by_block[0]
        return (tuple(axes),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, b = to_nchw(args[0], self.layout), self.block
        n, c, h, w = x.shape
        depth = c // (b * b)
        if self.mode == "DCR":
            y = x.reshape(n, b, b, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            y = x.reshape(n, depth, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        return (from_nchw(y.reshape(n, depth, h * b, w * b), self.layout),)


@op
class SpaceToDepth(Move):
    """Blocks of pixels become channels: the inverse of DepthToSpace in DCR order."""

    block: int
    layout: Layout = "NCHW"

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect_rank(inputs[0], 4)
        x, b = inputs[0], self.block
        n, c, h, w = (
            x.shape[a] for a in (0, channel_axis(self.layout), *spatial_axes(self.layout))
        )
        expect(b > 0 and h % b == 0 and w % b == 0, f"{h}x{w} pixels are not blocks of {b}x{b}")
        shape = in_layout(self.layout, n, c * b * b, h // b, w // b)
        return (TensorType(shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        axes = list(slid_over(ties, inputs[0], outputs[0], self.layout))
        c = channel_axis(self.layout)
        axes[c] = np.tile(axes[c], self.block**2)
        return (tuple(axes),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, b = to_nchw(args[0], self.layout), self.block
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
        return (from_nchw(y.reshape(n, c * b * b, h // b, w // b), self.layout),)


def per_tensor(x: TensorType) -> Any:
    """The quantization that survives moving elements about: only one of the whole tensor."""
    return x.quant if x.quant is not None and x.quant.axis is None else None
