"""What a model costs on a microcontroller, as data."""

from __future__ import annotations

from dataclasses import dataclass

from irprune.budget import Budget
from irprune.devices import Device, Estimate, estimate
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Shape
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
    """

    name: str
    graph: Graph
    costs: Costs
    memory: Memory
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

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


def _port(value: Value, precision: Precision) -> Port:
    t = value.type
    return Port(value.name, t.shape, t.dtype.value, stored_bytes(t, precision))
