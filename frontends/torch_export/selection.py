"""Operators that take parts of a tensor, by constant positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

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
from irprune.ir.ops import Concat, Expand, Gather, Slice, Split, Squeeze, Unsqueeze


@lower(
    "aten.split.Tensor",
    "aten.split.sizes",
    "aten.split_with_sizes.default",
    "aten.chunk.default",
    "aten.unsafe_chunk.default",
    "aten.unsafe_split.Tensor",
)
def split(
    call: Call,
    self: Operand,
    dim: int,
    split_size: Sequence[int] | int | None = None,
    split_sizes: Sequence[int] | None = None,
    chunks: int | None = None,
) -> Result:
    """Consecutive parts; torch has worked out the size of each."""
    axis = axis_of(dim, self)
    sizes = tuple(part.shape[axis] for part in call.results)
    return call.add_node(Split(axis, sizes), self) if len(sizes) > 1 else (call.value(self),)


@lower("aten.unbind.int")
def unbind(call: Call, self: Operand, dim: int) -> Result:
    """Every index of an axis by itself."""
    axis = axis_of(dim, self)
    parts = call.add_node(Split(axis, (1,) * shape_of(self)[axis]), self)
    return tuple(call.add(Squeeze((axis,)), part) for part in parts)


@lower("aten.slice.Tensor")
def slice_(
    call: Call, self: Operand, dim: int, start: int | None, end: int | None, step: int
) -> Result:
    """Evenly spaced indices of an axis; positions beyond it are the end."""
    axis = axis_of(dim, self)
    return sliced(call, self, axis, range(shape_of(self)[axis])[start:end:step])


@lower("aten.narrow.default")
def narrow(call: Call, self: Operand, dim: int, start: int, length: int) -> Result:
    """Consecutive indices of an axis."""
    axis = axis_of(dim, self)
    first = start % max(shape_of(self)[axis], 1)
    return sliced(call, self, axis, range(first, first + length))


@lower("aten.select.int")
def select(call: Call, self: Operand, dim: int, index: int) -> Result:
    """One index of an axis, and the axis is gone."""
    axis = axis_of(dim, self)
    at = index % shape_of(self)[axis]
    return call.add(Squeeze((axis,)), sliced(call, self, axis, range(at, at + 1)))


@lower("aten.flip.default")
def flip(call: Call, self: Operand, dims: Sequence[int]) -> Result:
    """Axes from their end to their start."""
    y = call.value(self)
    for axis in axes_of(dims, self) if dims else ():
        y = sliced(call, y, axis, range(shape_of(self)[axis])[::-1])
    return y


@lower("aten.index_select.default")
def index_select(call: Call, self: Operand, dim: int, index: Operand) -> Result:
    """Some indices of an axis."""
    return _gathered(call, self, axis_of(dim, self), index)


@lower("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(call: Call, self: Operand, indices: Sequence[Operand | None]) -> Result:
    """Indices of one axis, or of several that each have an axis of the output."""
    chosen = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if len(chosen) == 1:
        return _gathered(call, self, *chosen[0])
    rank = max(len(shape_of(i)) for _, i in chosen)
    y = call.value(self)
    consecutive = [axis for axis, _ in chosen] == list(range(chosen[0][0], chosen[0][0] + rank))
    call.require(consecutive, "pairs the indices of several axes")
    for position, (axis, i) in enumerate(chosen):
        shape = [1] * (rank - len(shape_of(i))) + list(shape_of(i))
        others = [size for at, size in enumerate(shape) if at != position]
        call.require(all(size == 1 for size in others), "pairs the indices of several axes")
        flat = i.flatten() if isinstance(i, torch.Tensor) else i
        y = _gathered(call, y, axis, flat)
    return y


@lower("aten.embedding.default")
def embedding(call: Call, weight: Operand, indices: Operand, **training: object) -> Result:
    """Rows of a computed table by constant indices."""
    return _gathered(call, weight, 0, indices)


@lower("aten.slice_scatter.default")
def slice_scatter(
    call: Call,
    self: Operand,
    src: Operand,
    dim: int,
    start: int | None,
    end: int | None,
    step: int,
) -> Result:
    """The operand, with consecutive indices of an axis replaced."""
    call.require(step == 1, "replaces every other index")
    axis = axis_of(dim, self)
    replaced = range(shape_of(self)[axis])[start:end]
    return _replaced(call, self, axis, replaced, call.same(src))


@lower("aten.select_scatter.default")
def select_scatter(call: Call, self: Operand, src: Operand, dim: int, index: int) -> Result:
    """The operand, with one index of an axis replaced."""
    axis = axis_of(dim, self)
    at = index % shape_of(self)[axis]
    part = call.add(Unsqueeze((axis,)), call.same(src))
    return _replaced(call, self, axis, range(at, at + 1), part)


@lower("aten.copy.default")
def copy(call: Call, self: Operand, src: Operand, non_blocking: bool) -> Result:
    """What is copied over an operand of this shape."""
    y = call.same(src)
    return y if y.type.shape == call.shape else call.add(Expand(call.shape), y)


@lower("aten.fill.Scalar", "aten.fill.Tensor")
def fill(call: Call, self: Operand, value: Operand | float) -> Result:
    """One number over an operand of this shape."""
    if isinstance(value, Value):
        return call.add(Expand(call.shape), call.same(value))
    return torch.full(call.shape, float(value), dtype=call.element)


def sliced(call: Call, x: Operand, axis: int, indices: range) -> Value:
    """The indices of an axis; all of them in order are the operand itself."""
    if indices == range(shape_of(x)[axis]):
        return call.value(x)
    return call.add(Slice((axis,), (indices.start,), (len(indices),), (indices.step,)), x)


def _gathered(call: Call, x: Operand, axis: int, indices: Operand) -> Value:
    """The axis by constant indices, negative ones counted from its end."""
    call.require(isinstance(indices, torch.Tensor), "computes the indices it reads")
    assert isinstance(indices, torch.Tensor)
    size = shape_of(x)[axis]
    positions = tuple(i % size for i in indices.flatten().tolist())
    return call.add(Gather(positions, tuple(indices.shape), axis), x)


def _replaced(call: Call, x: Operand, axis: int, indices: range, by: Value) -> Value:
    """The operand with consecutive indices of an axis replaced."""
    if not indices:
        return call.value(x)
    size = shape_of(x)[axis]
    before, after = range(indices.start), range(indices.stop, size)
    parts = [sliced(call, x, axis, kept) for kept in (before, after) if kept]
    parts.insert(1 if before else 0, by)
    return parts[0] if len(parts) == 1 else call.add(Concat(axis), *parts)
