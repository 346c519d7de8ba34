"""Building graphs and editing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from irprune.ir.errors import InvalidGraph, IrpruneError
from irprune.ir.graph import Graph, Node, Source, Value, values
from irprune.ir.op import Op
from irprune.ir.types import Array, DType, Quant, Shape, TensorType, type_of

N = TypeVar("N", Value, Node)


class Builder:
    """Makes a graph node by node, inferring types and keeping names unique.

    >>> b = Builder("tiny")
    >>> x = b.input("x", (1, 8))
    >>> graph = b.finish([b.add(Relu(), x)])
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs: list[Value] = []
        self._nodes: list[Node] = []
        self._constants: dict[Value, Array] = {}
        self._names: dict[str, int] = {}

    def input(
        self, name: str, shape: Shape, dtype: DType = DType.F32, quant: Quant | None = None
    ) -> Value:
        """A new graph input."""
        value = Value(self._unique(name), TensorType(tuple(shape), dtype, quant))
        self._inputs.append(value)
        return value

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Value:
        """A new constant; the array is kept, not copied, and becomes read-only."""
        value = Value(self._unique(name), type_of(array, quant))
        self._constants[value] = array
        return value

    def add(
        self,
        op: Op,
        *inputs: Value,
        name: str = "",
        source: Source = Source(),
        quant: Quant | None = None,
    ) -> Value:
        """The output of a new node with one output."""
        (output,) = self.add_node(op, inputs, name=name, source=source, quants=(quant,))
        return output

    def add_node(
        self,
        op: Op,
        inputs: Sequence[Value],
        *,
        names: Sequence[str] = (),
        name: str = "",
        source: Source = Source(),
        quants: Sequence[Quant | None] = (),
    ) -> tuple[Value, ...]:
        """The outputs of a new node.

        Args:
            op: the operator.
            inputs: its operands.
            names: names for the outputs; the node's name where absent.
            name: the node's name; made from the op's where empty.
            source: where the node came from.
            quants: the outputs' quantization, where the op does not settle it.

        Raises:
            InvalidType: the operands do not fit the op; the error says at which node.
        """
        node_name = self._unique(name or type(op).__name__.lower())
        try:
            types = op.infer([value.type for value in inputs])
            outputs = tuple(
                self._output(t, i, node_name, names, quants) for i, t in enumerate(types)
            )
        except IrpruneError as error:
            raise error.at(str(source) or f"node '{node_name}'") from None
        self._nodes.append(Node(op, tuple(inputs), outputs, node_name, source))
        return outputs

    def array(self, value: Value) -> Array | None:
        """The array of a constant; None for any other value."""
        return self._constants.get(value)

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """The graph; constants that nothing reads are left out."""
        used = {value for node in self._nodes for value in node.inputs} | set(outputs)
        constants = {v: array for v, array in self._constants.items() if v in used}
        return Graph(self.name, tuple(self._inputs), tuple(outputs), tuple(self._nodes), constants)

    def _output(
        self,
        inferred: TensorType,
        index: int,
        node_name: str,
        names: Sequence[str],
        quants: Sequence[Quant | None],
    ) -> Value:
        quant = quants[index] if index < len(quants) else None
        declared = TensorType(inferred.shape, inferred.dtype, quant or inferred.quant)
        name = names[index] if index < len(names) else node_name
        return Value(self._unique(name, taken_by=node_name), declared)

    def _unique(self, name: str, taken_by: str = "") -> str:
        """The name itself, or with a number where another value or node already has it.

        A node and its output may share a name: ``taken_by`` is the node's.
        """
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        if count == 0 or (name == taken_by and count == 1):
            return name
        return self._unique(f"{name}.{count}")


class Edit:
    """Collects changes to a graph and makes the changed graph.

    New values and nodes bear the names they are given, with a number where something that stays
    has the name already. What was in the graph keeps its names.

    Args:
        graph: the graph to start from; it is not changed.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[Node, tuple[Node, ...]] = {}
        self._constants: dict[Value, Array] = {}
        self._redirects: dict[Value, Value] = {}

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Value:
        """A new constant; the array is kept, not copied, and becomes read-only."""
        value = Value(name, type_of(array, quant))
        self._constants[value] = array
        return value

    def replace(self, node: Node, *by: Node) -> None:
        """Put ``by`` (in order) where ``node`` was; nothing, to remove it."""
        self._nodes[node] = by

    def redirect(self, value: Value, to: Value) -> None:
        """Put ``to`` wherever ``value`` stands: made by a node, read by one, or a graph output.

        So the output of a removed node can become its operand, or its operand become its output.
        """
        self._redirects[value] = to

    def resolve(self, value: Value) -> Value:
        """What stands for ``value`` after the redirections so far."""
        seen: set[Value] = set()
        while value in self._redirects:
            if value in seen:
                raise InvalidGraph([f"value '{value.name}' is redirected in a circle"])
            seen.add(value)
            value = self._redirects[value]
        return value

    def finish(self) -> Graph:
        """The changed graph without unread constants; the same object where nothing changed."""
        graph = self._graph
        if not (self._nodes or self._redirects):
            return graph
        nodes = tuple(
            self._resolved(new) for node in graph.nodes for new in self._nodes.get(node, (node,))
        )
        outputs = tuple(self.resolve(value) for value in graph.outputs)
        used = {value for node in nodes for value in node.inputs} | set(outputs)
        arrays = {**graph.constants, **self._constants}
        kept = {value: array for value, array in arrays.items() if value in used}
        return _named_apart(Graph(graph.name, graph.inputs, outputs, nodes, kept), graph)

    def _resolved(self, node: Node) -> Node:
        inputs = tuple(self.resolve(value) for value in node.inputs)
        outputs = tuple(self.resolve(value) for value in node.outputs)
        if (inputs, outputs) == (node.inputs, node.outputs):
            return node
        return replace(node, inputs=inputs, outputs=outputs)


def renamed(graph: Graph, names: Mapping[Value, str]) -> Graph:
    """The graph with values called so; what had such a name takes the one that is given up."""
    by_name = {value.name: value for value in values(graph)}
    for value, name in names.items():
        old = next(n for n, v in by_name.items() if v is value)
        other = by_name.get(name)
        by_name[name] = value
        by_name.pop(old) if other is None else by_name.update({old: other})
    changed = {v: Value(name, v.type) for name, v in by_name.items() if v.name != name}
    return _substituted(graph, changed, {})


def _named_apart(graph: Graph, before: Graph) -> Graph:
    """The graph, what is new since ``before`` renamed where its name is taken."""
    fresh_values = _fresh(values(graph), values(before))
    fresh_nodes = _fresh(graph.nodes, before.nodes)
    apart = {value: Value(name, value.type) for value, name in fresh_values.items()}
    return _substituted(graph, apart, fresh_nodes)


def _substituted(graph: Graph, by: Mapping[Value, Value], names: Mapping[Node, str]) -> Graph:
    """The graph with other values in place of some, and other names for some nodes."""
    if not by and not names:
        return graph

    def substitute(group: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(by.get(value, value) for value in group)

    nodes = tuple(
        replace(
            node,
            inputs=substitute(node.inputs),
            outputs=substitute(node.outputs),
            name=names.get(node, node.name),
        )
        for node in graph.nodes
    )
    constants = {by.get(value, value): array for value, array in graph.constants.items()}
    return Graph(graph.name, substitute(graph.inputs), substitute(graph.outputs), nodes, constants)


def _fresh(now: Sequence[N], before: Sequence[N]) -> dict[N, str]:
    """Free names for what is new and bears a taken one."""
    old = set(before)
    taken = {item.name for item in now if item in old}
    names = {}
    for item in now:
        if item in old:
            continue
        name, count = item.name, 0
        while name in taken:
            count += 1
            name = f"{item.name}.{count}"
        taken.add(name)
        if name != item.name:
            names[item] = name
    return names
