"""Nodes in the order of a schedule."""

from __future__ import annotations

from dataclasses import replace

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.passes.analysis.liveness import expect_order
from irprune.passes.analysis.schedule import Schedule


def reorder(graph: Graph, schedule: Schedule) -> Graph:
    """The graph with its nodes in the schedule's order, and nothing else changed.

    Args:
        graph: the graph that the schedule was made for.
        schedule: the order.

    Returns:
        The graph itself where the order is its own.

    Raises:
        UsageError: the schedule is for another graph.
    """
    order = tuple(schedule.order)
    made = {value: at for at, node in enumerate(graph.nodes) for value in node.outputs}
    needs = [{made[v] for v in node.inputs if v in made} for node in graph.nodes]
    try:
        expect_order(needs, order)
    except UsageError as error:
        why = f"{error.what} of '{graph.name}'"
        raise UsageError(why, hint="make the schedule from this graph") from None
    if order == tuple(range(len(order))):
        return graph
    return replace(graph, nodes=tuple(graph.nodes[at] for at in order))
