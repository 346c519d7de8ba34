"""Rows of the table for layers: convolutions, matrix products, pools, recurrent cells."""

from __future__ import annotations

from math import prod

import numpy as np

from irprune.backends.onnx.elements import activated
from irprune.backends.onnx.terms import Apply, Attribute, Call, Part, Term, transpose
from irprune.ir import ops
from irprune.ir.ops.conv import Layout, Padding, channel_axis, spatial_axes

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_OHWI_TO_IOHW = (3, 0, 1, 2)
_NONE: Padding = ((0, 0), (0, 0))


def images(call: Call, layout: Layout) -> Term:
    """The first operand as NCHW."""
    return call.x if layout == "NCHW" else call.transposed(0, TO_NCHW)


def in_layout(y: Term, layout: Layout) -> Term:
    """An NCHW result in the layout of the node."""
    return y if layout == "NCHW" else transpose(y, TO_NHWC)


def conv(call: Call) -> Term:
    """Conv."""
    op, w = call.node.op, call.node.inputs[1].type.shape
    assert isinstance(op, ops.Conv2d)
    weights = call.operand(1) if op.layout == "NCHW" else call.transposed(1, TO_NCHW)
    attributes: dict[str, Attribute] = {
        "kernel_shape": [w[axis] for axis in spatial_axes(op.layout)],
        "strides": op.stride,
        "pads": _pads(op.padding),
        "dilations": op.dilation,
        "group": op.groups,
    }
    y = Apply("Conv", (images(call, op.layout), weights, *call.operands(2)), attributes)
    return in_layout(activated(call, y), op.layout)


def conv_transpose(call: Call) -> Term:
    """ConvTranspose."""
    op, w = call.node.op, call.node.inputs[1].type.shape
    assert isinstance(op, ops.ConvTranspose2d)
    nchw = op.layout == "NCHW"
    weights = call.operand(1) if nchw else call.transposed(1, _OHWI_TO_IOHW)
    attributes: dict[str, Attribute] = {
        "kernel_shape": w[2:] if nchw else w[1:3],
        "strides": op.stride,
        "pads": _pads(op.padding),
        "output_padding": op.output_padding,
        "dilations": op.dilation,
        "group": op.groups,
    }
    y = Apply("ConvTranspose", (images(call, op.layout), weights, *call.operands(2)), attributes)
    return in_layout(activated(call, y), op.layout)


def dense(call: Call) -> Term:
    """Gemm of a matrix of floats; MatMul of anything else."""
    if call.type.rank == 2 and call.dtype.is_float:
        return activated(call, Apply("Gemm", call.operands(), {"transB": 1}))
    y = Apply("MatMul", (call.x, call.transposed(1, (1, 0))))
    return activated(call, Apply("Add", (y, call.operand(2))) if len(call.operands()) > 2 else y)


def matmul(call: Call) -> Term:
    """MatMul of operands that are transposed first, if asked."""
    op = call.node.op
    assert isinstance(op, ops.MatMul)
    sides = []
    for i, flip in enumerate((op.transpose_a, op.transpose_b)):
        *stack, rows, columns = range(call.node.inputs[i].type.rank)
        sides.append(call.transposed(i, (*stack, columns, rows)) if flip else call.operand(i))
    return activated(call, Apply("MatMul", sides))


def max_pool(call: Call) -> Term:
    """MaxPool, padded beforehand where ONNX's padding cannot be as wide."""
    op = call.node.op
    assert isinstance(op, ops.MaxPool2d)
    x, around = images(call, op.layout), _around(call, op)
    if not _fits(around, op):
        least = call.dtype.limits[0] if call.dtype.is_integer else -np.inf
        x, around = _padded(call, op, least), _NONE
    y = Apply("MaxPool", (x,), _window(op, around))
    return in_layout(activated(call, y), op.layout)


def average_pool(call: Call) -> Term:
    """AveragePool; over padding that counts otherwise than in ONNX, what it sums is divided anew.

    Windows that hang over the end are written as padding: what else they count has changed from
    version to version, of ONNX and of its runtimes.
    """
    op = call.node.op
    assert isinstance(op, ops.AveragePool2d)
    around, counts = _around(call, op), op.count_padding and op.padding != _NONE
    if _fits(around, op) and (around == op.padding or not counts):
        window = _window(op, around) | {"count_include_pad": int(counts)}
        y = Apply("AveragePool", (images(call, op.layout),), window)
        return in_layout(activated(call, y), op.layout)
    size = [call.type.shape[axis] for axis in spatial_axes(op.layout)]
    share = prod(op.kernel) / op.divisor(size)
    mean = Apply("AveragePool", (_padded(call, op, 0),), _window(op, _NONE))
    y = Apply("Mul", (mean, call.like("share", share)))
    return in_layout(activated(call, y), op.layout)


def lstm(call: Call) -> tuple[Term, ...]:
    """LSTM."""
    op = call.node.op
    assert isinstance(op, ops.LSTM)
    return _recurrent(call, op, {})


def gru(call: Call) -> tuple[Term, ...]:
    """GRU."""
    op = call.node.op
    assert isinstance(op, ops.GRU)
    return _recurrent(call, op, {"linear_before_reset": int(op.reset_after)})


def _recurrent(
    call: Call, op: ops.LSTM | ops.GRU, attributes: dict[str, Attribute]
) -> tuple[Term, ...]:
    weights = 4 if op.biased else 3
    given: list[Term | None] = [*call.operands()[:weights]] + [None] * (4 - weights)
    rest = call.operands(weights)
    has_states = len(rest) >= op.states
    lengths = None
    given += [lengths, *(rest[: op.states] if has_states else [None] * op.states)]
    given += rest[op.states if has_states else 0 :]
    while given[-1] is None:
        given.pop()
    attributes |= {"hidden_size": op.hidden, "direction": op.direction}
    cell = Apply(type(op).__name__, given, attributes, 1 + op.states)
    return tuple(Part(cell, i) for i in range(1 + op.states))


def _pads(padding: Padding) -> tuple[int, ...]:
    """Padding as ONNX lists it: all that comes before, then all that comes after."""
    (top, bottom), (left, right) = padding
    return top, left, bottom, right


def _window(op: ops.MaxPool2d | ops.AveragePool2d, around: Padding) -> dict[str, Attribute]:
    return {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": _pads(around),
        # Of integers, onnxruntime averages none with this attribute, whatever it says.
        "dilations": None if op.dilation == (1, 1) else op.dilation,
    }


def _around(call: Call, op: ops.MaxPool2d | ops.AveragePool2d) -> Padding:
    """The padding, with what the last window hangs over the end."""
    pairs = []
    for a, axis in enumerate(spatial_axes(op.layout)):
        before, after = op.padding[a]
        last = (call.output.shape[axis] - 1) * op.stride[a]
        end = last + (op.kernel[a] - 1) * op.dilation[a] + 1
        pairs.append((before, max(after, end - before - call.type.shape[axis])))
    height, width = pairs
    return height, width


def _fits(around: Padding, op: ops.MaxPool2d | ops.AveragePool2d) -> bool:
    """Whether the padding is narrower than the window on each side, as runtimes demand."""
    return all(max(pair) < kernel for pair, kernel in zip(around, op.kernel, strict=True))


def _padded(call: Call, op: ops.MaxPool2d | ops.AveragePool2d, fill: float) -> Term:
    """The first operand as NCHW, with elements around.

    They are joined to it: onnxruntime makes of a Pad before a pool the padding that it refuses.
    """
    y, t = images(call, op.layout), call.type.shape
    shape = [t[axis] for axis in (0, channel_axis(op.layout), *spatial_axes(op.layout))]
    for axis, pair in enumerate(_around(call, op), 2):
        before, after = (
            call.like(part, np.full((*shape[:axis], n, *shape[axis + 1 :]), fill))
            for part, n in zip((f"before{axis}", f"after{axis}"), pair, strict=True)
        )
        y = Apply("Concat", (before, y, after), {"axis": axis})
        shape[axis] += sum(pair)
    return y
