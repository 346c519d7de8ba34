"""Operators that only reshape, reorder or keep what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from irprune.frontends.lowering import transposition
from irprune.frontends.torch_export.call import (
    Call,
    Operand,
    Result,
    axes_of,
    axis_of,
    lower,
    shape_of,
)
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import (
    Concat,
    DepthToSpace,
    Expand,
    Flatten,
    Gather,
    Reshape,
    SpaceToDepth,
    Squeeze,
    Transpose,
    Unsqueeze,
)


@lower(
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.lift_fresh_copy.default",
    "aten._to_copy.default",
    "aten.to.device",
    "aten.to.dtype",
    "aten.to.dtype_layout",
    "aten.to.other",
    "aten.type_as.default",
)
def same(call: Call, self: Operand, **placement: Any) -> Result:
    """Where the copy lies, and in which order, is nothing to a graph; its element type is."""
    return call.same(self)


@lower("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def dropout(call: Call, input: Operand, p: float, train: bool) -> Result:
    """Nothing, unless it is training."""
    call.require(not train, "is in training mode (call eval() before exporting)")
    return input


@lower("aten.native_dropout.default")
def native_dropout(call: Call, input: Operand, p: float, train: bool | None) -> Result:
    """dropout, decomposed; torch also gives the mask."""
    call.require(train is False, "is in training mode (call eval() before exporting)")
    return (input, None)


@lower(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.unflatten.int",
    "aten.view_as.default",
)
def reshape(call: Call, self: Operand, **wanted: Any) -> Result:
    """Any other shape; torch has worked out the size that was left open."""
    return _view(call, Reshape(call.shape), self)


@lower("aten.flatten.using_ints")
def flatten(call: Call, self: Operand, start_dim: int, end_dim: int) -> Result:
    """Some axes become one."""
    return _view(call, Flatten(axis_of(start_dim, self), axis_of(end_dim, self)), self)


@lower("aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims")
def squeeze(call: Call, self: Operand, dim: Sequence[int] | int | None = None) -> Result:
    """Axes of size 1 are dropped; torch leaves those that are not 1 as they are."""
    shape = shape_of(self)
    return _view(call, Squeeze(tuple(a for a in axes_of(dim, self) if shape[a] == 1)), self)


@lower("aten.unsqueeze.default")
def unsqueeze(call: Call, self: Operand, dim: int) -> Result:
    """An axis of size 1 is inserted."""
    return call.add(Unsqueeze((dim % len(call.shape),)), self)


@lower("aten.expand.default", "aten.expand_as.default")
def expand(call: Call, self: Operand, **wanted: Any) -> Result:
    """Broadcast to a shape."""
    return _view(call, Expand(call.shape), self)


@lower("aten.permute.default")
def permute(call: Call, self: Operand, dims: Sequence[int]) -> Result:
    """Axes in a new order."""
    return transposed(call, self, axes_of(dims, self))


@lower("aten.transpose.int")
def transpose(call: Call, self: Operand, dim0: int, dim1: int) -> Result:
    """Two axes change places."""
    order = list(range(len(shape_of(self))))
    a, b = axis_of(dim0, self), axis_of(dim1, self)
    order[a], order[b] = order[b], order[a]
    return transposed(call, self, order)


@lower("aten.t.default", "aten.numpy_T.default")
def reversed_axes(call: Call, self: Operand) -> Result:
    """All axes in reverse."""
    return transposed(call, self, range(len(shape_of(self)))[::-1])


@lower("aten.mT.default")
def matrices_transposed(call: Call, self: Operand) -> Result:
    """The last two axes change places."""
    return transpose(call, self, -2, -1)


@lower("aten.cat.default")
def cat(call: Call, tensors: Sequence[Operand], dim: int = 0) -> Result:
    """End to end; torch lets an empty vector be among tensors of any rank."""
    parts = [x for x in tensors if shape_of(x) != (0,) or len(call.shape) == 1]
    if len(parts) == 1:
        return parts[0]
    return call.add(Concat(dim % len(call.shape)), *map(call.same, parts))


@lower("aten.stack.default")
def stack(call: Call, tensors: Sequence[Operand], dim: int) -> Result:
    """Along a new axis."""
    axis = dim % len(call.shape)
    parts = [call.add(Unsqueeze((axis,)), call.same(x)) for x in tensors]
    return parts[0] if len(parts) == 1 else call.add(Concat(axis), *parts)


@lower("aten.repeat.default")
def repeat(call: Call, self: Operand, repeats: Sequence[int]) -> Result:
    """Copies side by side, along each axis in turn."""
    new = len(repeats) - len(shape_of(self))
    y = call.add(Unsqueeze(tuple(range(new))), self) if new else call.value(self)
    for axis, count in enumerate(repeats):
        call.require(count > 0, "makes nothing")
        y = call.add(Concat(axis), *[y] * count) if count > 1 else y
    return y


@lower("aten.pixel_shuffle.default")
def pixel_shuffle(call: Call, self: Operand, upscale_factor: int) -> Result:
    """Blocks of channels become pixels."""
    call.require(len(shape_of(self)) == 4, "has no batch axis")
    return call.add(DepthToSpace(upscale_factor, "CRD"), self)


@lower("aten.pixel_unshuffle.default")
def pixel_unshuffle(call: Call, self: Operand, downscale_factor: int) -> Result:
    """Blocks of pixels become channels; torch has a channel's own next to each other."""
    call.require(len(shape_of(self)) == 4, "has no batch axis")
    channels, area = shape_of(self)[1], downscale_factor**2
    y = call.add(SpaceToDepth(downscale_factor), self)
    order = torch.arange(channels * area).reshape(area, channels).t().flatten()
    gather = Gather(tuple(order.tolist()), (channels * area,), 1)
    return y if channels == 1 else call.add(gather, y)


@lower("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def channel_shuffle(call: Call, self: Operand, groups: int) -> Result:
    """The channels of the groups take turns."""
    batch, channels, *size = shape_of(self)
    grouped = call.add(Reshape((batch, groups, channels // groups, *size)), self)
    order = (0, 2, 1, *range(3, 3 + len(size)))
    return call.add(Reshape(call.shape), call.add(Transpose(order), grouped))


@lower(
    "aten.zeros_like.default",
    "aten.empty_like.default",
    "aten.new_zeros.default",
    "aten.new_empty.default",
)
def zeros(call: Call, self: Operand, **wanted: Any) -> Result:
    """Zeros, of which only the shape depends on the operand."""
    return torch.zeros(call.shape, dtype=call.element)


@lower("aten.ones_like.default", "aten.new_ones.default")
def ones(call: Call, self: Operand, **wanted: Any) -> Result:
    """Ones, of which only the shape depends on the operand."""
    return torch.ones(call.shape, dtype=call.element)


@lower("aten.full_like.default", "aten.new_full.default")
def full(call: Call, self: Operand, fill_value: float, **wanted: Any) -> Result:
    """A number repeated, of which only the shape depends on the operand."""
    return torch.full(call.shape, fill_value, dtype=call.element)


def transposed(call: Call, x: Operand, order: Sequence[int]) -> Value:
    """The axes in a new order; where only axes of size 1 move, a view for free."""
    op = transposition(shape_of(x), order)
    stays = isinstance(op, Reshape) and op.shape == shape_of(x)
    return call.value(x) if stays else call.add(op, x)


def _view(call: Call, op: Op, x: Operand) -> Value:
    """``x`` under the op, or as it is where its shape is the output's already."""
    return call.value(x) if shape_of(x) == call.shape else call.add(op, x)
