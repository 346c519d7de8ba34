"""Functions that a model defines for itself, replaced by their bodies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from onnx import ModelProto, NodeProto

from irprune.ir.errors import InvalidModel

_MOST_NODES = 200_000
_DEEPEST = 100
"""Limits of an expansion, which can be exponential in the size of the file."""

_Key = tuple[str, str]


def inlined(model: ModelProto) -> ModelProto:
    """The model with every call of its own functions expanded; itself where it has none.

    Raises:
        InvalidModel: a function calls itself, or the expansion has no reasonable size.
    """
    if not model.functions:
        return model
    _check_expansion(model)
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except RuntimeError:  # onnx's own checks, with the place in its source
        raise InvalidModel("calls a function of its own with operands that do not fit") from None


def _check_expansion(model: ModelProto) -> None:
    functions = {(f.domain, f.name): f for f in model.functions}
    if len(functions) != len(model.functions):
        raise InvalidModel("two functions have one name")
    called = {key: list(_called(function.node)) for key, function in functions.items()}
    calls = {key: set(names) & functions.keys() for key, names in called.items()}
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise InvalidModel(f"function '{error.args[1][0][1]}' calls itself") from None
    size: dict[_Key, int] = {}
    depth: dict[_Key, int] = {}
    for key in order:
        depth[key] = 1 + max((depth[inner] for inner in calls[key]), default=0)
        size[key] = sum(size.get(name, 1) for name in called[key])
    total = sum(size.get(name, 1) for name in _called(model.graph.node))
    if total > _MOST_NODES or max(depth.values()) > _DEEPEST:
        raise InvalidModel(f"its functions expand to {total} nodes, {max(depth.values())} deep")


def _called(nodes: Iterable[NodeProto]) -> Iterator[_Key]:
    """What the nodes call, also in the graphs within them."""
    for node in nodes:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _called(graph.node)
