"""Rows of the table for operators on each element: activations and arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce

import numpy as np

from irprune.backends.onnx.terms import Apply, Call, Term
from irprune.ir import ops
from irprune.ir.op import Activated, Op

Spelling = Callable[[Call, Op, Term], Term]
"""How an operator of one operand is written, for a node or as the activation of one."""


def plain(kind: str, call: Call) -> Term:
    """An ONNX operator without attributes, on the operands as they are."""
    return Apply(kind, call.operands())


def plain_unary(kind: str, call: Call, op: Op, x: Term) -> Term:
    """The same of one operand."""
    return Apply(kind, (x,))


def alpha(kind: str, call: Call, op: Op, x: Term) -> Term:
    """LeakyRelu and Elu."""
    assert isinstance(op, ops.LeakyRelu | ops.Elu)
    return Apply(kind, (x,), {"alpha": op.alpha})


def hard_sigmoid(call: Call, op: Op, x: Term) -> Term:
    """HardSigmoid."""
    assert isinstance(op, ops.HardSigmoid)
    return Apply("HardSigmoid", (x,), {"alpha": op.alpha, "beta": op.beta})


def gelu(call: Call, op: Op, x: Term) -> Term:
    """Gelu."""
    assert isinstance(op, ops.Gelu)
    return Apply("Gelu", (x,), {"approximate": "tanh" if op.approximate else "none"})


def silu(call: Call, op: Op, x: Term) -> Term:
    """Silu, which has no operator before opset 24."""
    return Apply("Mul", (x, Apply("Sigmoid", (x,))))


def clip(call: Call, op: Op, x: Term) -> Term:
    """Clip, and Relu6 as one; a bound that holds nothing back is left out."""
    whole = call.dtype.limits if call.dtype.is_integer else (-np.inf, np.inf)
    extremes = np.asarray(whole, call.dtype.numpy)
    (bounds,) = op.evaluate((extremes,))
    low, high = (
        None if bound == extreme else call.like(part, bound)
        for part, bound, extreme in zip(("min", "max"), bounds, extremes, strict=True)
    )
    return Apply("Clip", (x, low, high))


UNARY: Mapping[type[Op], Spelling] = {
    ops.Abs: partial(plain_unary, "Abs"),
    ops.Clip: clip,
    ops.Elu: partial(alpha, "Elu"),
    ops.Erf: partial(plain_unary, "Erf"),
    ops.Exp: partial(plain_unary, "Exp"),
    ops.Gelu: gelu,
    ops.HardSigmoid: hard_sigmoid,
    ops.HardSwish: partial(plain_unary, "HardSwish"),
    ops.LeakyRelu: partial(alpha, "LeakyRelu"),
    ops.Log: partial(plain_unary, "Log"),
    ops.Neg: partial(plain_unary, "Neg"),
    ops.Relu: partial(plain_unary, "Relu"),
    ops.Relu6: clip,
    ops.Sigmoid: partial(plain_unary, "Sigmoid"),
    ops.Silu: silu,
    ops.Sqrt: partial(plain_unary, "Sqrt"),
    ops.Tanh: partial(plain_unary, "Tanh"),
}
"""Operators on each element of one operand; these may be fused into others."""


def unary(call: Call) -> Term:
    """A node that is one of these."""
    return UNARY[type(call.node.op)](call, call.node.op, call.x)


def activated(call: Call, y: Term) -> Term:
    """A result after the activation that is fused into the node."""
    op = call.node.op
    fused = op.activation if isinstance(op, Activated) else None
    return y if fused is None else UNARY[type(fused)](call, fused, y)


def arithmetic(kind: str, call: Call) -> Term:
    """An operator of two operands."""
    return activated(call, Apply(kind, call.operands()))


def add(call: Call) -> Term:
    """Add; Sum of more than two operands, which ONNX has for floats alone."""
    terms = call.operands()
    if len(terms) > 2 and call.dtype.is_float:
        return activated(call, Apply("Sum", terms))
    return activated(call, reduce(lambda a, b: Apply("Add", (a, b)), terms))


def softmax(call: Call) -> Term:
    """Softmax of the operand times beta."""
    op, x = call.node.op, call.x
    assert isinstance(op, ops.Softmax)
    if op.beta != 1:
        x = Apply("Mul", (x, call.like("beta", op.beta)))
    return Apply("Softmax", (x,), {"axis": op.axis})


def log_softmax(call: Call) -> Term:
    """LogSoftmax."""
    op = call.node.op
    assert isinstance(op, ops.LogSoftmax)
    return Apply("LogSoftmax", (call.x,), {"axis": op.axis})
