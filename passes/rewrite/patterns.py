"""Questions that rewrites ask about a node's surroundings."""

from __future__ import annotations

from irprune.ir.graph import Graph, Node, Value, readers
from irprune.ir.op import Activated, Op


def read_by(graph: Graph, value: Value, node: Node) -> bool:
    """Whether the node is all that the value is for: nothing else reads it, nor is it an output."""
    return readers(graph)[value] == (node,) and value not in graph.outputs


def only_reader(graph: Graph, value: Value) -> Node | None:
    """The node that is all the value is for; None where there are several, none, or an output."""
    match readers(graph)[value]:
        case (node,) if value not in graph.outputs:
            return node
        case _:
            return None


def activation_of(op: Op) -> Op | None:
    """The activation that an operator applies on the way out; None for none."""
    return op.activation if isinstance(op, Activated) else None
