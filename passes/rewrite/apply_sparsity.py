"""A graph without the weights that a plan leaves out: they are zero."""

from __future__ import annotations

import numpy as np

from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph, Value
from irprune.ir.ops.quant import as_stored
from irprune.ir.plan import Mask, Plan, fingerprint
from irprune.ir.types import Array, dims


def apply_sparsity(graph: Graph, plan: Plan) -> Graph:
    """The graph whose weights are zero where a plan's masks say so.

    Of integers that is the zero point; scales stay. Shapes, names and types are as they were, so
    the plan holds for what comes back, too: ``apply_widths`` can follow, not come before.

    Args:
        graph: the graph that the plan is for.
        plan: the weights that stay; constants that it does not name stay whole.

    Returns:
        The graph itself where nothing changes.

    Raises:
        InvalidPlan: the plan is for another graph, or a mask is of what is no constant, of another
            shape, or of integers that stand for no reals.
    """
    if plan.graph != fingerprint(graph):
        raise InvalidPlan(
            "is for another graph", where="plan", hint="make it from the model it is applied to"
        )
    named = {value.name: value for value in graph.constants}
    constants = dict(graph.constants)
    for name, mask in plan.masks.items():
        if name not in named:
            raise InvalidPlan(f"there is no constant '{name}'", where="plan")
        value = named[name]
        constants[value] = masked(value, graph.constants[value], mask)
    if all(constants[value] is array for value, array in graph.constants.items()):
        return graph
    return Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, constants)


def masked(value: Value, array: Array, mask: Mask) -> Array:
    """The array of a constant with zeros where a mask says so; itself where it has them already.

    Raises:
        InvalidPlan: the mask does not fit the constant.
    """
    t, where = value.type, f"plan: mask of '{value.name}'"
    if mask.shape != t.shape:
        raise InvalidPlan(f"is {dims(mask.shape)}, not {dims(t.shape)}", where=where)
    if t.quant is None and not t.dtype.is_float:
        raise InvalidPlan(f"is of {t.dtype.value}, which are no weights", where=where)
    # A zero for each channel is enough where channels have zero points of their own.
    zero = as_stored(np.zeros(_by_channel(value)), t)
    found = np.where(mask.stays, array, zero)
    return array if np.array_equal(found, array) else found


def _by_channel(value: Value) -> tuple[int, ...]:
    """A shape that broadcasts to a value's, with its quantized axis alone."""
    quant = value.type.quant
    axis = None if quant is None else quant.axis
    return tuple(size if at == axis else 1 for at, size in enumerate(value.type.shape))
