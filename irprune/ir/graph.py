"""The dataflow graph: values, nodes, and the order in which the nodes run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from irprune.ir.analysis import analysis
from irprune.ir.op import Op
from irprune.ir.types import Array, TensorType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Value:
    """A tensor of the graph. Two values are the same only if they are the same object."""

    name: str
    type: TensorType

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where something came from: a file (or module class) and the name it has there."""

    file: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f"node '{self.name}'" if self.name else ""
        return ": ".join(part for part in (self.file, place) if part)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Node:
    """One operator applied to values.

    Attributes:
        op: what it does.
        inputs: its operands, in the order the op defines.
        outputs: the values it makes; no other node makes them.
        name: a name unique in the graph.
        source: where it came from.
    """

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    name: str
    source: Source = Source()

    @property
    def output(self) -> Value:
        """The only output of a node that has one."""
        (output,) = self.outputs
        return output

    def __str__(self) -> str:
        """How errors name the node."""
        return str(self.source) or f"node '{self.name}'"


@dataclass(frozen=True, eq=False)
class Graph:
    """A model: never changed, only rewritten into another graph.

    Attributes:
        name: the model's name.
        inputs: what the caller gives, in order.
        outputs: what the caller gets, in order.
        nodes: in execution order; the order is the schedule.
        constants: the arrays of constant values, read-only.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[Value, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for array in self.constants.values():
            array.setflags(write=False)
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))


@analysis
def producers(graph: Graph) -> Mapping[Value, Node]:
    """The node that makes each value; graph inputs and constants have none."""
    return {value: node for node in graph.nodes for value in node.outputs}


@analysis
def readers(graph: Graph) -> Mapping[Value, tuple[Node, ...]]:
    """The nodes that read each value, in execution order, each once; () for an unread value."""
    found: dict[Value, list[Node]] = {value: [] for value in values(graph)}
    for node in graph.nodes:
        for value in dict.fromkeys(node.inputs):
            found[value].append(node)
    return {value: tuple(nodes) for value, nodes in found.items()}


@analysis
def values(graph: Graph) -> tuple[Value, ...]:
    """Every value: graph inputs, constants, then node outputs in execution order."""
    made = (value for node in graph.nodes for value in node.outputs)
    return (*graph.inputs, *graph.constants, *made)
