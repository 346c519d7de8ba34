"""What becomes of a node: an operator of a TFLite file, before it is bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Array, Quant, TensorType, type_of


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant that the graph does not have as such: a shape, an axis, transposed weights."""

    name: str
    array: Array
    quant: Quant | None = None

    @property
    def type(self) -> TensorType:
        """The type of the tensor."""
        return type_of(self.array, self.quant)


Operand = Value | Constant | None
"""None is an operand that is left out."""


@dataclass(frozen=True)
class Record:
    """An operator of a TFLite file.

    Attributes:
        kind: the builtin operator, as the schema names it.
        operands: in the operator's order.
        options: the schema's table of options; empty where it has none.
        fields: the options that have not their default.
    """

    kind: str
    operands: Sequence[Operand]
    options: str = ""
    fields: Mapping[str, int | float] = field(default_factory=dict)


class Call:
    """A node, as the rows of the table read it."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.node = node
        self._graph = graph

    @property
    def x(self) -> Value:
        """The first operand."""
        return self.node.inputs[0]

    @property
    def output(self) -> Value:
        """The first output."""
        return self.node.outputs[0]

    def array(self, index: int) -> Array:
        """The array of an operand; UnsupportedOp where it is computed."""
        array = self._graph.constants.get(self.node.inputs[index])
        if array is None:
            raise UnsupportedOp(f"operand {index} is computed, not constant")
        return array

    def integers(self, name: str, numbers: object) -> Constant:
        """A constant of TFLite's shape arithmetic."""
        return Constant(f"{self.node.name}/{name}", np.asarray(numbers, np.int32))

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Constant:
        """Another constant of the operator."""
        return Constant(f"{self.node.name}/{name}", array, quant)


def require(condition: bool, why: str) -> None:
    """Raise UnsupportedOp(why) unless the condition holds."""
    if not condition:
        raise UnsupportedOp(why)
