"""Operators that torch's decomposition spells out, put together again.

Core ATen chooses by comparing computed elements, which the IR does not do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx

from irprune.frontends.torch_export.nodes import drop_dead

aten = torch.ops.aten


def recompose(graph: fx.Graph) -> None:
    """Replace every known formula in the graph by the operator it is, then drop its parts."""
    for node in graph.nodes:
        for pattern in (_prelu, _safe_softmax):
            if pattern(node):
                break
    drop_dead(graph)


def _prelu(node: fx.Node) -> bool:
    """where(x > 0, x, slope * x)."""
    match _call(node):
        case ("aten.where.self", [fx.Node() as condition, fx.Node() as x, fx.Node() as negative]):
            pass
        case _:
            return False
    match _call(condition), _call(negative):
        case ("aten.gt.Scalar", [compared, 0]), ("aten.mul.Tensor", [a, b]):
            slope = b if a is x else a
        case _:
            return False
    if compared is not x or x not in (a, b):
        return False
    _become(node, aten._prelu_kernel.default, x, slope)
    return True


def _safe_softmax(node: fx.Node) -> bool:
    """where(every x of the row is -inf, 0, softmax(x)): attention, where a row may be masked."""
    match _call(node):
        case (
            "aten.where.self",
            [fx.Node() as condition, fx.Node() as zeros, fx.Node() as softmax],
        ):
            pass
        case _:
            return False
    match _call(zeros), _call(softmax):
        case ("aten.full_like.default", [_, 0]), (
            "aten._softmax.default",
            [fx.Node() as x, axis, _],
        ):
            pass
        case _:
            return False
    wanted: tuple[tuple[str, object], ...] = (
        ("aten.logical_not.default", None),
        ("aten.any.dim", axis),
        ("aten.logical_not.default", None),
        ("aten.eq.Scalar", -float("inf")),
    )
    for target, argument in wanted:
        match _call(condition):
            case (name, [fx.Node() as inner, *rest]) if name == target:
                if argument is not None and rest[:1] != [argument]:
                    return False
                condition = inner
            case _:
                return False
    if condition is not x:
        return False
    _become(node, aten._safe_softmax.default, x, axis)
    return True


def _call(node: fx.Node) -> tuple[str, list[fx.node.Argument]]:
    """The operator's name and its positional arguments."""
    return str(node.target), list(node.args)


def _become(node: fx.Node, target: Callable[..., object], *args: fx.node.Argument) -> None:
    """Let the node call another operator."""
    node.target, node.args, node.kwargs = target, args, {}
