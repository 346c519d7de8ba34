from __future__ import annotations

import math

import numpy as np

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.graph import Graph
from irprune.ir.op import Op, normalize_axis
from irprune.ir.ops.conv import spatial_axes
from irprune.ir.types import Array, Shape
from irprune.passes.rewrite.formula import Formula, Spelling, spell
from irprune.passes.rewrite.patterns import activation_of
from irprune.passes.rewrite.unroll import unroll

FUSED = (None, ops.Relu(), ops.Relu6(), ops.Clip(-1.0, 1.0))
"""The activations that TFLite's layers have on the way out."""

MOST_JOINED = 10
"""Operands of a concatenation (kMaxInputNum in TFLite-Micro's concatenation.cc)."""

LONGEST_PRODUCT = 8
"""Whole powers up to this one are products."""


def spell_out(graph: Graph) -> Graph:
    """The graph in operators that TFLite-Micro has, on integers where there is a way.

    What has one on reals alone (``spell_out_reals``) and what has none stays as it is.
    """
    return spell(graph, SPELLINGS)


def _activated(spelling: Spelling | None = None, fused: tuple[Op | None, ...] = FUSED) -> Spelling:
    """Take an activation apart that the operator cannot have; then its own spelling."""

    def spelled(f: Formula) -> None:
        activation = activation_of(f.node.op)
        if activation not in fused:
            assert activation is not None
            plain = with_attributes(f.node.op, activation=None)
            f.end(activation, f.add(plain, *f.node.inputs))
        elif spelling is not None:
            spelling(f)

    return spelled


def _silu(f: Formula) -> None:
    f.end(ops.Mul(), f.x, f.add(ops.Sigmoid(), f.x))


def _hard_sigmoid(f: Formula) -> None:
    """In sixths, relu6 is the clamp."""
    op = f.node.op
    assert isinstance(op, ops.HardSigmoid)
    x = f.x
    if not math.isclose(op.alpha, 1 / 6, rel_tol=1e-7):
        x = f.add(ops.Mul(), x, f.number(6 * op.alpha))
    gate = f.add(ops.Add(ops.Relu6()), x, f.number(6 * op.beta))
    f.end(ops.Mul(), gate, f.number(1 / 6))


def _clip(f: Formula) -> None:
    op = f.node.op
    assert isinstance(op, ops.Clip)
    match op.low, op.high:
        case 0.0, math.inf:
            f.end(ops.Relu(), f.x)
        case 0.0, 6.0:
            f.end(ops.Relu6(), f.x)
        case _, math.inf:
            f.end(ops.Maximum(), f.x, f.number(op.low))
        case low, high:
            above = f.x if low == -math.inf else f.add(ops.Maximum(), f.x, f.number(low))
            f.end(ops.Minimum(), above, f.number(high))


def _elu(f: Formula) -> None:
    op = f.node.op
    assert isinstance(op, ops.Elu)
    if op.alpha != 1:
        below = f.add(ops.Elu(), f.add(ops.Minimum(), f.x, f.number(0)))
        f.end(ops.Add(), f.add(ops.Relu(), f.x), f.add(ops.Mul(), below, f.number(op.alpha)))


def _neg(f: Formula) -> None:
    f.end(ops.Mul(), f.x, f.number(-1))


def _pow(f: Formula) -> None:
    """Powers by a constant; whole ones are products, others are of what is above zero."""
    exponent = f.array(f.node.inputs[1])
    if exponent is None or exponent.size != 1 or f.x.type != f.node.outputs[0].type:
        return
    power = float(exponent.reshape(()))
    if power == 0.5:
        f.end(ops.Sqrt(), f.x)
    elif power == -1:
        f.end(ops.Div(), f.number(1), f.x)
    elif power in range(2, LONGEST_PRODUCT + 1):
        product = f.x
        for _ in range(int(power) - 2):
            product = f.add(ops.Mul(), product, f.x)
        f.end(ops.Mul(), product, f.x)
    elif not power.is_integer():
        f.end(ops.Exp(), f.add(ops.Mul(), f.add(ops.Log(), f.x), f.number(power)))


def _add(f: Formula) -> None:
    """Two operands at a time."""
    if len(f.node.inputs) == 2:
        return
    total, *rest = f.node.inputs
    for value in rest[:-1]:
        total = f.add(ops.Add(), total, value)
    f.end(f.node.op, total, rest[-1])


def _concat(f: Formula) -> None:
    """As many operands at a time as TFLite-Micro takes."""
    op, operands = f.node.op, list(f.node.inputs)
    assert isinstance(op, ops.Concat)
    if len(operands) <= MOST_JOINED:
        return
    while len(operands) > MOST_JOINED:
        first, operands = operands[:MOST_JOINED], operands[MOST_JOINED:]
        operands = [f.add(op, *first), *operands]
    f.end(op, *operands)


def _depth_to_space(f: Formula) -> None:
    """Columns first: pixel shuffle, depth first, has its channels gathered in that order."""
    op = f.node.op
    assert isinstance(op, ops.DepthToSpace)
    if op.mode == "DCR" or op.layout == "NCHW":
        return
    channels, block = f.x.type.shape[3], op.block
    order = np.arange(channels).reshape(-1, block, block).transpose(1, 2, 0).ravel()
    shuffled = f.add(ops.Gather(tuple(order.tolist()), (channels,), 3), f.x)
    f.end(with_attributes(op, mode="DCR"), shuffled)


def _dense(f: Formula) -> None:
    """Of a row of features, where there are only features."""
    if f.x.type.rank == 1:
        row = f.add(ops.Reshape((1, *f.x.type.shape)), f.x)
        made = f.add(f.node.op, row, *f.node.inputs[1:])
        f.end(ops.Reshape(f.node.outputs[0].type.shape), made)


def _batchnorm(f: Formula) -> None:
    """A scale and a shift, where they are constant."""
    op = f.node.op
    assert isinstance(op, ops.BatchNorm)
    statistics = [f.array(value) for value in f.node.inputs[1:]]
    gamma, beta, mean, variance = (
        None if array is None else array.astype(np.float64) for array in statistics
    )
    if gamma is None or beta is None or mean is None or variance is None:
        return
    shape = [1] * f.x.type.rank
    shape[normalize_axis(op.axis, f.x.type.rank)] = -1
    scale = gamma / np.sqrt(variance + op.epsilon)
    kind = f.x.type.dtype.numpy
    factor = f.constant("scale", scale.reshape(shape).astype(kind))
    shift = f.constant("shift", (beta - mean * scale).reshape(shape).astype(kind))
    f.end(ops.Add(op.activation), f.add(ops.Mul(), f.x, factor), shift)


def _along_last_axis(f: Formula) -> None:
    op, rank = f.node.op, f.x.type.rank
    assert isinstance(op, ops.Softmax | ops.LogSoftmax)
    axis = normalize_axis(op.axis, rank)
    if axis == rank - 1:
        return
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    swap = ops.Transpose(tuple(perm))
    f.end(swap, f.add(with_attributes(op, axis=-1), f.add(swap, f.x)))


def _matmul(f: Formula) -> None:
    """By a constant matrix it is a dense layer."""
    op, (a, b) = f.node.op, f.node.inputs
    assert isinstance(op, ops.MatMul)
    matrix = f.array(b)
    per_axis = b.type.quant is not None and b.type.quant.axis is not None
    if matrix is None or matrix.ndim != 2 or op.transpose_a or per_axis or f.array(a) is not None:
        return
    weights = matrix if op.transpose_b else matrix.T
    f.end(ops.Dense(), a, f.constant("weights", weights, b.type.quant))


def _conv_transpose(f: Formula) -> None:
    """Without dilation: there are zeros between the weights."""
    op, (x, w, *bias) = f.node.op, f.node.inputs
    assert isinstance(op, ops.ConvTranspose2d)
    weights = f.array(w)
    if weights is not None and op.dilation != (1, 1):
        spread = _dilated(weights, op.dilation, spatial_axes(op.layout))
        dense = with_attributes(op, dilation=(1, 1))
        f.end(dense, x, f.constant("weights", spread, w.type.quant), *bias)


def _dilated(weights: Array, dilation: tuple[int, int], axes: tuple[int, int]) -> Array:
    shape = list(weights.shape)
    where = [slice(None)] * weights.ndim
    for axis, step in zip(axes, dilation, strict=True):
        shape[axis] = (shape[axis] - 1) * step + 1
        where[axis] = slice(None, None, step)
    spread = np.zeros(shape, weights.dtype)
    spread[tuple(where)] = weights
    return spread


def _pad(f: Formula) -> None:
    """Edges one element at a time: TFLite only mirrors, which is the same for one."""
    op = f.node.op
    assert isinstance(op, ops.Pad)
    if op.mode != "edge" or max(map(max, op.padding), default=0) < 2:
        return
    once = tuple((min(before, 1), min(after, 1)) for before, after in op.padding)
    rest = tuple(
        (before - first, after - last)
        for (before, after), (first, last) in zip(op.padding, once, strict=True)
    )
    f.end(ops.Pad(rest, "edge"), f.add(ops.Pad(once, "edge"), f.x))


def _resize(f: Formula) -> None:
    """Of the two middle axes of four; a choice of neighbours that TFLite lacks is a Gather."""
    op, x = f.node.op, f.x
    assert isinstance(op, ops.Resize)
    rank = x.type.rank
    axes = [normalize_axis(axis, rank) for axis in op.axes]
    if op.mode == "nearest" and not op.exists_in_tflite(x.type.shape):
        for axis, size, scale in zip(axes, op.sizes, op.scales, strict=True):
            index = op.nearest(x.type.shape[axis], size, scale)
            gather = ops.Gather(tuple(index.tolist()), (size,), axis)
            if axis == axes[-1]:
                f.end(gather, x)
            else:
                x = f.add(gather, x)
        return
    if op.coordinates == "pytorch_half_pixel" and min(op.sizes) > 1:
        f.end(with_attributes(op, coordinates="half_pixel"), x)
        return
    if (rank == 4 and axes == [1, 2]) or not _is_plane(axes):
        return
    sizes, shape = f.node.outputs[0].type.shape, x.type.shape
    images = f.add(ops.Reshape(_as_images(shape, axes)), x)
    resized = _as_images(sizes, axes)[1:3]
    scales = (*op.scales, 1.0)[:2]
    resize = with_attributes(op, axes=(1, 2), sizes=resized, scales=scales)
    f.end(ops.Reshape(sizes), f.add(resize, images))


def _is_plane(axes: list[int]) -> bool:
    return len(axes) == 1 or (len(axes) == 2 and axes[0] + 1 == axes[1])


def _as_images(shape: Shape, axes: list[int]) -> Shape:
    """What is before the axes, the one or two of them, and what is behind."""
    plane = [shape[axis] for axis in axes] + [1] * (2 - len(axes))
    return (math.prod(shape[: axes[0]]), *plane, math.prod(shape[axes[-1] + 1 :]))


SPELLINGS: dict[type[Op], Spelling] = {
    ops.Add: _activated(_add),
    ops.AveragePool2d: _activated(),
    ops.BatchNorm: _batchnorm,
    ops.Clip: _clip,
    ops.Concat: _concat,
    ops.Conv2d: _activated(),
    ops.ConvTranspose2d: _activated(_conv_transpose),
    ops.Dense: _activated(_dense),
    ops.DepthToSpace: _depth_to_space,
    ops.Div: _activated(),
    ops.Elu: _elu,
    ops.GRU: unroll,
    ops.HardSigmoid: _hard_sigmoid,
    ops.LSTM: unroll,
    ops.LogSoftmax: _along_last_axis,
    ops.MatMul: _activated(_matmul, (None,)),
    ops.MaxPool2d: _activated(),
    ops.Mul: _activated(),
    ops.Neg: _neg,
    ops.Pad: _pad,
    ops.Pow: _pow,
    ops.Resize: _resize,
    ops.Silu: _silu,
    ops.Softmax: _along_last_axis,
    ops.Sub: _activated(),
}
"""How each operator is spelled that TFLite-Micro lacks, or has in fewer forms."""
