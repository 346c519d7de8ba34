"""Reductions over axes; over height and width they are the global pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from irprune.ir.channels import Axes, Ties
from irprune.ir.fixed_point import Multiplier, wrap
from irprune.ir.integer import centred, expect_same_quantization, rescaled, scale, stored
from irprune.ir.op import (
    Dims,
    Op,
    expect,
    expect_numbers,
    expect_operands,
    expect_reals,
    normalize_axes,
    op,
    product,
)
from irprune.ir.types import Array, Shape, TensorType


class Reduce(Op):
    """Reduces ``axes`` to one element; like the global pool it costs every element it reads.

    Class attributes:
        counts: why an element of zero is not the same as none; empty where it is.
    """

    counts: ClassVar[str] = ""
    axes: tuple[int, ...]
    keepdims: bool

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect_numbers(inputs)
        x = inputs[0]
        axes = normalize_axes(self.axes, x.rank)
        shape = [
            1 if axis in axes else size
            for axis, size in enumerate(x.shape)
            if self.keepdims or axis not in axes
        ]
        return (TensorType(tuple(shape), x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return product(inputs[0])

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x = inputs[0]
        axes = normalize_axes(self.axes, len(x))
        for axis in axes if self.counts else ():
            ties.freeze(x[axis], self.counts)
        kept = (
            ties.fixed(1, "has one index here") if axis in axes else ids
            for axis, ids in enumerate(x)
            if self.keepdims or axis not in axes
        )
        return (tuple(kept),)

    def _total(self, x: Array, t: TensorType) -> tuple[Array, int]:
        """Sums of a quantized operand, and how many elements each has."""
        total = np.asarray(centred(x, t).sum(self.axes, keepdims=self.keepdims))
        return total, product([t.shape[axis] for axis in self.axes])


@op
class ReduceMean(Reduce):
    """The mean over axes; over height and width the global average pool."""

    axes: tuple[int, ...]
    keepdims: bool = True

    counts = "takes the mean over it"

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        types = super().infer(inputs)
        expect_reals(inputs)
        expect(inputs[0].elements > 0 or types[0].elements == 0, "is the mean of no elements")
        return types

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        mean = np.mean(x, self.axes, keepdims=self.keepdims, dtype=_wide(x))
        return (np.asarray(mean, x.dtype),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        total, count = self._total(args[0], inputs[0])
        whole = Multiplier.of(scale(inputs[0]) / scale(outputs[0]))
        exponent = int(whole.exponent)
        # As many bits of 1/count as the product has room for.
        shift = min(count.bit_length() - 1, 32, 31 + exponent)
        significand = (int(whole.significand) << shift) // count
        mean = Multiplier(np.asarray(significand), np.asarray(exponent - shift))
        return stored(mean(wrap(total)), outputs[0])


@op
class ReduceSum(Reduce):
    """The sum over axes."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        return (np.asarray(np.sum(x, self.axes, keepdims=self.keepdims, dtype=x.dtype)),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        total, _ = self._total(args[0], inputs[0])
        factor = scale(inputs[0]) / scale(outputs[0])
        return rescaled(wrap(total), factor, outputs[0])


@op
class ReduceMax(Reduce):
    """The maximum over axes; over height and width the global max pool."""

    axes: tuple[int, ...]
    keepdims: bool = True

    counts = "takes the maximum over it"
    keeps_quantization = True

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x = args[0]
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return (np.asarray(np.max(x, self.axes, keepdims=self.keepdims, initial=least)),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        expect_same_quantization(inputs, outputs)
        return self.evaluate(args)


def _wide(x: Array) -> Any:
    """Half precision is summed in single, as every runtime does."""
    return np.float32 if x.dtype == np.float16 else None
