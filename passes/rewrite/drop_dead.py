from __future__ import annotations

from dataclasses import replace

from irprune.ir.graph import Graph, Value


def drop_dead(graph: Graph) -> Graph:
    """The graph without the nodes and constants that reach no output; graph inputs stay."""
    live: set[Value] = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            nodes.append(node)
    constants = {value: array for value, array in graph.constants.items() if value in live}
    if len(nodes) == len(graph.nodes) and len(constants) == len(graph.constants):
        return graph
    return replace(graph, nodes=tuple(reversed(nodes)), constants=constants)
