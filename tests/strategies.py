"""Random graphs over the whole operator table.

``graphs()`` draws valid graphs of small tensors: chains with branches and merges, several inputs
and outputs, shared and computed weights, either layout. Their functions are well conditioned, so
that outputs before and after a rewrite can be compared: operands of Sqrt, Exp, Pow and Div are
clipped to where these are tame, and Quantize (a staircase) is drawn only where asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
from hypothesis import strategies as st

from irprune.ir import ops as o
from irprune.ir.graph import Graph
from irprune.ir.op import OPS, Op
from irprune.ir.ops.conv import Padding, channel_axis, in_layout, spatial_axes
from irprune.ir.types import Array, DType, Quant, Shape
from tests.growth import Growth

Grower = Callable[[Growth, Callable[..., Op]], None]
GROWERS: dict[str, Grower] = {}
"""How to add a node of each operator to a graph, by the operator's name."""

STAIRCASES = frozenset({"Quantize", "Dequantize"})
"""Operators whose outputs jump, so that a rounding error before them may be large after them."""


OF_REALS = frozenset({"Div", "Erf", "Exp", "Gelu", "LRN", "LayerNorm", "Log", "Pow", "Sqrt"})
"""What computes on reals in an int8 model: to rounding, not bit for bit."""


@st.composite
def graphs(
    draw: st.DrawFn,
    kinds: Collection[str] = frozenset(OPS) - STAIRCASES,
    min_nodes: int = 1,
    max_nodes: int = 8,
) -> Graph:
    """Valid float32 graphs.

    Args:
        draw: given by hypothesis.
        kinds: names of the operators to draw from; Clip and Identity may come beside them.
        min_nodes: the least number of draws, each of which adds a node of one kind.
        max_nodes: the greatest.
    """
    growth = Growth(draw)
    growth.source(growth.one_of(4, 2, 3, 1))
    for _ in range(growth.integer(min_nodes, max_nodes)):
        kind = growth.one_of(*sorted(kinds))
        GROWERS[kind](growth, OPS[kind])
    return growth.finish()


def inputs_of(graph: Graph, seed: int = 0) -> list[Array]:
    """Seeded arrays for a float graph's inputs, between -2 and 2."""
    random = np.random.default_rng(seed)
    return [random.uniform(-2, 2, v.type.shape).astype(np.float32) for v in graph.inputs]


def _grows(*kinds: str) -> Callable[[Grower], Grower]:
    def register(grower: Grower) -> Grower:
        GROWERS.update(dict.fromkeys(kinds, grower))
        return grower

    return register


@_grows(*("Relu", "Relu6", "Sigmoid", "Tanh", "HardSwish", "Silu", "Erf", "Abs", "Neg", "Identity"))
def _plain(g: Growth, kind: Callable[..., Op]) -> None:
    g.add(kind(), g.pick())


@_grows("LeakyRelu", "Elu")
def _slope(g: Growth, kind: Callable[..., Op]) -> None:
    g.add(kind(alpha=g.one_of(0.1, 0.5, 1.25)), g.pick())


@_grows("Clip")
def _clip(g: Growth, kind: Callable[..., Op]) -> None:
    low, high = g.one_of((0.0, 6.0), (-math.inf, 0.5), (-0.25, math.inf), (-1.0, 1.0))
    g.add(kind(low, high), g.pick())


@_grows("HardSigmoid")
def _hard_sigmoid(g: Growth, kind: Callable[..., Op]) -> None:
    g.add(kind(*g.one_of((1 / 6, 0.5), (0.2, 0.5))), g.pick())


@_grows("Gelu")
def _gelu(g: Growth, kind: Callable[..., Op]) -> None:
    g.add(kind(g.coin()), g.pick())


@_grows("Sqrt", "Exp", "Log")
def _clipped(g: Growth, kind: Callable[..., Op]) -> None:
    g.add(kind(), g.clipped(g.pick(), 0.25, 2.0))


@_grows("PRelu")
def _prelu(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    g.add(kind(), x, g.weight(g.shape_within(x.type.shape)))


@_grows("Add")
def _add(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    g.add(kind(), *g.shuffled(x, *(g.like(x.type.shape) for _ in range(g.one_of(1, 2, 3)))))


@_grows("Sub", "Mul", "Minimum", "Maximum")
def _binary(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    g.add(kind(), *g.shuffled(x, g.like(x.type.shape)))


@_grows("Div")
def _div(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    g.add(kind(), x, g.clipped(g.like(x.type.shape), 0.5, 2.0))


@_grows("Pow")
def _pow(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    g.add(kind(), g.clipped(x, 0.25, 2.0), g.clipped(g.like(x.type.shape), -2.0, 2.0))


@_grows("Conv2d")
def _conv(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(4, 4)
    channels = x.type.shape[channel_axis(g.layout)]
    groups = g.one_of(*(n for n in (1, channels, 2, 3) if channels % n == 0))
    stride, padding, dilation = g.pair(1, 2), g.padding(2), g.pair(1, 2)
    kernel = g.windows(x, padding, dilation, (1, 1))
    filters = groups * g.one_of(1, 2, 4 // groups or 1)
    w = g.weight(in_layout(g.layout, filters, channels // groups, *kernel))
    op = kind(stride, padding, dilation, groups, g.layout)
    g.add(op, x, w, *g.maybe_weight(filters))


@_grows("ConvTranspose2d")
def _conv_transpose(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(4, 4)
    channels = x.type.shape[channel_axis(g.layout)]
    groups = g.one_of(*(n for n in (1, channels) if g.layout == "NCHW" or n == 1))
    stride, dilation, kernel = g.pair(1, 2), g.pair(1, 2), g.pair(1, 3)
    padding: Padding = ((0, 0), (0, 0))
    if min(kernel) > 1:  # the full output is large enough to cut from
        padding = g.padding(1)
    filters = g.one_of(1, 2, 3)
    iohw = (channels, filters, *kernel)
    w = g.weight(iohw if g.layout == "NCHW" else (filters, *kernel, channels))
    extra = g.pair(0, min(stride) - 1)
    op = kind(stride, padding, extra, dilation, groups, g.layout)
    g.add(op, x, w, *g.maybe_weight(filters * groups))


@_grows("Dense")
def _dense(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    units = g.integer(1, 6)
    g.add(kind(), x, g.weight((units, x.type.shape[-1])), *g.maybe_weight(units))


@_grows("MatMul")
def _matmul(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(2)
    *batch, rows, columns = x.type.shape
    flip_a, flip_b = g.coin(), g.coin()
    inner, outer = rows if flip_a else columns, g.integer(1, 5)
    stack = g.one_of((), tuple(batch))
    w = g.weight((*stack, outer, inner) if flip_b else (*stack, inner, outer))
    g.add(kind(flip_a, flip_b), x, w)


@_grows("BatchNorm")
def _batchnorm(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(2)
    axis = channel_axis(g.layout) if x.type.rank == 4 else g.axis(x.type.rank)
    shape = (x.type.shape[axis],)
    gamma, beta, mean = g.weight(shape, 0.5, 2.0), g.weight(shape), g.weight(shape)
    g.add(kind(g.one_of(1e-5, 1e-3), axis), x, gamma, beta, mean, g.weight(shape, 0.5, 2.0))


@_grows("LayerNorm")
def _layernorm(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axis = g.axis(x.type.rank)
    shape = x.type.shape[axis:]
    beta = [g.weight(shape)] if g.coin() else []
    g.add(kind(axis, g.one_of(1e-2, 1e-1)), x, g.weight(shape, 0.5, 2.0), *beta)


@_grows("LRN")
def _lrn(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(3)
    g.add(kind(g.integer(1, 5), 0.1, 0.75, g.one_of(1.0, 2.0), g.axis(x.type.rank)), x)


@_grows("Softmax")
def _softmax(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    g.add(kind(g.axis(x.type.rank), g.one_of(1.0, 0.5)), x)


@_grows("LogSoftmax")
def _log_softmax(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    g.add(kind(g.axis(x.type.rank)), x)


@_grows("Concat")
def _concat(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axis = channel_axis(g.layout) if x.type.rank == 4 else g.axis(x.type.rank)
    g.add(kind(axis), *g.shuffled(x, *g.joinable(x, axis)))


@_grows("MaxPool2d", "AveragePool2d")
def _pool(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(4, 4)
    padding = g.padding(1)
    # A window lies nowhere on padding alone: it is wider than the padding, or does not skip.
    dilation = g.pair(1, 2) if padding == ((0, 0), (0, 0)) else (1, 1)
    kernel = g.windows(x, padding, dilation, (max(padding[0]) + 1, max(padding[1]) + 1))
    options = {"ceil": g.coin(), "layout": g.layout}
    if kind is o.AveragePool2d:
        options["count_padding"] = g.coin()
    g.add(kind(kernel, g.pair(1, 3), padding, dilation, **options), x)


@_grows("ReduceMean", "ReduceSum", "ReduceMax")
def _reduce(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axes = spatial_axes(g.layout) if x.type.rank == 4 and g.rarely() else g.axes(x.type.rank)
    g.add(kind(axes, g.coin()), x)


@_grows("Resize")
def _resize(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(3)
    axes = spatial_axes(g.layout) if x.type.rank == 4 else g.axes(x.type.rank)
    sizes = tuple(g.integer(1, 7) for _ in axes)
    ratios = tuple(size / x.type.shape[axis] for axis, size in zip(axes, sizes, strict=True))
    coordinates = g.one_of(
        *("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
        "half_pixel_symmetric",
    )
    rounding = g.one_of("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    g.add(kind(axes, sizes, ratios, g.one_of("nearest", "linear"), coordinates, rounding), x)


@_grows("Reshape")
def _reshape(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    rows = g.one_of(*(n for n in (1, 2, 3, 4, 6, x.type.elements) if x.type.elements % n == 0))
    columns = x.type.elements // rows
    g.add(kind(g.one_of((rows, columns), (1, rows, columns), (1, rows, 1, columns))), x)


@_grows("Flatten")
def _flatten(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    rank = max(x.type.rank, 1)
    start = g.integer(0, rank - 1)
    end = g.integer(start, rank - 1)
    g.add(kind(start, g.one_of(end, end - rank)), x)


@_grows("Squeeze")
def _squeeze(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    ones = [axis for axis, size in enumerate(x.type.shape) if size == 1]
    g.add(kind(tuple(g.shuffled(*ones))[: g.integer(0, len(ones))]), x)


@_grows("Unsqueeze")
def _unsqueeze(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(0, 4)
    g.add(kind((g.axis(x.type.rank + 1),)), x)


@_grows("Transpose")
def _transpose(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    g.add(kind(tuple(g.shuffled(*range(x.type.rank)))), x)


@_grows("Expand")
def _expand(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(0, 4)
    shape = tuple(g.integer(1, 3) if size == 1 else size for size in x.type.shape)
    g.add(kind(g.one_of(shape, (2, *shape))), x)


@_grows("Split")
def _split(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axis = g.axis(x.type.rank)
    first = g.integer(1, x.type.shape[axis])
    rest = x.type.shape[axis] - first
    g.add(kind(axis, (first, rest) if rest else (first,)), x)


@_grows("Slice")
def _slice(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axes = g.axes(x.type.rank)
    starts, sizes, steps = [], [], []
    for axis in axes:
        step = g.one_of(1, 2, -1, -2)
        start = g.integer(0, x.type.shape[axis] - 1)
        room = x.type.shape[axis] - 1 - start if step > 0 else start
        starts.append(start)
        steps.append(step)
        sizes.append(g.integer(1, room // abs(step) + 1))
    g.add(kind(axes, tuple(starts), tuple(sizes), tuple(steps)), x)


@_grows("Pad")
def _pad(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    mode = g.one_of("constant", "reflect", "edge")
    most = [min(2, size - 1) if mode == "reflect" else 2 for size in x.type.shape]
    padding = tuple(g.pair(0, room) if g.coin() else (0, 0) for room in most)
    g.add(kind(padding, mode, g.one_of(0.0, 0.5)), x)


@_grows("Gather")
def _gather(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(1)
    axis = g.axis(x.type.rank)
    shape: Shape = g.one_of((3,), (), (2, 2)) if x.type.rank < 5 else (3,)
    last = x.type.shape[axis] - 1
    g.add(kind(tuple(g.integer(0, last) for _ in range(math.prod(shape))), shape, axis), x)


@_grows("DepthToSpace")
def _depth_to_space(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(4, 4)
    channels = x.type.shape[channel_axis(g.layout)]
    block = g.one_of(*(b for b in (2, 1) if channels % (b * b) == 0))
    g.add(kind(block, g.one_of("DCR", "CRD"), g.layout), x)


@_grows("SpaceToDepth")
def _space_to_depth(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(4, 4)
    size = [x.type.shape[axis] for axis in spatial_axes(g.layout)]
    block = g.one_of(*(b for b in (2, 3, 1) if not any(d % b for d in size)))
    g.add(kind(block, g.layout), x)


@_grows("LSTM", "GRU")
def _recurrent(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick(3, 3)
    _, batch, features = x.type.shape
    hidden = g.integer(1, 3)
    direction = g.one_of("forward", "reverse", "bidirectional")
    n = 2 if direction == "bidirectional" else 1
    rows, states = (4 * hidden, 2) if kind is o.LSTM else (3 * hidden, 1)
    extra = (g.coin(),) if kind is o.GRU else ()
    biased, started, peepholes = g.coin(), g.coin(), g.coin() and kind is o.LSTM
    shapes = [(n, rows, features), (n, rows, hidden)] + [(n, 2 * rows)] * biased
    shapes += [(n, batch, hidden)] * (states * started) + [(n, 3 * hidden)] * peepholes
    g.add(kind(hidden, direction, *extra, biased), x, *map(g.weight, shapes))


@_grows("Quantize", "Dequantize")
def _through_integers(g: Growth, kind: Callable[..., Op]) -> None:
    x = g.pick()
    dtype = g.one_of(DType.I8, DType.U8, DType.I16)
    quant = Quant((g.one_of(1 / 64, 1 / 100),), (0 if dtype is DType.I16 else g.integer(0, 100),))
    g.values.append(g.builder.add(o.Dequantize(), g.builder.add(o.Quantize(dtype, quant), x)))
