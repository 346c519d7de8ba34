"""What a graph costs as it stands: operations, parameters, bytes of flash and of SRAM.

MACs follow docs/design.md §4 (Liberis & Lane): convolutions and dense layers, plus (terms - 1) per
output element of an Add, plus the window area per output element of a pool. Model size stores
weights and biases in the deployed precision. Working memory is SpArSe's (5) and (6), in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from irprune.ir.analysis import analysis
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.deployment import Precision, biases, stored_bytes
from irprune.passes.analysis.liveness import imprecise_bytes, memory_model, timeline


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one node costs.

    Attributes:
        node: the node.
        macs: multiply-accumulates in the paper's convention.
        macs_weights: those by weights only, as other tools count.
        parameters: elements of its constants, each counted at its first reader.
        model_size: bytes of those.
        memory: bytes in SRAM while it runs.
        imprecise: its own inputs + outputs; 0 for a view.
        working_memory_5: its inputs + weights (SpArSe, eq. 5), biases left out; 0 for a view.
        working_memory_6: its inputs + outputs (SpArSe, eq. 6), each operand counted; 0 for a view.
    """

    node: Node
    macs: Macs
    macs_weights: Macs
    parameters: int
    model_size: Bytes
    memory: Bytes
    imprecise: Bytes
    working_memory_5: Bytes
    working_memory_6: Bytes


@dataclass(frozen=True, slots=True)
class Costs:
    """What a graph costs: ``nodes`` one by one, and in total.

    Sums over the nodes: macs, macs_weights, parameters, model_size. Maxima over the nodes:
    peak_sram (of the given order), the imprecise peaks, the working memories.
    """

    precision: Precision
    nodes: tuple[NodeCost, ...]
    parameters: int
    model_size: Bytes
    macs: Macs
    macs_weights: Macs
    peak_sram: Bytes
    peak_sram_imprecise: Bytes
    peak_sram_imprecise_in_place: Bytes
    working_memory_5: Bytes
    working_memory_6: Bytes


@analysis
def costs(graph: Graph, precision: Precision, *, exclude_inputs: bool = False) -> Costs:
    """What the graph costs as it stands, node by node and in total.

    Args:
        graph: the graph, in the form that would be deployed.
        precision: how wide its numbers are there.
        exclude_inputs: leave the graph inputs out of every memory figure (the convention of µNAS).
    """
    model = memory_model(graph, precision, exclude_inputs=exclude_inputs)
    run = timeline(model)
    in_place = [imprecise_bytes(model, step, in_place=True) for step in model.steps]
    imprecise = [imprecise_bytes(model, step) for step in model.steps]
    left_out = frozenset(graph.inputs) if exclude_inputs else frozenset()
    owners = _owners(graph)
    nodes = tuple(
        NodeCost(
            node=node,
            macs=node_macs(node),
            macs_weights=node_macs(node) if _by_weights(graph, node) else Macs(0),
            parameters=sum(v.type.elements for v in owners.get(node, ())),
            model_size=Bytes(
                sum(constant_bytes(graph, v, precision) for v in owners.get(node, ()))
            ),
            memory=run.usage[i],
            imprecise=imprecise[i],
            working_memory_5=_working_memory_5(graph, node, precision, left_out),
            working_memory_6=_working_memory_6(graph, node, precision, left_out),
        )
        for i, node in enumerate(graph.nodes)
    )
    unread = [v for v in graph.outputs if v in graph.constants and v not in _all_owned(owners)]
    return Costs(
        precision=precision,
        nodes=nodes,
        parameters=sum(n.parameters for n in nodes) + sum(v.type.elements for v in unread),
        model_size=Bytes(
            sum(n.model_size for n in nodes)
            + sum(constant_bytes(graph, v, precision) for v in unread)
        ),
        macs=Macs(sum(n.macs for n in nodes)),
        macs_weights=Macs(sum(n.macs_weights for n in nodes)),
        peak_sram=run.peak,
        peak_sram_imprecise=max(imprecise, default=Bytes(0)),
        peak_sram_imprecise_in_place=max(in_place, default=Bytes(0)),
        working_memory_5=max((n.working_memory_5 for n in nodes), default=Bytes(0)),
        working_memory_6=max((n.working_memory_6 for n in nodes), default=Bytes(0)),
    )


def node_macs(node: Node) -> Macs:
    """Multiply-accumulates of one node, weights or not."""
    shapes = [v.type.shape for v in node.inputs], [v.type.shape for v in node.outputs]
    return Macs(int(node.op.macs(*shapes)))


def constant_bytes(graph: Graph, value: Value, precision: Precision) -> Bytes:
    """Bytes of a constant in flash."""
    return stored_bytes(value.type, precision, bias=value in biases(graph))


def _by_weights(graph: Graph, node: Node) -> bool:
    return node.op.linear and any(v in graph.constants for v in node.inputs)


def _owners(graph: Graph) -> dict[Node, tuple[Value, ...]]:
    """The constants of each node; one that several nodes read belongs to the first."""
    taken: set[Value] = set()
    owned: dict[Node, tuple[Value, ...]] = {}
    for node in graph.nodes:
        own = dict.fromkeys(v for v in node.inputs if v in graph.constants and v not in taken)
        owned[node] = tuple(own)
        taken.update(own)
    return owned


def _all_owned(owners: dict[Node, tuple[Value, ...]]) -> set[Value]:
    return {value for values in owners.values() for value in values}


def _working_memory_5(
    graph: Graph, node: Node, precision: Precision, left_out: frozenset[Value]
) -> Bytes:
    if node.op.alias() is not None:
        return Bytes(0)
    weights = sum(
        stored_bytes(v.type, precision)
        for i, v in enumerate(node.inputs)
        if v in graph.constants and i != node.op.bias
    )
    return Bytes(_read(graph, node, precision, left_out) + weights)


def _working_memory_6(
    graph: Graph, node: Node, precision: Precision, left_out: frozenset[Value]
) -> Bytes:
    if node.op.alias() is not None:
        return Bytes(0)
    made = sum(stored_bytes(v.type, precision) for v in node.outputs)
    return Bytes(_read(graph, node, precision, left_out) + made)


def _read(graph: Graph, node: Node, precision: Precision, left_out: frozenset[Value]) -> int:
    """Bytes of the activations a node reads, an operand read twice counted twice."""
    return sum(
        stored_bytes(v.type, precision)
        for v in node.inputs
        if v not in graph.constants and v not in left_out
    )
