"""Good orders quickly, where an exact search does not end."""

from __future__ import annotations

import heapq
import time
from typing import NamedTuple

from irprune.passes.analysis.ordering.moves import Direction
from irprune.passes.analysis.ordering.structure import bits


class _Partial(NamedTuple):
    """Some steps moved: the peak on the way, live bytes, steps that can move next, the way."""

    peak: int
    live: int
    state: int
    ready: int
    way: tuple[_Partial, int] | None


def beam(direction: Direction, width: int, deadline: float) -> tuple[int, ...] | None:
    """An order of low peak: of all ways of equally many steps the ``width`` lowest are followed.

    Args:
        direction: from which end to begin.
        width: how many ways are kept; 1 is greedy.
        deadline: when to give up, on the clock of ``time.monotonic``.

    Returns:
        The order as run; None where time ran out.
    """
    ready = sum(1 << at for at, needs in enumerate(direction.needs) if needs == 0)
    kept = [_Partial(0, direction.start, 0, ready, None)]
    for _ in direction.needs:
        if time.monotonic() > deadline:
            return None
        best: dict[int, _Partial] = {}
        for partial in kept:
            for step in bits(partial.ready):
                reached = _moved(direction, partial, step)
                if reached.state not in best or reached[:2] < best[reached.state][:2]:
                    best[reached.state] = reached
        kept = heapq.nsmallest(width, best.values(), key=lambda partial: partial[:3])
    moved = []
    way = kept[0].way
    while way is not None:
        partial, step = way
        moved.append(step)
        way = partial.way
    return direction.executed(moved[::-1])


def _moved(direction: Direction, partial: _Partial, step: int) -> _Partial:
    usage, live = direction.move(partial.state, partial.live, step)
    state = partial.state | 1 << step
    ready = partial.ready & ~(1 << step)
    for waiting in bits(direction.unlocks[step]):
        if direction.needs[waiting] & ~state == 0:
            ready |= 1 << waiting
    return _Partial(max(partial.peak, usage), live, state, ready, (partial, step))
