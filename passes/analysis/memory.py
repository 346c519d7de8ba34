"""A model's memory over the steps of its best order, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import Arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import (
    MemoryModel,
    Timeline,
    buffers,
    memory_model,
    timeline,
    with_scratch,
)
from irprune.passes.analysis.placement import placement
from irprune.passes.analysis.schedule import Schedule, best_order, schedule


@dataclass(frozen=True)
class Memory:
    """What a graph needs of SRAM, at every step of the best order known.

    Attributes:
        graph: the graph, in the order in which it was given.
        precision: how wide its numbers are.
        schedule: the best order.
        given_peak: bytes that the given order needs.
        model: buffers and steps of ``graph``; behind the buffers of its values those of scratch.
        timeline: which buffers are in memory at each step of the best order.
        arena: a place for each buffer.
        scratch: nodes that need more than their operands and results while they run, and what.
    """

    graph: Graph
    precision: Precision
    schedule: Schedule
    given_peak: Bytes
    model: MemoryModel
    timeline: Timeline
    arena: Arena
    scratch: Sequence[tuple[int, Bytes]] = ()

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """The nodes in the best order."""
        return [self.graph.nodes[at] for at in self.schedule.order]

    @cached_property
    def names(self) -> Sequence[str]:
        """What each buffer is called: the value that it is made for."""
        first: dict[int, Value] = {}
        for value, buffer in buffers(self.graph).items():
            first.setdefault(buffer, value)
        own = [first[buffer].name for buffer in range(len(first))]
        return own + [f"weights of {self.graph.nodes[at].name}" for at, _ in self.scratch]

    @cached_property
    def lifetimes(self) -> Sequence[tuple[int, int]]:
        """The first and the last step at which each buffer is in memory.

        One that is written over is so until the step before that; (0, -1) for one that never is.
        """
        spans = [(0, -1)] * len(self.model.sizes)
        for step, live in enumerate(self.timeline.live):
            for buffer in live:
                first = spans[buffer][0] if spans[buffer][1] >= 0 else step
                spans[buffer] = (first, step)
        return spans


def memory_of(
    graph: Graph,
    precision: Precision,
    *,
    exclude_inputs: bool = False,
    scratch: Sequence[tuple[int, Bytes]] = (),
    time_limit: float = 10.0,
) -> Memory:
    """The best order of a graph and a place for every buffer.

    Args:
        graph: the graph, in the form that would be deployed.
        precision: how wide its numbers are.
        exclude_inputs: count graph inputs as no memory at all.
        scratch: positions of nodes that unpack weights, and bytes of those; one for each.
        time_limit: seconds for the order, and again for the places.
    """
    model = memory_model(graph, precision, exclude_inputs=exclude_inputs)
    if scratch:
        model = with_scratch(model, scratch)
        found = best_order(model, time_limit=time_limit)
    else:
        found = schedule(graph, precision, exclude_inputs=exclude_inputs, time_limit=time_limit)
    found, arena = placement(model, found, time_limit=time_limit)
    return Memory(
        graph=graph,
        precision=precision,
        schedule=found,
        given_peak=timeline(model).peak,
        model=model,
        timeline=timeline(model, found.order),
        arena=arena,
        scratch=scratch,
    )
