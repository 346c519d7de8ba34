"""Evaluating one node on arrays."""

from __future__ import annotations

from collections.abc import Sequence

from irprune.ir.errors import IrpruneError
from irprune.ir.graph import Node
from irprune.ir.op import Op
from irprune.ir.ops import LRN, Conv2d, ConvTranspose2d
from irprune.ir.ops.pool import Pool
from irprune.ir.ops.recurrent import Recurrent
from irprune.ir.types import Array


def evaluate(node: Node, args: Sequence[Array]) -> tuple[Array, ...]:
    """The node's outputs for operand arrays; by integer arithmetic where its values are quantized.

    Raises:
        InvalidType: the operator has no arithmetic for these types; the error names the node.
    """
    inputs = [value.type for value in node.inputs]
    outputs = [value.type for value in node.outputs]
    try:
        if any(t.quant is not None for t in inputs):
            return node.op.evaluate_quantized(args, inputs, outputs)
        return node.op.evaluate(args)
    except IrpruneError as error:
        raise error.at(str(node)) from None


def is_bounded(op: Op) -> bool:
    """Whether evaluating it takes memory in proportion to its operands and results.

    A layer need not: its window may reach as far into padding as its attributes say.
    """
    return not isinstance(op, Conv2d | ConvTranspose2d | Pool | LRN | Recurrent)
