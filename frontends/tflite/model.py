"""A graph together with the file it came from: which tensor is which value, and what runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from irprune.frontends.tflite.call import Scope
from irprune.frontends.tflite.compression import DECODE
from irprune.frontends.tflite.file import ModelFile, Operator
from irprune.ir.errors import InvalidModel
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Bytes
from irprune.passes.analysis.offline_plan import Operation, RuntimeModel


@dataclass(frozen=True, eq=False)
class TFLiteModel:
    """What planning the memory of a file needs.

    Attributes:
        graph: the model as ``read_tflite`` gives it.
        tensors: the file's index of each value's tensor. Values between the nodes of one operator
            have none, and neither have constants.
        operators: the file's index of each node's operator, by the node's position.
        runtime: the file's own tensors and operators. Some may be in no graph: shape arithmetic
            that was done on reading runs on the device all the same.
        plan: the memory plan in the file; None where it has none.
        unpacked: the file's index of each tensor of weights that the device unpacks, and the
            position of the node that reads it.
        packed: the same tensors, and bytes that the file stores of each; none of one that is
            unpacked of what another is, too.
    """

    graph: Graph
    tensors: Mapping[Value, int]
    operators: tuple[int, ...]
    runtime: RuntimeModel
    plan: tuple[int, ...] | None
    unpacked: Mapping[int, int]
    packed: Mapping[int, Bytes]

    @property
    def scratch(self) -> tuple[tuple[int, Bytes], ...]:
        """The nodes that read what is unpacked, and bytes of it, for ``memory_of``."""
        return tuple((at, self.runtime.sizes[tensor]) for tensor, at in self.unpacked.items())

    @property
    def saved(self) -> Mapping[Node, Bytes]:
        """Bytes by which the file stores less than what the nodes read that is unpacked."""
        found = dict.fromkeys((self.graph.nodes[at] for at in self.unpacked.values()), 0)
        for tensor, at in self.unpacked.items():
            found[self.graph.nodes[at]] += self.runtime.sizes[tensor] - self.packed[tensor]
        return {node: Bytes(saved) for node, saved in found.items()}


def tflite_model(graph: Graph, scope: Scope) -> TFLiteModel:
    """A graph with the file of which its values are made.

    Raises:
        InvalidModel: the file gives a tensor another size than its operator does.
        InvalidPlan: the file's memory plan is damaged.
        UnsupportedOp: it has a tensor of a kind that irprune lacks, which no operator reads.
    """
    file = scope.file
    index = {operator.name: operator.index for operator in file.operators}
    operators = tuple(index[node.source.name] for node in graph.nodes)
    for tensor, value in scope.values.items():
        _check_size(file, tensor, value)
    return TFLiteModel(
        graph=graph,
        tensors={v: tensor for tensor, v in scope.values.items() if v not in graph.constants},
        operators=operators,
        runtime=_runtime(file, operators, graph.nodes),
        plan=file.plan,
        unpacked=_unpacked(file, operators),
        packed=dict(_packed(file)),
    )


def _packed(file: ModelFile) -> Iterator[tuple[int, Bytes]]:
    counted: set[tuple[int, int]] = set()
    for operator in file.operators:
        if operator.kind == f"CUSTOM {DECODE}":
            pairs = zip(operator.inputs[0::2], operator.inputs[1::2], strict=True)
            for tensor, pair in zip(operator.outputs, pairs, strict=True):
                parts = () if pair in counted else pair
                counted.add(pair)
                yield tensor, Bytes(sum(file.tensor(part).type.nbytes for part in parts))


def _unpacked(file: ModelFile, operators: Sequence[int]) -> Mapping[int, int]:
    made = {
        tensor
        for operator in file.operators
        if operator.kind == f"CUSTOM {DECODE}"
        for tensor in operator.outputs
    }
    return {
        tensor: node
        for node, at in enumerate(operators)
        for tensor in file.operators[at].inputs
        if tensor in made
    }


def _check_size(file: ModelFile, index: int, value: Value) -> None:
    """The runtime keeps what the file declares, also where the graph knows better."""
    tensor = file.tensor(index)
    if tensor.data is None and tensor.type.nbytes != value.type.nbytes:
        raise InvalidModel(
            f"declares {tensor.type.nbytes} bytes for tensor '{tensor.name}', "
            f"which has {value.type.nbytes}",
            hint="convert the model with fixed shapes",
        )


def _runtime(file: ModelFile, operators: Sequence[int], nodes: Sequence[Node]) -> RuntimeModel:
    tensors = [file.tensor(index) for index in range(file.tensor_count)]
    sizes = {i: tensor.type.nbytes for i, tensor in enumerate(tensors) if tensor.data is None}
    kept = {index: size for index, size in sizes.items() if size}
    _check_makers(file, kept)
    made_of: dict[int, list[Node]] = {operator.index: [] for operator in file.operators}
    for index, node in zip(operators, nodes, strict=True):
        made_of[index].append(node)
    return RuntimeModel(
        names=tuple(tensor.name for tensor in tensors),
        sizes=kept,
        inputs=frozenset(file.inputs),
        outputs=frozenset(file.outputs) & kept.keys(),
        operations=tuple(_operation(o, made_of[o.index], kept) for o in file.operators),
    )


def _check_makers(file: ModelFile, kept: Mapping[int, Bytes]) -> None:
    """Lowerings look at no more operands and outputs than they know; a runtime may use them all."""
    made = set(file.inputs)
    for operator in file.operators:
        for tensor in operator.inputs:
            if tensor in kept and tensor not in made:
                raise _misused(file, operator, tensor, "read before anything makes it")
        for tensor in operator.outputs:
            if tensor in kept and tensor in made:
                raise _misused(file, operator, tensor, "made twice")
            made.add(tensor)


def _misused(file: ModelFile, operator: Operator, tensor: int, how: str) -> InvalidModel:
    return InvalidModel(f"{operator.name}: tensor '{file.tensor(tensor).name}' is {how}")


def _operation(operator: Operator, nodes: Sequence[Node], kept: Mapping[int, Bytes]) -> Operation:
    moves_nothing = bool(nodes) and all(node.op.alias() is not None for node in nodes)
    return Operation(
        reads=tuple(dict.fromkeys(tensor for tensor in operator.inputs if tensor in kept)),
        makes=tuple(tensor for tensor in operator.outputs if tensor in kept),
        # Every view of TFLite is one of its first operand; the others say its shape.
        view=moves_nothing and operator.inputs[0] in kept,
        overwrites=any(node.op.overwrites() for node in nodes),
    )
