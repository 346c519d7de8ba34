"""The order of a graph's nodes that needs least memory, with a proof or a bound."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from irprune.ir.analysis import analysis
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.liveness import MemoryModel, memory_model
from irprune.passes.analysis.ordering import solver
from irprune.passes.analysis.ordering.beam import beam
from irprune.passes.analysis.ordering.moves import Backward, Forward, Sized
from irprune.passes.analysis.ordering.search import Found, search
from irprune.passes.analysis.ordering.structure import structure_of

WIDTHS = (1, 8, 64, 512)
"""Of the beams that look for a good order where none can be proven at once."""

ADVICE = "pip install 'irprune[solver]' to let OR-tools look further"


@dataclass(frozen=True, slots=True)
class Schedule:
    """An order of the nodes.

    Attributes:
        order: node indices of the graph, as they should run; the graph's own where that is as
            good as any that is known.
        peak: bytes of SRAM that it needs, in the convention of docs/design.md §4.
        lower_bound: bytes that every order needs.
        advice: what would help where the order is not proven; empty where nothing is lacking.
    """

    order: tuple[int, ...]
    peak: Bytes
    lower_bound: Bytes
    advice: str = ""

    @property
    def proven(self) -> bool:
        """Whether no order needs less."""
        return self.peak == self.lower_bound


@analysis
def schedule(
    graph: Graph,
    precision: Precision | None = None,
    *,
    exclude_inputs: bool = False,
    time_limit: float = 10.0,
) -> Schedule:
    """The order of least peak memory (Liberis & Lane, 2020, ask for it as do others).

    An exact search from both ends comes first; where a graph is too wide for that, a beam search
    finds a good order, and OR-tools, if installed, goes on with what time is left.

    Args:
        graph: the graph, in the form that would be deployed.
        precision: how wide its numbers are; by default int8 for a float graph, its own types for
            a quantized one.
        exclude_inputs: count graph inputs as no memory at all.
        time_limit: seconds after which the best order so far is returned, with a true bound.
    """
    precision = precision or default_precision(graph)
    model = memory_model(graph, precision, exclude_inputs=exclude_inputs)
    return best_order(model, time_limit=time_limit)


def best_order(model: MemoryModel, *, time_limit: float = 10.0) -> Schedule:
    """As ``schedule``, for a memory model; the order is of its steps."""
    sized = Sized(structure_of(model), model.sizes)
    given = tuple(range(len(model.steps)))
    return improved(sized, model.sizes, given, time_limit=time_limit)


def improved(
    sized: Sized, sizes: Sequence[Bytes], hint: tuple[int, ...], *, time_limit: float
) -> Schedule:
    """The best order, which is ``hint`` where none is better.

    Args:
        sized: steps with sizes.
        sizes: bytes of each buffer.
        hint: a good order.
        time_limit: in seconds.
    """
    start = time.monotonic()
    best = _Best(sized, hint)
    best.take(search(sized, best.peak, best.bound, start + time_limit / 10))
    if not best.proven:
        best.widen(start + time_limit / 4)
        share = 0.8 if solver.available() else 1.0
        best.take(search(sized, best.peak, best.bound, start + share * time_limit))
    lacking = not best.proven and not solver.available()
    if not best.proven and not lacking:
        seconds = start + time_limit - time.monotonic()
        best.take(solver.solve(sized, sizes, best.order, best.bound, seconds))
    return Schedule(best.order, best.peak, best.bound, ADVICE if lacking else "")


class _Best:
    """The best order and the best bound so far."""

    def __init__(self, sized: Sized, order: tuple[int, ...]) -> None:
        self._sized = sized
        self.order = order
        self.peak = sized.peak(order)
        self.bound = sized.lower_bound

    @property
    def proven(self) -> bool:
        return self.peak == self.bound

    def take(self, found: Found) -> None:
        """Keep what is better than what is known."""
        self.bound = max(self.bound, found.lower_bound)
        self._keep(found.order)

    def widen(self, deadline: float) -> None:
        """Look for a better order with wider and wider beams, from both ends."""
        for width in WIDTHS:
            for direction in (Forward(self._sized), Backward(self._sized)):
                self._keep(beam(direction, width, deadline))

    def _keep(self, order: tuple[int, ...] | None) -> None:
        if order is not None and self._sized.peak(order) < self.peak:
            self.order, self.peak = order, self._sized.peak(order)
