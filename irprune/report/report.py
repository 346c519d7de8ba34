"""What a model costs on a microcontroller, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from irprune.budget import Budget
from irprune.devices import Device, Estimate, estimate
from irprune.frontends.tflite import TFLiteModel
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Bytes, Shape
from irprune.passes.analysis.costs import Costs, costs
from irprune.passes.analysis.deployment import Precision, default_precision, stored_bytes
from irprune.passes.analysis.memory import Memory, memory_of
from irprune.passes.pipeline import deployed
from irprune.passes.rewrite.reorder import reorder


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the model, with its bytes on the device."""

    name: str
    shape: Shape
    dtype: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one resource fits: what the model needs and what there is."""

    resource: str
    needed: int
    available: int

    @property
    def fits(self) -> bool:
        """Whether the model needs no more than there is."""
        return self.needed <= self.available


@dataclass(frozen=True, slots=True)
class Report:
    """What a model costs, in the form that would be deployed.

    Attributes:
        name: the model.
        graph: the deployed form, in the best order.
        costs: per node and in total, in that order.
        memory: that order, the memory at each of its steps, and a place for each buffer.
        inputs: what the model is given.
        outputs: what it gives.
        packed: bytes that the file stores of weights that the device unpacks, by their names.
    """

    name: str
    graph: Graph
    costs: Costs
    memory: Memory
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    packed: Mapping[str, Bytes] = field(default_factory=dict)

    def verdicts(self, budget: Budget) -> tuple[Verdict, ...]:
        """One verdict for each resource that the budget bounds; the arena is what takes SRAM."""
        needs = (
            ("sram", self.memory.arena.size, budget.sram),
            ("flash", self.costs.model_size, budget.flash),
            ("macs", self.costs.macs, budget.macs),
        )
        return tuple(
            Verdict(resource, needed, available)
            for resource, needed, available in needs
            if available is not None
        )

    def estimate(self, board: Device) -> Estimate | None:
        """Latency and energy on a board; None where the board was not measured."""
        return estimate(board, self.costs.macs)


def analyze(
    graph: Graph,
    precision: Precision | None = None,
    *,
    exclude_inputs: bool = False,
    time_limit: float = 10.0,
) -> Report:
    """Analyse the form of a model that would be deployed.

    Args:
        graph: the model as it was read; it is folded and fused first.
        precision: how wide its numbers are; by default int8 for a float model and its own types
            for a quantized one.
        exclude_inputs: leave the model's inputs out of every memory figure, as µNAS does.
        time_limit: seconds to look for the best order, and again for the best places.

    Returns:
        The costs of each node and of the whole, in bytes and operations.
    """
    final = deployed(graph)
    counted_as = precision or default_precision(final)
    memory = memory_of(final, counted_as, exclude_inputs=exclude_inputs, time_limit=time_limit)
    best = reorder(final, memory.schedule)
    return Report(
        name=graph.name,
        graph=best,
        costs=costs(best, counted_as, exclude_inputs=exclude_inputs),
        memory=memory,
        inputs=tuple(_port(value, counted_as) for value in final.inputs),
        outputs=tuple(_port(value, counted_as) for value in final.outputs),
    )


def analyze_packed(
    model: TFLiteModel,
    precision: Precision | None = None,
    *,
    exclude_inputs: bool = False,
    time_limit: float = 10.0,
) -> Report:
    """Analyse a TFLite file whose weights the device unpacks, as the file is.

    Memory is with unpacked weights in it, the model's size with what is stored of them.

    Args:
        model: the file.
        precision: how wide its numbers are; as the file has them.
        exclude_inputs: as ``analyze``.
        time_limit: as ``analyze``.

    Raises:
        UsageError: another precision is asked for.
    """
    graph, own = model.graph, Precision.MODEL
    if precision not in (None, own):
        raise UsageError(
            "has packed weights, which are of the file's own types",
            where=graph.name,
            hint=f"drop --as, or use --as {own.value}",
        )
    memory = memory_of(
        graph, own, exclude_inputs=exclude_inputs, scratch=model.scratch, time_limit=time_limit
    )
    best = reorder(graph, memory.schedule)
    return Report(
        name=graph.name,
        graph=best,
        costs=_as_stored(costs(best, own, exclude_inputs=exclude_inputs), memory, model.saved),
        memory=memory,
        inputs=tuple(_port(value, own) for value in graph.inputs),
        outputs=tuple(_port(value, own) for value in graph.outputs),
        packed=_packed(model),
    )


def _packed(model: TFLiteModel) -> Mapping[str, Bytes]:
    found: dict[str, int] = {}
    for tensor, stored in model.packed.items():
        name = model.runtime.names[tensor]
        found[name] = found.get(name, 0) + stored
    return {name: Bytes(stored) for name, stored in found.items()}


def _as_stored(found: Costs, memory: Memory, saved: Mapping[Node, Bytes]) -> Costs:
    """Costs with packed weights as they are stored, and in memory where they are unpacked."""
    nodes = tuple(
        replace(cost, model_size=Bytes(cost.model_size - saved.get(cost.node, 0)), memory=used)
        for cost, used in zip(found.nodes, memory.timeline.usage, strict=True)
    )
    return replace(
        found,
        nodes=nodes,
        model_size=Bytes(found.model_size - sum(saved.values())),
        peak_sram=memory.schedule.peak,
    )


def _port(value: Value, precision: Precision) -> Port:
    t = value.type
    return Port(value.name, t.shape, t.dtype.value, stored_bytes(t, precision))
