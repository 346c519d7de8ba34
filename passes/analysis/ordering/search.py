"""Exact search for an order of least peak, from both ends at once."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from typing import NamedTuple

from irprune.ir.types import Bytes
from irprune.passes.analysis.ordering.moves import Backward, Direction, Forward, Sized
from irprune.passes.analysis.ordering.structure import bits

TURN = 50
"""States that one end expands before it is the other's turn."""


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        order: an order of least peak; None where none is better than the known one, or time ran
            out.
        lower_bound: bytes that every order needs.
    """

    order: tuple[int, ...] | None
    lower_bound: Bytes


class Search:
    """The search for an order of least peak, which can be interrupted.

    From each end, states are expanded in the order of the peaks that reach them, so the peak at
    which an end stands is a lower bound: either end serves the other, and what cannot be passed
    from one side often ends at once from the other.

    Args:
        sized: steps and sizes.
    """

    def __init__(self, sized: Sized) -> None:
        self._bound = sized.lower_bound
        self._ends = [_End(Forward(sized)), _End(Backward(sized))]

    def run(self, known: Bytes, deadline: float) -> Found:
        """Go on until an order is found that is below a known one, or there is none.

        Args:
            known: the peak of the best order known.
            deadline: when to stop, on the clock of ``time.monotonic``.
        """
        while self._bound < known:
            for end in self._ends:
                end.raise_to(self._bound)
                if end.advance(TURN, known):
                    return Found(end.order(), Bytes(end.peak))
                self._bound = Bytes(max(self._bound, min(end.peak, known)))
            if time.monotonic() > deadline:
                return Found(None, self._bound)
        return Found(None, known)


class _Blocked(NamedTuple):
    """A move that needs more than the peak allowed so far."""

    usage: int
    moved: int
    state: int
    live: int
    ready: int
    step: int


class _End:
    """The search from one end: best-first by peak, depth first among equals.

    Args:
        direction: how steps move from here.

    Attributes:
        peak: no order has a lower one.
    """

    def __init__(self, direction: Direction) -> None:
        self.peak = 0
        self._direction = direction
        self._successors = [tuple(bits(mask)) for mask in direction.unlocks]
        ready = sum(1 << at for at, needs in enumerate(direction.needs) if needs == 0)
        self._stack = [(0, direction.start, ready)]
        self._came: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
        self._blocked: list[_Blocked] = []

    def order(self) -> tuple[int, ...]:
        """The order that was found, as run."""
        moved: list[int] = []
        state = self._direction.everything
        while state:
            state, steps = self._came[state]
            moved += reversed(steps)
        return self._direction.executed(moved[::-1])

    def raise_to(self, peak: int) -> None:
        """Allow a peak that is known to be needed."""
        self.peak = max(self.peak, peak)
        while self._blocked and self._blocked[0].usage <= self.peak:
            move = heapq.heappop(self._blocked)
            _, live = self._direction.move(move.state, move.live, move.step)
            self._push(move.state, move.ready, (move.step,), live)

    def advance(self, states: int, known: int) -> bool:
        """Expand some states; whether all steps have moved, at a peak below the known one."""
        for _ in range(states):
            while not self._stack:
                if not self._blocked or self._blocked[0].usage >= known:
                    self.peak = known
                    return False
                self.raise_to(self._blocked[0].usage)
            state, live, ready = self._stack.pop()
            if state == self._direction.everything:
                return True
            if state in self._direction.forced:
                self._stack.clear()
                self._blocked.clear()
            self._expand(state, live, ready, known)
        return False

    def _expand(self, state: int, live: int, ready: int, known: int) -> None:
        """Enter what follows a state: one successor where that loses nothing, else all."""
        options = []
        for step in bits(ready):
            usage, after = self._direction.move(state, live, step)
            if usage <= self.peak and after <= live and self._harmless(state, step):
                self._push(state, ready, (step,), after)
                return
            options.append((after, usage, step))
        for _, usage, step in options:
            if usage <= self.peak and self._follow(state, live, ready, step):
                return
        options.sort(reverse=True)
        for after, usage, step in options:
            if usage <= self.peak:
                self._push(state, ready, (step,), after)
            elif usage < known:
                moved = -state.bit_count()
                heapq.heappush(self._blocked, _Blocked(usage, moved, state, live, ready, step))

    def _follow(self, state: int, live: int, ready: int, step: int) -> bool:
        """Go down the chain that a step begins, if it ends with no more live bytes than now.

        Live bytes are a submodular function of the state. So where no part of a chain leaves less
        than its end, and its end no more than its start, any order can be changed to begin with
        the chain without needing more anywhere (the argument of Liu, 1987, for trees).
        """
        direction = self._direction
        chain: list[int] = []
        after, now, enabled = live, state, [step]
        while len(enabled) == 1:
            (step,) = enabled
            usage, after = direction.move(now, after, step)
            if usage > self.peak or not self._harmless(state, step):
                return False
            chain.append(step)
            now |= 1 << step
            if after <= live:
                self._push(state, ready, chain, after)
                return True
            enabled = [w for w in self._successors[step] if direction.needs[w] & ~now == 0]
        return False

    def _harmless(self, state: int, step: int) -> bool:
        """Whether moving the step now takes no step that is left its chance to overwrite."""
        return self._direction.harms[step] & ~state == 0

    def _push(self, state: int, ready: int, steps: Sequence[int], live: int) -> None:
        """Enter the state after some steps, unless it was reached before."""
        after = state
        for step in steps:
            after |= 1 << step
        if after in self._came:
            return
        self._came[after] = (state, tuple(steps))
        now = state
        for step in steps:
            now |= 1 << step
            ready &= ~(1 << step)
            for waiting in self._successors[step]:
                if self._direction.needs[waiting] & ~now == 0:
                    ready |= 1 << waiting
        self._stack.append((after, live, ready))
