"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irprune.ir.channels import Axes, Ties
from irprune.ir.errors import InvalidType
from irprune.ir.integer import accumulated, exact
from irprune.ir.op import Activated, Dims, Op, expect, expect_numbers, expect_operands, op, product
from irprune.ir.types import Array, Shape, TensorType, dims


@op
class Dense(Activated):
    """y = x @ w.T + b over the last axis; operands x, weights (out, in), optionally a bias."""

    activation: Op | None = None

    linear = True
    bias = 2

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2, 3)
        expect_numbers(inputs)
        x, w = inputs[:2]
        expect(
            x.rank >= 1 and w.rank == 2 and x.shape[-1] == w.shape[1],
            f"weights {dims(w.shape)} do not fit input {dims(x.shape)}",
        )
        if len(inputs) == 3:
            shape = inputs[2].shape
            expect(shape == w.shape[:1], f"bias {dims(shape)} is not {w.shape[0]} elements")
        return (TensorType((*x.shape[:-1], w.shape[0]), x.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return product(inputs[0][:-1]) * product(inputs[1])

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        x, (made, read), *bias = inputs
        ties.tie(x[-1], read)
        for b in bias:
            ties.tie(made, b[0])
        return ((*x[:-1], made),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        y = args[0] @ args[1].T
        return self.activated(y if len(args) == 2 else y + args[2])

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        (total,) = Dense().evaluate([exact(a, t) for a, t in zip(args, inputs, strict=True)])
        return accumulated(total, inputs, outputs[0], self.activation)


@op
class MatMul(Activated):
    """The product of two stacks of matrices, each transposed first if asked."""

    transpose_a: bool = False
    transpose_b: bool = False
    activation: Op | None = None

    linear = True

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 2)
        expect_numbers(inputs)
        expect(min(t.rank for t in inputs) >= 2, "wants operands of rank 2 or more")
        a, b = (
            (*t.shape[:-2], *t.shape[:-3:-1]) if flip else t.shape
            for t, flip in zip(inputs, (self.transpose_a, self.transpose_b), strict=True)
        )
        expect(a[-1] == b[-2], f"shapes {dims(a)} and {dims(b)} do not multiply")
        try:
            batch = np.broadcast_shapes(a[:-2], b[:-2])
        except ValueError:
            raise InvalidType(f"shapes {dims(a)} and {dims(b)} do not broadcast") from None
        return (TensorType((*batch, a[-2], b[-1]), inputs[0].dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        inner = inputs[0][-2 if self.transpose_a else -1]
        return product(outputs[0]) * inner

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        a, b = (
            (*x[:-2], x[-1], x[-2]) if flip else x
            for x, flip in zip(inputs, (self.transpose_a, self.transpose_b), strict=True)
        )
        ties.tie(a[-1], b[-2])
        stack = ties.broadcast([a[:-2], b[:-2]])
        return ((*stack, a[-2], b[-1]),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        a, b = (
            x.swapaxes(-1, -2) if flip else x
            for x, flip in zip(args, (self.transpose_a, self.transpose_b), strict=True)
        )
        return self.activated(np.matmul(a, b))

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        (total,) = MatMul(self.transpose_a, self.transpose_b).evaluate(
            [exact(a, t) for a, t in zip(args, inputs, strict=True)]
        )
        return accumulated(total, inputs, outputs[0], self.activation)
