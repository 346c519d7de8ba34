"""Element-wise arithmetic of several operands, with torch's promotion of scalars."""

from __future__ import annotations

import math

import torch

from irprune.frontends.torch_export.call import Call, Number, Operand, Result, lower
from irprune.ir.graph import Value
from irprune.ir.ops import Add, Div, Maximum, Minimum, Mul, Pow, Sqrt, Sub


def _scaled(call: Call, x: Operand | Number, alpha: Number) -> Operand | Number:
    """The operand times alpha."""
    if alpha == 1:
        return x
    return call.add(Mul(), call.same(x), call.same(alpha)) if isinstance(x, Value) else x * alpha


@lower("aten.add.Tensor", "aten.add.Scalar")
def add(call: Call, self: Operand, other: Operand | Number, alpha: Number) -> Result:
    """The sum self + alpha * other."""
    return call.add(Add(), call.same(self), call.same(_scaled(call, other, alpha)))


@lower("aten.sub.Tensor", "aten.sub.Scalar")
def sub(call: Call, self: Operand | Number, other: Operand | Number, alpha: Number) -> Result:
    """The difference self - alpha * other."""
    return call.add(Sub(), call.same(self), call.same(_scaled(call, other, alpha)))


@lower("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(call: Call, self: Operand, other: Operand | Number, alpha: Number) -> Result:
    """The difference other - alpha * self."""
    return sub(call, other, self, alpha)


@lower("aten.mul.Tensor", "aten.mul.Scalar")
def mul(call: Call, self: Operand, other: Operand | Number) -> Result:
    """The product."""
    return call.add(Mul(), call.same(self), call.same(other))


@lower("aten.div.Tensor", "aten.div.Scalar")
def div(call: Call, self: Operand, other: Operand | Number) -> Result:
    """The true quotient."""
    return call.add(Div(), call.same(self), call.same(other))


@lower("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(
    call: Call, self: Operand, other: Operand | Number, rounding_mode: str | None
) -> Result:
    """The true quotient; the rounded ones are refused."""
    call.require(rounding_mode is None, f"rounds by '{rounding_mode}'")
    return div(call, self, other)


@lower("aten.minimum.default", "aten.min.other")
def minimum(call: Call, self: Operand, other: Operand) -> Result:
    """The smaller of two elements."""
    return call.add(Minimum(), call.same(self), call.same(other))


@lower("aten.maximum.default", "aten.max.other")
def maximum(call: Call, self: Operand, other: Operand) -> Result:
    """The larger of two elements."""
    return call.add(Maximum(), call.same(self), call.same(other))


@lower("aten.square.default")
def square(call: Call, self: Value) -> Result:
    """The element times itself."""
    return call.add(Mul(), call.same(self), self)


@lower("aten.reciprocal.default")
def reciprocal(call: Call, self: Value) -> Result:
    """1 / x."""
    return call.add(Div(), call.same(1), call.same(self))


@lower("aten.rsqrt.default")
def rsqrt(call: Call, self: Value) -> Result:
    """1 / sqrt(x)."""
    return call.add(Div(), call.same(1), call.add(Sqrt(), call.same(self)))


@lower("aten.pow.Tensor_Scalar")
def pow_scalar(call: Call, self: Value, exponent: Number) -> Result:
    """A square and a square root as what they are, any other power as a power."""
    match exponent:
        case 2:
            return square(call, self)
        case 0.5:
            return call.add(Sqrt(), call.same(self))
        case _:
            return call.add(Pow(), call.same(self), call.same(exponent))


@lower("aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def pow_tensor(call: Call, self: Operand | Number, exponent: Operand) -> Result:
    """Exponents that are computed."""
    return call.add(Pow(), call.same(self), call.same(exponent))


@lower("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(call: Call, self: Operand, mask: Operand, value: Operand | Number) -> Result:
    """A constant mask puts a constant in."""
    return where(call, mask, value, self)


@lower("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther")
def where(
    call: Call, condition: Operand, self: Operand | Number, other: Operand | Number
) -> Result:
    """A constant condition.

    A constant is put in by bounds that cross nowhere else: unlike a product with the mask, that is
    right for infinite elements too. Two computed tensors are each put into zeros, and added.
    """
    call.require(isinstance(condition, torch.Tensor), "decides by a computed condition")
    call.require(call.element.is_floating_point, "chooses between integers")
    assert isinstance(condition, torch.Tensor)
    if isinstance(self, Value) and isinstance(other, Value):
        chosen = (_put(call, 0, ~condition, self), _put(call, 0, condition, other))
        return call.add(Add(), *chosen)
    if isinstance(self, Value):
        return _put(call, other, ~condition, self)
    return _put(call, self, condition, other)


def _put(call: Call, constant: Operand | Number, taken: torch.Tensor, x: Operand | Number) -> Value:
    """The operand with a constant in the places that are taken."""
    content = torch.as_tensor(constant, dtype=call.element)
    lower_bound = torch.where(taken, content, -math.inf)
    upper_bound = torch.where(taken, content, math.inf)
    y = call.same(x)
    if not bool(torch.isneginf(lower_bound).all()):
        y = call.add(Maximum(), y, call.value(lower_bound, "mask"))
    return call.add(Minimum(), y, call.value(upper_bound, "mask"))
