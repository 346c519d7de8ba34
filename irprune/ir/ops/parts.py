"""Operators that join tensors, and that take parts of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from irprune.ir.channels import Axes, Kept, Ties, kept_shape
from irprune.ir.integer import expect_same_quantization
from irprune.ir.op import Op, expect, expect_operands, normalize_axes, normalize_axis, op
from irprune.ir.ops.shape import Move, per_tensor
from irprune.ir.types import Array, Shape, TensorType, dims


@op
class Concat(Move):
    """Operands end to end along an axis."""

    axis: int

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect(len(inputs) > 0, "has no operands")
        first = inputs[0]
        axis = normalize_axis(self.axis, first.rank)
        for t in inputs:
            same = t.rank == first.rank and all(
                a == axis or t.shape[a] == first.shape[a] for a in range(first.rank)
            )
            expect(
                same and t.dtype == first.dtype, f"{first} and {t} do not join along axis {axis}"
            )
        shape = list(first.shape)
        shape[axis] = sum(t.shape[axis] for t in inputs)
        return (TensorType(tuple(shape), first.dtype),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        first, *others = inputs
        along = self.axis % len(first)
        for other in others:
            for axis, ids in enumerate(first):
                if axis != along:
                    ties.tie(ids, other[axis])
        joined = np.concatenate([operand[along] for operand in inputs])
        return ((*first[:along], joined, *first[along + 1 :]),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return (np.concatenate(args, self.axis),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect_same_quantization(inputs, outputs)
        return self.evaluate(args)


@op
class Split(Move):
    """Consecutive parts of an axis, one output a part."""

    axis: int
    sizes: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        axis = normalize_axis(self.axis, x.rank)
        expect(len(self.sizes) > 0 and min(self.sizes) >= 0, f"parts {self.sizes} are no sizes")
        expect(
            sum(self.sizes) == x.shape[axis],
            f"parts {self.sizes} are not axis {axis} of {dims(x.shape)}",
        )
        shapes = ((*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in self.sizes)
        return tuple(TensorType(shape, x.dtype, per_tensor(x)) for shape in shapes)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x, along = inputs[0], self.axis % len(inputs[0])
        parts = np.split(x[along], np.cumsum(self.sizes)[:-1])
        return tuple((*x[:along], part, *x[along + 1 :]) for part in parts)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return Split(self.axis, tuple(int(kept[self.axis].sum()) for kept in outputs))

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(np.split(args[0], np.cumsum(self.sizes)[:-1], self.axis))


@op
class Slice(Move):
    """``sizes[i]`` elements of ``axes[i]``: from ``starts[i]`` on, ``steps[i]`` apart."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        axes, shape = normalize_axes(self.axes, x.rank), list(x.shape)
        expect(
            len(axes) == len(self.starts) == len(self.sizes) == len(self.steps),
            f"has {len(self.starts)} starts, {len(self.sizes)} sizes and {len(self.steps)} steps"
            f" for {len(axes)} axes",
        )
        for axis, start, size, step in zip(axes, self.starts, self.sizes, self.steps, strict=True):
            last = start + (size - 1) * step
            inside = size == 0 or (min(start, last) >= 0 and max(start, last) < x.shape[axis])
            expect(
                step != 0 and size >= 0 and inside, f"slice leaves axis {axis} of {dims(x.shape)}"
            )
            shape[axis] = size
        return (TensorType(tuple(shape), x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        axes = list(inputs[0])
        for axis, start, size, step in zip(
            self.axes, self.starts, self.sizes, self.steps, strict=True
        ):
            if abs(step) > 1 and size > 1:  # what is left would not lie in equal steps
                ties.freeze(axes[axis], f"strides over it by {abs(step)}")
            axes[axis] = axes[axis][start + step * np.arange(size)]
        return (tuple(axes),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        starts = []
        for axis, start, step in zip(self.axes, self.starts, self.steps, strict=True):
            stay = inputs[0][axis]
            starts.append(int(stay[:start].sum() if step > 0 else stay[: start + 1].sum() - 1))
        sizes = tuple(int(outputs[0][axis].sum()) for axis in self.axes)
        return replace(self, starts=tuple(starts), sizes=sizes)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        for axis, start, size, step in zip(
            self.axes, self.starts, self.sizes, self.steps, strict=True
        ):
            x = np.take(x, range(start, start + size * step, step), axis)
        return (x,)


@op
class Pad(Move):
    """Elements before and after each axis: a constant, a reflection or the edge repeated.

    ``value`` is a real number; a quantized tensor is padded with its quantized form.
    """

    padding: tuple[tuple[int, int], ...]
    mode: Literal["constant", "reflect", "edge"] = "constant"
    value: float = 0.0

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        expect(len(self.padding) == x.rank, f"{len(self.padding)} pads for {dims(x.shape)}")
        expect(all(min(pair) >= 0 for pair in self.padding), f"padding {self.padding} is negative")
        for pair, size in zip(self.padding, x.shape, strict=True):
            room = {"constant": math.inf, "reflect": size - 1, "edge": math.inf if size else 0}
            expect(max(pair) <= room[self.mode], f"{self.mode} padding {pair} of axis of {size}")
        if self.mode == "constant" and x.dtype.is_integer and x.quant is None:
            low, high = x.dtype.limits
            fits = float(self.value).is_integer() and low <= self.value <= high
            expect(fits, f"pads {x} with {self.value}")
        shape = tuple(size + sum(p) for size, p in zip(x.shape, self.padding, strict=True))
        return (TensorType(shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        axes = list(inputs[0])
        for axis, (before, after) in enumerate(self.padding):
            if not before + after:
                continue
            if self.mode == "constant":
                ends = ties.fresh(before), ties.fresh(after)
                axes[axis] = np.concatenate([ends[0], axes[axis], ends[1]])
            else:
                ties.freeze(axes[axis], f"pads it by {self.mode}")
                axes[axis] = ties.fixed(before + len(axes[axis]) + after, f"pads it by {self.mode}")
        return (tuple(axes),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        padding = tuple(
            (int(kept[:before].sum()), int(kept[len(kept) - after :].sum()))
            for kept, (before, after) in zip(outputs[0], self.padding, strict=True)
        )
        return replace(self, padding=padding)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        if not self.padding:
            return (args[0],)
        if self.mode == "constant":
            return (np.pad(args[0], self.padding, constant_values=self.value),)
        return (np.pad(args[0], self.padding, mode=self.mode),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        quant = inputs[0].quant
        if self.mode != "constant" or quant is None:
            return self.evaluate(args)
        expect(quant.axis is None, "wants one scale for the whole tensor, not one a channel")
        low, high = (limit - quant.zero_point[0] for limit in inputs[0].dtype.limits)
        fill = round(min(max(self.value / quant.scale[0], low), high)) + quant.zero_point[0]
        return (np.pad(args[0], self.padding, constant_values=fill),)


@op
class Gather(Move):
    """Elements of an axis by constant indices: the axis is replaced by the indices' shape."""

    indices: tuple[int, ...]
    indices_shape: Shape
    axis: int = 0

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        axis = normalize_axis(self.axis, x.rank)
        expect(
            math.prod(self.indices_shape) == len(self.indices), "indices do not fill their shape"
        )
        size = x.shape[axis]
        expect(all(0 <= i < size for i in self.indices), f"an index is not within 0 to {size - 1}")
        shape = (*x.shape[:axis], *self.indices_shape, *x.shape[axis + 1 :])
        return (TensorType(shape, x.dtype, per_tensor(x)),)

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x, along = inputs[0], self.axis % len(inputs[0])
        chosen = x[along][np.asarray(self.indices, np.int64)]
        if not self.indices_shape:
            ties.freeze(chosen, "takes this index of it")
        taken = ties.reshaped((chosen,), self.indices_shape)
        return ((*x[:along], *taken, *x[along + 1 :]),)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        along = self.axis % len(inputs[0])
        stay = inputs[0][along]
        moved = (np.cumsum(stay) - 1)[np.asarray(self.indices, np.int64)]
        shape = kept_shape(outputs[0][along : along + len(self.indices_shape)])
        left = moved[stay[np.asarray(self.indices, np.int64)]]
        return Gather(tuple(left.tolist()), shape, self.axis)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        indices = np.asarray(self.indices, np.int64).reshape(self.indices_shape)
        return (np.take(args[0], indices, self.axis),)
