"""Activations and elementary functions of one operand."""

from __future__ import annotations

import math

import torch

from irprune.frontends.torch_export.call import Call, Number, Operand, Result, lower, shape_of
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import (
    Abs,
    Clip,
    Elu,
    Erf,
    Exp,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    PRelu,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Sqrt,
    Tanh,
)


def _unary(name: str, op: Op) -> None:
    """Enter an operator whose only argument is its operand."""

    @lower(name)
    def lowering(call: Call, self: Value) -> Result:
        call.require(self.type.dtype == call.dtype, f"casts {self.type.dtype.value} on the way")
        return call.add(op, self)


_unary("aten.abs.default", Abs())
_unary("aten.erf.default", Erf())
_unary("aten.exp.default", Exp())
_unary("aten.log.default", Log())
_unary("aten.hardsigmoid.default", HardSigmoid())
_unary("aten.hardswish.default", HardSwish())
_unary("aten.neg.default", Neg())
_unary("aten.relu.default", Relu())
_unary("aten.relu6.default", Relu6())
_unary("aten.sigmoid.default", Sigmoid())
_unary("aten.silu.default", Silu())
_unary("aten.sqrt.default", Sqrt())
_unary("aten.tanh.default", Tanh())


@lower("aten.gelu.default")
def gelu(call: Call, self: Value, approximate: str) -> Result:
    """The exact form, or the one by tanh."""
    return call.add(Gelu(approximate == "tanh"), self)


@lower("aten.leaky_relu.default")
def leaky_relu(call: Call, self: Value, negative_slope: float) -> Result:
    """One slope for all channels, known when compiling."""
    return call.add(LeakyRelu(float(negative_slope)), self)


@lower("aten.elu.default")
def elu(call: Call, self: Value, alpha: Number, scale: Number, input_scale: Number) -> Result:
    """The ELU times a scale; with its two constants that is SELU."""
    call.require(input_scale == 1, "scales its input")
    y = call.add(Elu(float(alpha)), self)
    return y if scale == 1 else call.add(Mul(), y, call.same(scale))


@lower("aten.prelu.default")
def prelu(call: Call, self: Value, weight: Operand) -> Result:
    """A slope for each channel (axis 1), shaped to broadcast."""
    rank = len(shape_of(self))
    call.require(isinstance(weight, torch.Tensor), "computes its slopes")
    assert isinstance(weight, torch.Tensor)
    shape = (weight.numel(), *[1] * (rank - 2)) if rank > 1 else (weight.numel(),)
    return call.add(PRelu(), self, weight.reshape(shape))


@lower("aten._prelu_kernel.default")
def prelu_kernel(call: Call, self: Value, weight: Operand) -> Result:
    """Slopes that broadcast already."""
    return call.add(PRelu(), self, weight)


@lower("aten.hardtanh.default")
def hardtanh(call: Call, self: Value, min_val: Number, max_val: Number) -> Result:
    """A clamp to both sides."""
    return clamp(call, self, min_val, max_val)


@lower("aten.clamp.default")
def clamp(call: Call, self: Value, min: Number | None = None, max: Number | None = None) -> Result:
    """Bounds known when compiling; the named activation where they are its bounds."""
    call.require(self.type.dtype == call.dtype, f"casts {self.type.dtype.value} on the way")
    low = -math.inf if min is None else float(min)
    high = math.inf if max is None else float(max)
    match low, high:
        case 0.0, 6.0:
            return call.add(Relu6(), self)
        case 0.0, math.inf:
            return call.add(Relu(), self)
        case _:
            return call.add(Clip(low, high), self)


@lower("aten.clamp_min.default")
def clamp_min(call: Call, self: Value, min: Number) -> Result:
    """A clamp from below."""
    return clamp(call, self, min=min)


@lower("aten.clamp_max.default")
def clamp_max(call: Call, self: Value, max: Number) -> Result:
    """A clamp from above."""
    return clamp(call, self, max=max)


@lower("aten.clamp.Tensor")
def clamp_tensor(call: Call, self: Operand, min: Operand | None, max: Operand | None) -> Result:
    """Bounds that are tensors; the upper one wins where they cross."""
    y = call.same(self)
    if min is not None:
        y = call.add(Maximum(), y, call.same(min))
    return y if max is None else call.add(Minimum(), y, call.same(max))
