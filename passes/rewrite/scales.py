"""Scales and zero points, as the TensorFlow Lite 8-bit quantization specification has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import networkx as nx
import numpy as np

from irprune.ir import ops
from irprune.ir.errors import InvalidType, UsageError
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.integer import quantization, scale
from irprune.ir.op import Op
from irprune.ir.types import Array, DType, Quant, TensorType
from irprune.passes.analysis.calibration import NOTHING, Range, real_activations

Layer = ops.Conv2d | ops.ConvTranspose2d | ops.Dense
"""Operators with weights of 8 bits, whatever their activations are."""

FIXED: Mapping[type[Op], tuple[Range, Quant]] = {
    ops.Sigmoid: (Range(0.0, 1.0), Quant((1 / 256,), (-128,))),
    ops.Softmax: (Range(0.0, 1.0), Quant((1 / 256,), (-128,))),
    ops.Tanh: (Range(-1.0, 1.0), Quant((1 / 128,), (0,))),
    ops.LogSoftmax: (Range(-16.0, 0.0), Quant((1 / 16,), (127,))),
}
"""The quantization in 8 bits that the specification gives some outputs, and what it covers."""

WEIGHT_LIMIT = 127
"""Weights are symmetric: -128 is not used."""

BIAS_LIMIT = 2**30
"""A bias is at most half of what its 32 bits hold, which leaves room for the sum."""


def shared_quants(
    graph: Graph, ranges: Mapping[Value, Range], dtype: DType
) -> Mapping[Value, Quant]:
    """The quantization of each real activation.

    Values that an operator only moves or compares have one. It is a fixed one where an operator
    that has such makes one of them, and it covers the others.
    """
    fixed: dict[Value, tuple[Range, Quant]] = {}
    for node in graph.nodes:
        if type(node.op) in FIXED and dtype is DType.I8:
            fixed[node.outputs[0]] = FIXED[type(node.op)]
    found: dict[Value, Quant] = {}
    for group in shared(graph, ranges):
        whole = NOTHING
        for value in group:
            whole = whole.union(ranges[value])
        given = {fixed[value] for value in group if value in fixed}
        quant = activation_quant(whole, dtype)
        match list(given):
            case [(covered, own)] if covered.union(whole) == covered or len(group) == 1:
                quant = own
        found |= dict.fromkeys(group, quant)
    return found


def shared(graph: Graph, activations: Collection[Value]) -> Iterator[set[Value]]:
    """The activations in sets that have one quantization each: what is only moved or compared."""
    ties = nx.Graph()
    ties.add_nodes_from(activations)
    for node in graph.nodes:
        if _shares(node):
            nx.add_path(ties, [v for v in (*node.inputs, *node.outputs) if v in activations])
    yield from nx.connected_components(ties)


def completed(graph: Graph, ranges: Mapping[Value, Range]) -> Mapping[Value, Range]:
    """Ranges of activations, and those that follow from them.

    They do for what has one quantization with an activation whose range is known, and for functions
    whose outputs the specification gives a fixed one.
    """
    found = dict(ranges)
    for node in graph.nodes:
        if type(node.op) in FIXED:
            found.setdefault(node.outputs[0], FIXED[type(node.op)][0])
    for group in shared(graph, real_activations(graph)):
        whole = NOTHING
        for value in group & found.keys():
            whole = whole.union(found[value])
        if whole != NOTHING:
            found |= {value: found.get(value, whole) for value in group}
    return found


def by_name(ranges: Mapping[str, Range], graph: Graph) -> Mapping[Value, Range]:
    """The ranges of a graph's activations, from ranges by their names, as far as they are needed.

    Raises:
        UsageError: one is missing.
    """
    activations = real_activations(graph)
    found = completed(graph, {v: ranges[v.name] for v in activations if v.name in ranges})
    missing = [value.name for value in activations if value not in found]
    if missing:
        raise UsageError(
            f"there are no ranges of {len(missing)} of its activations, such as '{missing[0]}'",
            where=graph.name,
            hint="give the ranges of this very model",
        )
    return found


def activation_quant(found: Range, dtype: DType) -> Quant:
    """The quantization of reals in a range, which is widened to hold 0.

    Eight bits are asymmetric, sixteen symmetric around a zero point of 0. What is 0 throughout is
    so in any scale; what is too small for any is 0.
    """
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if low == high:
        low, high = 0.0, 1.0
    least, most = dtype.limits
    if dtype is DType.I16:
        return Quant((_step(max(-low, high) / most),), (0,))
    step = _step((high - low) / (most - least))
    return Quant((step,), (int(np.clip(round(least - low / step), least, most)),))


def quantized_array(array: Array, dtype: DType, quant: Quant) -> Array:
    """Reals as integers of one scale."""
    (stored,) = ops.Quantize(dtype, quant).evaluate((array,))
    return stored


def quantized_constant(array: Array, dtype: DType) -> tuple[Array, Quant]:
    """Reals as integers of a scale that fits them, whatever it is for zeros.

    Raises:
        InvalidType: they are not finite.
    """
    low, high = float(array.min(initial=0)), float(array.max(initial=0))
    if not np.isfinite(high - low):
        raise InvalidType("is not finite")
    quant = activation_quant(Range(low, high), dtype)
    return quantized_array(array, dtype, quant), quant


def quantized_weights(
    op: Layer, array: Array, x: TensorType, bias: Array | None
) -> tuple[Array, Quant]:
    """Symmetric 8-bit weights: one scale a channel for convolutions, else one.

    A channel of tiny weights and a large bias gets a scale in which the bias fits 32 bits; a
    channel of zeros gets that of the others. Where all are zeros, scales are those in which the
    bias has most digits, or 1.

    Raises:
        InvalidType: they are not finite.
    """
    axis = 0 if isinstance(op, ops.Conv2d | ops.ConvTranspose2d) else None
    others = tuple(at for at in range(array.ndim) if at != axis)
    largest = np.abs(array.astype(np.float64)).max(axis=others, initial=0.0).reshape(-1)
    if not np.all(np.isfinite(largest)):
        raise InvalidType("is not finite")
    is_zero = not largest.any()
    largest[largest == 0] = largest.max()
    scales = largest / WEIGHT_LIMIT
    if bias is not None and (is_zero or x.dtype is DType.I8):
        needed = np.abs(bias.astype(np.float64)) / (scale(x) * BIAS_LIMIT)
        scales = np.maximum(scales, needed if axis == 0 else needed.max(initial=0.0))
    if is_zero:  # the bias is all there is: its scale is that of the products
        scales[scales < np.finfo(np.float32).tiny] = 1.0
    steps = tuple(_single(step) for step in scales.tolist())
    quant = Quant(steps, (0,) * len(steps), axis)
    along, _ = quant.along(array.ndim)
    stored = np.clip(np.rint(array / along), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return stored.astype(np.int8), quant


def quantized_bias(array: Array, x: TensorType, w: TensorType) -> tuple[Array, Quant]:
    """A bias in the scales of products: 32 bits, or 64 over activations of 16."""
    products = scale(x) * np.asarray(quantization(w).scale, np.float64)
    steps = tuple(_single(step) for step in products.tolist())
    quant = Quant(steps, (0,) * len(steps), None if len(steps) == 1 else 0)
    wide = DType.I64 if x.dtype is DType.I16 else DType.I32
    whole = np.rint(array.astype(np.float64) / products)
    if not np.all(np.isfinite(whole)) or np.abs(whole).max(initial=0) > 2**47:
        raise InvalidType("is too large for the scales of products")
    return whole.astype(wide.numpy), quant


def _shares(node: Node) -> bool:
    """Whether operands and outputs are the same integers, or means of them."""
    op = node.op
    return op.keeps_quantization or isinstance(
        op, ops.AveragePool2d | ops.Concat | ops.Resize | ops.Relu6
    )


def _step(real: float) -> float:
    """A scale of at least the smallest that has all digits of its precision."""
    return max(_single(real), float(np.finfo(np.float32).tiny))


def _single(real: float) -> float:
    """As TFLite stores a scale."""
    return float(np.float32(real))
