"""What the nodes of an exported program say about themselves."""

from __future__ import annotations

import torch
from torch import fx


def examples(node: fx.Node) -> tuple[torch.Tensor, ...]:
    """An example of each tensor the node makes, of the right shape and element type."""
    made = node.meta.get("val")
    parts = made if isinstance(made, tuple | list) else (made,)
    return tuple(part for part in parts if isinstance(part, torch.Tensor))


def schema_of(node: fx.Node) -> torch.FunctionSchema | None:
    """The schema of the operator that the node calls; None where it calls something else."""
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None


def origin_of(node: fx.Node) -> tuple[str, str]:
    """Name and operator of the node that this one was decomposed from; its own where it was not."""
    origin = node.name, str(node.target)
    sources = node.meta.get("from_node")
    while sources:
        source = sources[-1]
        if source.target.startswith("aten."):
            origin = source.name, source.target
        sources = source.from_node
    return origin


def is_getitem(node: fx.Node) -> bool:
    """Whether the node takes one output of an operator that has several."""
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def is_mutating(node: fx.Node) -> bool:
    """Whether the operator writes into one of its operands."""
    schema = schema_of(node)
    return schema is not None and schema.is_mutable


def is_deterministic(node: fx.Node) -> bool:
    """Whether the operator gives the same tensor each time."""
    return torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())


def drop_dead(graph: fx.Graph) -> None:
    """Erase what nobody reads, assertions too: the shapes and types they assert are known."""
    for node in reversed(graph.nodes):
        kept = node.op in ("placeholder", "output") or node.users or is_mutating(node)
        if not kept:
            graph.erase_node(node)
