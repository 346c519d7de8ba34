"""Orders chosen for the arenas that they allow."""

from __future__ import annotations

import random

import pytest

from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import best_arena
from irprune.passes.analysis.liveness import MemoryModel, Step, timeline
from irprune.passes.analysis.placement import placement
from irprune.passes.analysis.schedule import best_order


def fragmented(seed: int) -> MemoryModel:
    """A random graph of many sizes; of one in a hundred, the best order's buffers leave gaps."""
    rng = random.Random(seed)
    steps, width = rng.randint(15, 40), rng.randint(4, 9)
    sizes = [Bytes(rng.randint(1, 20))]
    made: list[Step] = []
    for _ in range(steps):
        low = max(0, len(sizes) - width)
        reads = tuple({rng.randrange(low, len(sizes)) for _ in range(rng.randint(1, 3))})
        sizes.append(Bytes(rng.randint(1, 20)))
        after = tuple(buffer - 1 for buffer in reads if buffer)  # step i makes buffer i + 1
        made.append(Step(reads, (len(sizes) - 1,), after, rng.random() < 0.2))
    return MemoryModel(tuple(sizes), frozenset({0}), frozenset({len(sizes) - 1}), tuple(made))


@pytest.mark.parametrize("seed", [485, 1411, 2259])
def test_another_order_of_least_peak_has_a_smaller_arena(seed: int) -> None:
    model = fragmented(seed)
    found = best_order(model)
    alone = best_arena(model, found.order, alignment=1, time_limit=0.5)
    assert alone.size > found.peak
    chosen, arena = placement(model, found, alignment=1, time_limit=30)
    assert arena.size == found.peak == chosen.peak
    assert arena.order == chosen.order
    assert timeline(model, chosen.order).peak == found.peak


def test_an_order_that_fits_is_kept() -> None:
    model = fragmented(1)
    found = best_order(model)
    chosen, arena = placement(model, found, alignment=1)
    assert (chosen, arena.size) == (found, found.peak)
