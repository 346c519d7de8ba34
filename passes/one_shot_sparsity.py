"""One-shot sparsity: which weights stay, from their magnitudes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value, producers
from irprune.ir.ops import Dequantize, Quantize, Transpose
from irprune.ir.ops.quant import as_reals
from irprune.ir.ops.shape import View
from irprune.ir.plan import Mask, Plan, fingerprint
from irprune.ir.types import Array
from irprune.passes.analysis.weight_coding import is_depthwise

STEPS = 1000
"""Of the search for a sparsity; each is a tenth of a per cent."""

DEPTHWISE = "depthwise: few weights, and each counts"
EQUAL = "all weights are of one magnitude"
ZERO = "all weights are zero already"


def plan_for_sparsity(graph: Graph, sparsity: float) -> Plan:
    """A plan that takes the weights of least magnitude, the same share of every layer.

    Those of depthwise convolutions stay, as other tools leave them, and those of layers in which
    magnitudes tell nothing (``left_whole``). Magnitudes are of the reals that weights stand for, so
    that channels with scales of their own compare. Of equal ones the first go first, and zeros
    before all; one weight of a layer stays at the least.

    Args:
        graph: the graph, as it was read.
        sparsity: the share that is zero, from 0 to less than 1.

    Raises:
        UsageError: the sparsity is no such share, there are no weights to take, or a weight is not
            finite.
    """
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity {sparsity} is not a share from 0 to less than 1")
    return _plan(graph, _ranked(graph), sparsity)


def plan_for_size(graph: Graph, size: Callable[[Plan], int], bound: int) -> Plan:
    """The plan of the least sparsity, the same in every layer, whose size is within a bound.

    Args:
        graph: the graph, as it was read.
        size: of a plan, bytes that the model takes; it does not grow with the sparsity.
        bound: the most bytes.

    Raises:
        UsageError: as ``plan_for_sparsity``, or no sparsity is enough; the error says how small
            the model gets.
    """
    ranked = _ranked(graph)
    enough, too_little = STEPS - 1, -1
    best = _plan(graph, ranked, enough / STEPS)
    least = size(best)
    if least > bound:
        raise UsageError(
            f"no sparsity meets the budget: flash can fall to {least:,} bytes at the least, "
            f"not to {bound:,}",
            where=graph.name,
            hint="remove channels first (irprune prune)",
        )
    while enough - too_little > 1:
        middle = (enough + too_little) // 2
        plan = _plan(graph, ranked, middle / STEPS)
        if size(plan) <= bound:
            enough, best = middle, plan
        else:
            too_little = middle
    return best


def prunable(graph: Graph) -> Mapping[Value, tuple[Node, ...]]:
    """Constants that are the weights of convolutions, dense layers and cells, with these.

    They may be dequantized, transposed or reshaped first.
    """
    found: dict[Value, tuple[Node, ...]] = {}
    for node in graph.nodes:
        for index, operand in enumerate(node.inputs):
            if not node.op.linear or index == node.op.bias:
                continue
            origin = _origin(graph, operand)
            if origin is not None and (origin.type.quant or origin.type.dtype.is_float):
                found[origin] = (*found.get(origin, ()), node)
    return found


def left_whole(graph: Graph) -> Mapping[Value, str]:
    """The prunable constants that no sparsity changes, and why."""
    reasons = {}
    for value, nodes in prunable(graph).items():
        reason = _reason(graph, value, nodes)
        if reason:
            reasons[value] = reason
    return reasons


def _reason(graph: Graph, value: Value, nodes: tuple[Node, ...]) -> str:
    if any(map(is_depthwise, nodes)):
        return DEPTHWISE
    magnitudes = _magnitudes(graph, value)
    if not magnitudes.any():
        return ZERO
    return EQUAL if magnitudes.min() == magnitudes.max() else ""


def _origin(graph: Graph, value: Value) -> Value | None:
    """The constant that a value is, or is made of without its numbers being mixed."""
    while value not in graph.constants:
        node = producers(graph).get(value)
        if node is None or not isinstance(node.op, Quantize | Dequantize | Transpose | View):
            return None
        value = node.inputs[0]
    return value


def _magnitudes(graph: Graph, value: Value) -> Array:
    found = np.abs(as_reals(graph.constants[value], value.type)).ravel()
    if not np.all(np.isfinite(found)):
        raise UsageError(
            f"'{value.name}' is not finite, which gives it no magnitudes", where=graph.name
        )
    return found


def _ranked(graph: Graph) -> Mapping[Value, Array]:
    """The elements of each tensor that may lose some, in the order in which they go."""
    found = prunable(graph)
    if not found:
        raise UsageError("has no weights of convolutions or dense layers", where=graph.name)
    kept = left_whole(graph)
    return {
        value: np.argsort(_magnitudes(graph, value), kind="stable")
        for value in found
        if value not in kept
    }


def _plan(graph: Graph, ranked: Mapping[Value, Array], sparsity: float) -> Plan:
    masks = {}
    for value, order in ranked.items():
        count = min(round(sparsity * order.size), order.size - 1)
        if count:
            stays = np.ones(order.size, bool)
            stays[order[:count]] = False
            masks[value.name] = Mask.of(stays.reshape(value.type.shape))
    return Plan(fingerprint(graph), masks=masks)
