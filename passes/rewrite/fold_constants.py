from __future__ import annotations

import numpy as np

from irprune.ir import ops
from irprune.ir.arrays import held_bytes
from irprune.ir.build import Edit
from irprune.ir.errors import InvalidType
from irprune.ir.evaluate import evaluate, is_bounded
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Array

GROWTH = 2
"""How many times larger than its operands a folded result may be."""

SMALL = 2**20
"""Bytes of a result that is folded however small its operands are."""


def fold_constants(graph: Graph) -> Graph:
    """The graph with the nodes whose operands are all constants replaced by their results.

    Left alone is a Dequantize, so that weights stay the integers that a quantized operator reads,
    and what would fill much more memory than its operands do.
    """
    return _fold(graph, dequantize=False)


def fold_dequantized(graph: Graph) -> Graph:
    """Like fold_constants, and constants that are dequantized become the reals they stand for."""
    return _fold(graph, dequantize=True)


def _fold(graph: Graph, *, dequantize: bool) -> Graph:
    edit = Edit(graph)
    known: dict[Value, Array] = dict(graph.constants)
    for node in graph.nodes:
        if isinstance(node.op, ops.Dequantize) and not dequantize:
            continue
        args = [known[value] for value in node.inputs if value in known]
        if len(args) < len(node.inputs) or not _worthwhile(node, args):
            continue
        results = _results(node, args)
        if results is None:
            continue
        edit.replace(node)
        for value, array in zip(node.outputs, results, strict=True):
            known[value] = array
            edit.redirect(value, edit.constant(value.name, array, value.type.quant))
    return edit.finish()


def _worthwhile(node: Node, args: list[Array]) -> bool:
    """Whether the results need not much more memory than the operands."""
    if isinstance(node.op, ops.Expand | ops.Transpose):  # numpy moves nothing for these
        return True
    made = sum(value.type.nbytes for value in node.outputs)
    return is_bounded(node.op) and made <= max(SMALL, GROWTH * sum(map(held_bytes, args)))


def _results(node: Node, args: list[Array]) -> tuple[Array, ...] | None:
    """The node's outputs; None where it has no arithmetic for the types of its operands."""
    with np.errstate(all="ignore"):  # an infinity is one in every runtime
        try:
            results = evaluate(node, args)
        except InvalidType:
            return None
    return tuple(
        np.asarray(array, value.type.dtype.numpy)
        for value, array in zip(node.outputs, results, strict=True)
    )
