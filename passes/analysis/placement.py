"""An order and an arena together: of the orders of least peak, one that fits its places best."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from irprune.passes.analysis.arena import ALIGNMENT, Arena, best_arena
from irprune.passes.analysis.liveness import MemoryModel
from irprune.passes.analysis.ordering.moves import Sized
from irprune.passes.analysis.ordering.structure import structure_of
from irprune.passes.analysis.schedule import Schedule

ATTEMPTS = 300
"""Other orders that are tried where the first does not fit."""

PATIENCE = 0.05
"""Seconds to place the buffers of one of them."""


def placement(
    model: MemoryModel,
    found: Schedule,
    *,
    alignment: int = ALIGNMENT,
    time_limit: float = 10.0,
) -> tuple[Schedule, Arena]:
    """A schedule as good as the one found, and its arena, as small as the peak where possible.

    Where the arena of the schedule's order is larger than its peak, steps are moved about, at
    random but with the same outcome every time, as long as no order needs more than before. If
    that does not help, the rest of the time goes into the best of these arenas.

    Args:
        model: the memory model.
        found: a schedule of its steps.
        alignment: bytes that every offset is a multiple of.
        time_limit: in seconds.
    """
    deadline = time.monotonic() + time_limit
    best = best_arena(model, found.order, alignment=alignment, time_limit=time_limit / 10)
    goal = -(-found.peak // alignment) * alignment
    if not model.steps:
        return replace(found, order=best.order), best
    sized = Sized(structure_of(model), model.sizes)
    rng = random.Random(0)
    for _ in range(ATTEMPTS):
        if best.size <= goal or time.monotonic() > deadline:
            return replace(found, order=best.order), best
        order = _shifted(model, best.order, rng)
        if sized.peak(order) <= found.peak:
            other = best_arena(model, order, alignment=alignment, time_limit=PATIENCE)
            best = other if other.size <= best.size else best
    left = max(deadline - time.monotonic(), 0.0)
    last = best_arena(model, best.order, alignment=alignment, time_limit=left)
    return replace(found, order=best.order), min(last, best, key=lambda arena: arena.size)


def _shifted(model: MemoryModel, order: Sequence[int], rng: random.Random) -> tuple[int, ...]:
    """The order with one step elsewhere, after what it needs and before what needs it."""
    at = rng.randrange(len(order))
    step = order[at]
    rest = [other for other in order if other != step]
    needs = [i for i, other in enumerate(rest) if other in model.steps[step].after]
    needed = [i for i, other in enumerate(rest) if step in model.steps[other].after]
    place = rng.randint(max(needs, default=-1) + 1, min(needed, default=len(rest)))
    return (*rest[:place], step, *rest[place:])
