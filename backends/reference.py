"""Run a graph in numpy: the oracle. Integer graphs are bit-exact with TFLite-Micro."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from irprune.ir.errors import UsageError
from irprune.ir.evaluate import evaluate
from irprune.ir.graph import Graph, Value, readers
from irprune.ir.types import Array, dims


def run(graph: Graph, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The graph's outputs, in order.

    Args:
        graph: the graph to run.
        inputs: an array for each graph input, in order, of its shape and element type.

    Raises:
        UsageError: the inputs are not of the graph's types.
        InvalidType: an operator has no arithmetic for these types; the error names the node.
    """
    live = dict(graph.constants) | _checked(graph, inputs)
    waiting = {value: len(nodes) for value, nodes in readers(graph).items()}
    kept = set(graph.outputs)
    for node in graph.nodes:
        live.update(zip(node.outputs, evaluate(node, [live[v] for v in node.inputs]), strict=True))
        for value in dict.fromkeys((*node.inputs, *node.outputs)):
            waiting[value] -= value in node.inputs
            if waiting[value] == 0 and value not in kept:
                del live[value]
    return tuple(live[value] for value in graph.outputs)


def run_all(graph: Graph, inputs: Sequence[Array]) -> Mapping[Value, Array]:
    """Every value of the graph with its array, constants and intermediates included."""
    found = dict(graph.constants) | _checked(graph, inputs)
    for node in graph.nodes:
        found.update(
            zip(node.outputs, evaluate(node, [found[v] for v in node.inputs]), strict=True)
        )
    return found


def _checked(graph: Graph, inputs: Sequence[Array]) -> dict[Value, Array]:
    """Inputs by value, after a look at their shapes and types."""
    if len(inputs) != len(graph.inputs):
        wanted = len(graph.inputs)
        raise UsageError(f"takes {wanted} inputs, not {len(inputs)}", where=graph.name)
    arrays = [np.asarray(array) for array in inputs]
    for value, array in zip(graph.inputs, arrays, strict=True):
        t = value.type
        if array.shape != t.shape or array.dtype != t.dtype.numpy:
            raise UsageError(
                f"input '{value.name}' is {t}, not {array.dtype} of {dims(array.shape)}",
                where=graph.name,
            )
    return dict(zip(graph.inputs, arrays, strict=True))
