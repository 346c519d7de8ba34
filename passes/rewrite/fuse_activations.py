from __future__ import annotations

from dataclasses import replace

from irprune.ir import ops
from irprune.ir.attributes import attribute_types, with_attributes
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value, producers
from irprune.ir.op import Activated, Op
from irprune.ir.ops.shape import View
from irprune.passes.rewrite.patterns import read_by

ACTIVATIONS = (
    ops.Relu,
    ops.Relu6,
    ops.LeakyRelu,
    ops.Elu,
    ops.Clip,
    ops.Sigmoid,
    ops.Tanh,
    ops.HardSigmoid,
    ops.HardSwish,
    ops.Silu,
    ops.Gelu,
)
"""The operators that are activations of the operator before them."""


def fuse_activations(graph: Graph) -> Graph:
    """The graph with activations applied by the operators that make their operands.

    Between the two there may be views. What lies between is read by nothing else and is no graph
    output. Quantized values are left alone: between two operators they are rounded.
    """
    edit = Edit(graph)
    for node in graph.nodes:
        if not isinstance(node.op, ACTIVATIONS) or not node.output.type.dtype.is_float:
            continue
        maker = _maker(graph, node)
        if maker is None or not takes_activation(maker.op):
            continue
        edit.replace(maker, replace(maker, op=with_attributes(maker.op, activation=node.op)))
        edit.replace(node)
        edit.redirect(node.inputs[0], node.output)
    return edit.finish()


def takes_activation(op: Op) -> bool:
    """Whether the operator can apply an activation and has none yet."""
    declared = "activation" in attribute_types(type(op))
    return declared and isinstance(op, Activated) and op.activation is None


def _maker(graph: Graph, reader: Node) -> Node | None:
    """What makes the reader's operand and for it alone, seen through views; None for nothing."""
    value: Value = reader.inputs[0]
    while read_by(graph, value, reader):
        maker = producers(graph).get(value)
        if maker is None or not isinstance(maker.op, View):
            return maker
        value, reader = maker.inputs[0], maker
    return None
