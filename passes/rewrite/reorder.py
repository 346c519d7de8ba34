"""Nodes in the order of a schedule."""

from __future__ import annotations

from dataclasses import replace

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
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
        InvalidGraph: likewise, seen by ``verify``: a node would run before its operands are made.
    """
    own = tuple(range(len(graph.nodes)))
    if schedule.order == own:
        return graph
    if tuple(sorted(schedule.order)) != own:
        raise UsageError(
            f"the schedule runs {len(schedule.order)} nodes and '{graph.name}' has {len(own)}",
            hint="make the schedule from this graph",
        )
    return replace(graph, nodes=tuple(graph.nodes[at] for at in schedule.order))
