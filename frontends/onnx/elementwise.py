"""Operators on each element: arithmetic, activations, normalizations along an axis."""

from __future__ import annotations

import math

import numpy as np

from irprune.frontends.onnx.call import Call, Lowering
from irprune.frontends.onnx.scope import Operand, repeated
from irprune.ir.graph import Value
from irprune.ir.op import Op, normalize_axis
from irprune.ir.ops import (
    LRN,
    Add,
    BatchNorm,
    Clip,
    Div,
    Elu,
    Expand,
    Gelu,
    HardSigmoid,
    Identity,
    LayerNorm,
    LeakyRelu,
    LogSoftmax,
    Maximum,
    Minimum,
    Pow,
    PRelu,
    Relu6,
    Reshape,
    Silu,
    Softmax,
)
from irprune.ir.types import Shape


def unary(op: Op) -> Lowering:
    """The lowering of an operator that has one operand and no attributes."""

    def lower(call: Call) -> Value:
        return call.emit(op, call.value(0))

    return lower


def binary(op: Op) -> Lowering:
    """The lowering of an operator that has two operands and no attributes."""

    def lower(call: Call) -> Value:
        return call.emit(op, call.value(0), call.value(1))

    return lower


def variadic(op: Minimum | Maximum) -> Lowering:
    """The lowering of an operator that takes one operand after the other."""

    def lower(call: Call) -> Value:
        first, *others = call.operands()
        if not others:
            return call.emit(Identity(), first)
        return call.chain((op, first, others[0]), *((op, other) for other in others[1:]))

    return lower


def sum_(call: Call) -> Value:
    """Sum of any number of operands."""
    operands = call.operands()
    return call.emit(Add() if len(operands) > 1 else Identity(), *operands)


def pow_(call: Call) -> Value:
    """Pow; a constant exponent of another type is cast where it keeps its value."""
    x, y = call.value(0), call.value(1)
    exponent = call.scope.array(y)
    if exponent is not None and y.type.dtype != x.type.dtype:
        with np.errstate(all="ignore"):
            cast = exponent.astype(x.type.dtype.numpy)
            same = bool(np.array_equal(cast, exponent))
        call.expect(same, "an exponent is not of the base's type")
        y = call.constant(cast, "exponent")
    return call.emit(Pow(), x, y)


def reciprocal(call: Call) -> Value:
    """Reciprocal, as one divided by the operand."""
    x = call.value(0)
    return call.emit(Div(), call.like(x, 1, "one"), x)


def leaky_relu(call: Call) -> Value:
    """LeakyRelu."""
    return call.emit(LeakyRelu(call.float_("alpha", 0.01)), call.value(0))


def elu(call: Call) -> Value:
    """Elu."""
    return call.emit(Elu(call.float_("alpha", 1.0)), call.value(0))


def hard_sigmoid(call: Call) -> Value:
    """HardSigmoid."""
    op = HardSigmoid(call.float_("alpha", 0.2), call.float_("beta", 0.5))
    return call.emit(op, call.value(0))


def gelu(call: Call) -> Value:
    """Gelu."""
    return call.emit(Gelu(call.text("approximate", "none", "tanh") == "tanh"), call.value(0))


def swish(call: Call) -> Value:
    """Swish whose slope is 1."""
    call.expect(call.float_("alpha", 1.0) == 1.0, "an alpha other than 1 is not supported")
    return call.emit(Silu(), call.value(0))


def prelu(call: Call) -> Value:
    """PRelu."""
    return call.emit(PRelu(), call.value(0), call.value(1))


def clip(call: Call) -> Value:
    """Clip, its bounds attributes until opset 10 and operands since; 0 to 6 is Relu6."""
    x = call.value(0)
    if call.opset < 11:
        low, high = call.float_("min", -math.inf), call.float_("max", math.inf)
    else:
        low = call.scalar(1, "min") if call.has(1) else -math.inf
        high = call.scalar(2, "max") if call.has(2) else math.inf
    if (low, high) == (0, 6) and x.type.dtype.is_float:
        return call.emit(Relu6(), x)
    return call.emit(Clip(low, high), x)


def softmax(call: Call) -> Value:
    """Softmax."""
    return along_axis(call, Softmax, call.value(0), call.opset)


def log_softmax(call: Call) -> Value:
    """LogSoftmax."""
    return along_axis(call, LogSoftmax, call.value(0), call.opset)


def along_axis(
    call: Call,
    make: type[Softmax] | type[LogSoftmax],
    x: Operand,
    opset: int,
    part: str = "",
) -> Value:
    """An operator along the node's axis; until opset 12 along it and all after it, as if one."""
    shape = x.type.shape
    axis = normalize_axis(call.int_("axis", -1 if opset >= 13 else 1), max(len(shape), 1))
    if opset >= 13 or math.prod(shape[axis + 1 :]) == 1:
        return call.emit(make(axis), x, part=part)
    flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    return call.chain((Reshape(flat), x), (make(1),), (Reshape(shape),), part=part)


def batch_norm(call: Call) -> Value:
    """BatchNormalization as at inference."""
    call.ignore("momentum")
    call.expect(call.int_("training_mode", 0) == 0, "training_mode is not supported")
    call.expect(call.int_("spatial", 1) == 1, "statistics for each pixel are not supported")
    epsilon = call.float_("epsilon", 1e-5)
    return call.emit(BatchNorm(epsilon), *(call.value(i) for i in range(5)))


def layer_norm(call: Call) -> Value:
    """LayerNormalization."""
    x = call.value(0)
    axis = normalize_axis(call.int_("axis", -1), x.type.rank)
    epsilon = call.float_("epsilon", 1e-5)
    call.expect(call.int_("stash_type", 1) == 1, "a stash_type other than float is not supported")
    wanted = x.type.shape[axis:]
    weights = [_expanded(call, call.operand(i), wanted) for i in (1, 2) if call.has(i)]
    return call.emit(LayerNorm(axis, epsilon), x, *weights)


def _expanded(call: Call, weights: Operand, shape: Shape) -> Operand:
    """Weights of exactly this shape, repeated along axes of size 1."""
    if weights.type.shape == shape:
        return weights
    return call.emit(Expand(shape), weights, part="weights")


def lrn(call: Call) -> Value:
    """LRN across channels."""
    op = LRN(
        call.int_("size"),
        call.float_("alpha", 1e-4),
        call.float_("beta", 0.75),
        call.float_("bias", 1.0),
    )
    return call.emit(op, call.value(0))


def dropout(call: Call) -> tuple[Value, Value]:
    """Dropout at inference: the operand itself, and a mask that keeps everything."""
    call.ignore("ratio", "seed")
    call.ignore_operand(1)
    training = call.has(2) and call.scalar(2, "training_mode")
    call.expect(not training, "training_mode is not supported")
    x = call.value(0)
    kept = repeated(np.asarray(True), x.type.shape)
    return call.emit(Identity(), x), call.scope.constant(f"{call.source.name}.mask", kept)
