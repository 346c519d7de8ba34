"""Spelling a node out as several, the last of which makes what it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.integer import nearest
from irprune.ir.op import Op
from irprune.ir.types import Array, Quant, TensorType


class Formula:
    """The nodes that a node is spelled out as.

    Args:
        graph: the graph.
        node: the node.
        edit: where new constants go.
    """

    def __init__(self, graph: Graph, node: Node, edit: Edit) -> None:
        self.node = node
        self.nodes: list[Node] = []
        self._graph = graph
        self._edit = edit

    @property
    def x(self) -> Value:
        """The first operand."""
        return self.node.inputs[0]

    def array(self, value: Value) -> Array | None:
        """The array of a constant of the graph; None for any other value."""
        return self._graph.constants.get(value)

    def number(self, real: float) -> Value:
        """A constant that is one number, in the type and quantization of the output."""
        t = self.node.outputs[0].type
        if t.quant is not None:
            low, high = t.dtype.limits
            real = min(max(nearest(real, t), low), high)
        return self.constant("number", np.asarray(real, t.dtype.numpy), t.quant)

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Value:
        """A new constant."""
        return self._edit.constant(f"{self.node.name}.{name}", array, quant)

    def add(self, op: Op, *inputs: Value) -> Value:
        """The output of an intermediate node, where it has no quantization in the original's."""
        (output,) = self.add_several(op, *inputs)
        return output

    def add_several(self, op: Op, *inputs: Value) -> tuple[Value, ...]:
        """The outputs of an intermediate node."""
        name = f"{self.node.name}.{type(op).__name__.lower()}"
        quant = self.node.outputs[0].type.quant
        types = op.infer([value.type for value in inputs])
        outputs = tuple(Value(name, TensorType(t.shape, t.dtype, t.quant or quant)) for t in types)
        self.nodes.append(Node(op, inputs, outputs, name, self.node.source))
        return outputs

    def end(self, op: Op, *inputs: Value, output: int = 0) -> None:
        """The node that makes (one of) what the original made, under its name."""
        made = self.node.outputs[output]
        self.nodes.append(Node(op, inputs, (made,), self.node.name, self.node.source))


Spelling = Callable[[Formula], None]
"""Spells a node out; adds no node where the operator can stay as it is."""


def spell(graph: Graph, spellings: Mapping[type[Op], Spelling]) -> Graph:
    """The graph with nodes spelled out, and what they are spelled as too, until nothing is left."""
    while True:
        edit = Edit(graph)
        for node in graph.nodes:
            spelling = spellings.get(type(node.op))
            if spelling is not None:
                formula = Formula(graph, node, edit)
                spelling(formula)
                if formula.nodes:
                    edit.replace(node, *formula.nodes)
        after = edit.finish()
        if after is graph:
            return graph
        graph = after
