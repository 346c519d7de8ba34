"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from irprune.frontends.torch_export.call import (
    Call,
    Number,
    Result,
    axes_of,
    axis_of,
    lower,
    shape_of,
)
from irprune.ir.graph import Value
from irprune.ir.ops import Mul, ReduceMax, ReduceMean, ReduceSum, Sqrt, Sub

Axes = Sequence[int] | int | None


@lower("aten.mean.default", "aten.mean.dim")
def mean(
    call: Call,
    self: Value,
    dim: Axes = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Result:
    """Over some axes, or all."""
    return call.add(ReduceMean(axes_of(dim, self), keepdim), call.same(self))


@lower("aten.sum.default", "aten.sum.dim_IntList")
def sum_(
    call: Call,
    self: Value,
    dim: Axes = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Result:
    """Over some axes, or all."""
    return call.add(ReduceSum(axes_of(dim, self), keepdim), call.same(self))


@lower("aten.amax.default", "aten.max.default")
def amax(call: Call, self: Value, dim: Axes = None, keepdim: bool = False) -> Result:
    """Over some axes, or all."""
    return call.add(ReduceMax(axes_of(dim, self), keepdim), self)


@lower("aten.max.dim")
def max_dim(call: Call, self: Value, dim: int, keepdim: bool) -> Result:
    """Over one axis, of which torch also gives where the greatest element was."""
    return (call.add(ReduceMax((axis_of(dim, self),), keepdim), self), None)


@lower("aten.var.correction")
def var(call: Call, self: Value, dim: Axes, correction: Number | None, keepdim: bool) -> Result:
    """The mean square of the deviation, scaled to the sample's variance where asked."""
    axes = axes_of(dim, self)
    count = math.prod(shape_of(self)[axis] for axis in axes)
    correction = 1 if correction is None else correction
    call.require(count > correction, f"estimates a variance from {count} elements")
    centred = call.add(Sub(), self, call.add(ReduceMean(axes), self))
    square = call.add(ReduceMean(axes, keepdim), call.add(Mul(), centred, centred))
    if correction == 0:
        return square
    return call.add(Mul(), square, call.same(count / (count - correction)))


@lower("aten.linalg_vector_norm.default")
def vector_norm(
    call: Call, self: Value, ord: Number, dim: Axes, keepdim: bool, dtype: torch.dtype | None
) -> Result:
    """The Euclidean length."""
    call.require(ord == 2, f"takes the norm of order {ord}")
    x = call.same(self)
    total = call.add(ReduceSum(axes_of(dim, self), keepdim), call.add(Mul(), x, x))
    return call.add(Sqrt(), total)
