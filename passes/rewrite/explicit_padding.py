from __future__ import annotations

import math

import numpy as np

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.graph import Graph, Value
from irprune.ir.ops.conv import (
    Layout,
    Padding,
    Pair,
    same_padding,
    spatial_axes,
    transposed_padding,
    window_count,
)
from irprune.ir.ops.pool import Pool
from irprune.passes.rewrite.formula import Formula, spell
from irprune.passes.rewrite.scales import quantized_constant

NONE: Padding = ((0, 0), (0, 0))


def explicit_padding(graph: Graph) -> Graph:
    """The graph with paddings that are SAME, or none with a Pad before (a Slice after).

    What no window reaches is not padded. An average that leaves out padding which is not SAME
    becomes one over zeros, times how much larger its window is than what is inside.
    """
    return spell(
        graph,
        {
            ops.Conv2d: _convolution,
            ops.ConvTranspose2d: _transposed,
            ops.MaxPool2d: _max_pool,
            ops.AveragePool2d: _average_pool,
        },
    )


def is_same(op: ops.Conv2d | Pool, size: Pair, kernel: Pair) -> bool:
    """Whether the padding is what TensorFlow's SAME would be, for a height and width."""
    return op.padding == tuple(
        same_padding(size[a], kernel[a], op.stride[a], op.dilation[a]) for a in (0, 1)
    )


def is_transposed_same(op: ops.ConvTranspose2d, size: Pair, made: Pair, kernel: Pair) -> bool:
    """Whether a transposed convolution cuts what SAME would, for heights and widths."""
    return all(
        transposed_padding(
            size[a],
            made[a],
            kernel[a],
            op.stride[a],
            same_padding(made[a], kernel[a], op.stride[a])[0],
        )
        == (op.padding[a], op.output_padding[a])
        for a in (0, 1)
    )


def _convolution(f: Formula) -> None:
    op, (x, w, *_) = f.node.op, f.node.inputs
    assert isinstance(op, ops.Conv2d)
    kernel = _plane(w, op.layout)
    needed = _needed(op, _plane(x, op.layout), kernel)
    trimmed = with_attributes(op, padding=needed)
    assert isinstance(trimmed, ops.Conv2d)
    if needed == NONE or is_same(trimmed, _plane(x, op.layout), kernel):
        if needed != op.padding:
            f.end(trimmed, *f.node.inputs)
        return
    padded = f.add(_pad(needed, op.layout, 0.0), x)
    f.end(with_attributes(op, padding=NONE), padded, *f.node.inputs[1:])


def _transposed(f: Formula) -> None:
    op = f.node.op
    assert isinstance(op, ops.ConvTranspose2d)
    before, kernel, size = (
        _plane(value, op.layout) for value in (*f.node.inputs[:2], f.node.outputs[0])
    )
    if op.padding == NONE or is_transposed_same(op, before, size, kernel):
        return
    whole = f.add(with_attributes(op, padding=NONE), *f.node.inputs)
    starts = (op.padding[0][0], op.padding[1][0])
    f.end(ops.Slice(spatial_axes(op.layout), starts, size, (1, 1)), whole)


def _max_pool(f: Formula) -> None:
    op = f.node.op
    assert isinstance(op, ops.MaxPool2d)
    plain = _without_ceil(f, op)
    size = _plane(f.x, op.layout)
    if plain.padding == NONE or is_same(plain, size, op.kernel):
        if plain != op:
            f.end(plain, f.x)
        return
    padded = f.add(_pad(plain.padding, op.layout, -math.inf), f.x)
    f.end(with_attributes(plain, padding=NONE), padded)


def _average_pool(f: Formula) -> None:
    op = f.node.op
    assert isinstance(op, ops.AveragePool2d)
    plain = with_attributes(_without_ceil(f, op), count_padding=False)
    assert isinstance(plain, ops.AveragePool2d)
    size = _plane(f.x, op.layout)
    divisor, area = op.divisor(size), op.kernel[0] * op.kernel[1]
    as_same = is_same(plain, size, op.kernel) and np.array_equal(plain.divisor(size), divisor)
    if plain.padding == NONE or as_same:
        if plain != op:
            f.end(plain, f.x)
        return
    padded = f.add(_pad(plain.padding, op.layout, 0.0), f.x)
    valid = with_attributes(plain, padding=NONE)
    if np.all(divisor == area):
        f.end(valid, padded)
        return
    # Windows are the same for every image and channel.
    larger = area / divisor[0, 0]
    shape = (1, 1, *larger.shape) if op.layout == "NCHW" else (1, *larger.shape, 1)
    array, t = larger.reshape(shape), f.x.type
    if t.quant is None:
        factor = f.constant("larger", array.astype(t.dtype.numpy))
    else:
        factor = f.constant("larger", *quantized_constant(array, t.dtype))
    mean = f.add(with_attributes(valid, activation=None), padded)
    f.end(ops.Mul(op.activation), mean, factor)


def _without_ceil(f: Formula, op: Pool) -> Pool:
    """The pool with all that its windows reach as padding."""
    size = _plane(f.x, op.layout)
    plain = with_attributes(op, ceil=False, padding=_needed(op, size, op.kernel, f.node.outputs[0]))
    assert isinstance(plain, Pool)
    return plain


def _needed(op: ops.Conv2d | Pool, size: Pair, kernel: Pair, made: Value | None = None) -> Padding:
    """The padding that windows reach: less, or more where the last may hang over the end."""
    found = []
    for a in (0, 1):
        before, after = op.padding[a]
        if made is None:
            count = window_count(size[a], kernel[a], op.stride[a], (before, after), op.dilation[a])
        else:
            count = _plane(made, op.layout)[a]
        reach = (count - 1) * op.stride[a] + (kernel[a] - 1) * op.dilation[a] + 1
        found.append((before, max(reach - before - size[a], 0)))
    return found[0], found[1]


def _pad(padding: Padding, layout: Layout, value: float) -> ops.Pad:
    none = (0, 0)
    height, width = padding
    pads = (none, none, height, width) if layout == "NCHW" else (none, height, width, none)
    return ops.Pad(pads, "constant", value)


def _plane(value: Value, layout: Layout) -> Pair:
    """Height and width of images, or of a kernel."""
    height, width = (value.type.shape[axis] for axis in spatial_axes(layout))
    return height, width
