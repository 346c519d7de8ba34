"""Between reals and the integers that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from irprune.ir.channels import Axes, Kept, Ties
from irprune.ir.errors import InvalidType
from irprune.ir.fixed_point import round_half_away
from irprune.ir.integer import centred, rescaled, scale
from irprune.ir.op import Dims, Op, expect, expect_operands, expect_reals, op
from irprune.ir.types import Array, DType, Quant, Shape, TensorType


@op
class Quantize(Op):
    """Reals to integers, or integers to another quantization.

    ``halves`` of an integer are rounded to even, as in ONNX, or away from zero, as in TFLite.
    """

    dtype: DType
    quant: Quant
    halves: Literal["even", "away"] = "even"

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect_reals(inputs)
        expect(self.dtype.is_integer, f"quantizes to {self.dtype.value}")
        return (TensorType(inputs[0].shape, self.dtype, self.quant),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (inputs[0],)

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return replace(self, quant=self.quant.kept(outputs[0]))

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        scale, zero_point = self.quant.along(args[0].ndim)
        low, high = self.dtype.limits
        scaled = args[0].astype(np.float32) / scale.astype(np.float32)
        whole = np.rint(scaled) if self.halves == "even" else round_half_away(scaled)
        shifted = whole.astype(np.float64) + zero_point
        return (np.clip(shifted, low, high).astype(self.dtype.numpy),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        factor = scale(inputs[0]) / scale(outputs[0])
        return rescaled(centred(args[0], inputs[0]), factor, outputs[0])


@op
class Dequantize(Op):
    """Integers to the reals they stand for; the quantization is the operand type's."""

    dtype: DType = DType.F32

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        expect(inputs[0].quant is not None, f"operand {inputs[0]} is not quantized")
        expect(self.dtype.is_float, f"dequantizes to {self.dtype.value}")
        return (TensorType(inputs[0].shape, self.dtype),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        return (inputs[0],)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        raise InvalidType("the operand's quantization is needed")

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        quant = inputs[0].quant
        if quant is None:
            raise InvalidType(f"operand {inputs[0]} is not quantized")
        scale, zero_point = quant.along(args[0].ndim)
        centred = (args[0].astype(np.int64) - zero_point).astype(np.float32)
        return ((centred * scale.astype(np.float32)).astype(self.dtype.numpy),)


def as_stored(array: Array, t: TensorType) -> Array:
    """Reals as a tensor of a type has them: quantized as TFLite does it, or in its precision."""
    if t.quant is None:
        return array.astype(t.dtype.numpy, copy=False)
    (made,) = Quantize(t.dtype, t.quant, "away").evaluate((array,))
    return made


def as_reals(array: Array, t: TensorType) -> Array:
    """The reals that the elements of a tensor of a type stand for, in double precision."""
    if t.quant is None:
        return array.astype(np.float64)
    scale, zero_point = t.quant.along(array.ndim)
    return np.asarray((array.astype(np.int64) - zero_point) * scale)
