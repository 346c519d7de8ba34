"""Exact search for an order of least peak, from both ends at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from irprune.ir.types import Bytes
from irprune.passes.analysis.ordering.moves import Backward, Direction, Forward, Sized
from irprune.passes.analysis.ordering.structure import bits

TURN = 50
"""States that one end expands before it is the other's turn."""

PATIENCE = 3
"""One trial takes at most this part of the time that is left."""


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        order: an order that is better than the known one; None where there is none, or time ran
            out.
        lower_bound: bytes that every order needs.
    """

    order: tuple[int, ...] | None
    lower_bound: Bytes


def search(sized: Sized, known: Bytes, bound: Bytes, deadline: float) -> Found:
    """An order of least peak, if that is below a known one.

    A trial finds an order within some bytes, or proves that there is none and what is needed at
    least. Trials are just below what is known, so the last of them is the proof; where one takes
    too long, those below it are easier and still raise the bound.

    Args:
        sized: steps and sizes.
        known: the peak of the best order known.
        bound: bytes that every order needs.
        deadline: when to stop, on the clock of ``time.monotonic``.
    """
    order = None
    hard: Bytes | None = None
    while bound < known and time.monotonic() < deadline:
        allowed = Bytes(known - 1 if hard is None else (bound + hard) // 2)
        trial = _Trial(sized, allowed)
        now = time.monotonic()
        if not trial.run(now + (deadline - now) / PATIENCE):
            if hard == allowed:
                break
            hard = allowed
        elif trial.order is not None:
            order, known = trial.order, sized.peak(trial.order)
        else:
            bound = Bytes(min(trial.needed, known))
    return Found(order, bound)


class _Trial:
    """Whether there is an order within some bytes, looked for from both ends.

    What cannot be passed from one side often ends at once from the other.

    Attributes:
        order: such an order, if one was found.
        needed: bytes that every order needs, if there is none.
    """

    def __init__(self, sized: Sized, allowed: Bytes) -> None:
        self._ends = [_End(Forward(sized), allowed), _End(Backward(sized), allowed)]
        self.order: tuple[int, ...] | None = None
        self.needed = 0

    def run(self, deadline: float) -> bool:
        """Search; whether it came to an end in time."""
        while time.monotonic() < deadline:
            for end in self._ends:
                if end.advance(TURN):
                    self.order, self.needed = end.order(), end.needed
                    return True
        return False


class _End:
    """The search from one end, depth first.

    Args:
        direction: how steps move from here.
        allowed: bytes that may be in memory.

    Attributes:
        needed: the least bytes of all moves that are not allowed.
    """

    def __init__(self, direction: Direction, allowed: int) -> None:
        self._direction = direction
        self._allowed = allowed
        self._successors = [tuple(bits(mask)) for mask in direction.unlocks]
        ready = sum(1 << at for at, needs in enumerate(direction.needs) if needs == 0)
        self._stack = [(0, direction.start, ready)]
        self._came: dict[int, tuple[int, Sequence[int]]] = {0: (0, ())}
        self.needed = direction.most

    def order(self) -> tuple[int, ...] | None:
        """The order that was found, as run; None where there is none."""
        moved: list[int] = []
        state = self._direction.everything
        if state not in self._came:
            return None
        while state:
            state, steps = self._came[state]
            moved += reversed(steps)
        return self._direction.executed(moved[::-1])

    def advance(self, states: int) -> bool:
        """Expand some states; whether all steps have moved, or no state is left."""
        for _ in range(states):
            if not self._stack:
                return True
            state, live, ready = self._stack.pop()
            if state == self._direction.everything:
                return True
            if state in self._direction.forced:
                self._stack.clear()
            self._expand(state, live, ready)
        return False

    def _expand(self, state: int, live: int, ready: int) -> None:
        """Enter what follows a state: one successor where that loses nothing, else all."""
        move, harms, allowed = self._direction.move, self._direction.harms, self._allowed
        options = []
        for step in bits(ready):
            usage, after = move(state, live, step)
            if usage > allowed:
                self.needed = min(self.needed, usage)
                continue
            if harms[step] & ~state == 0:
                if after <= live:
                    self._push(state, ready, (step,), after)
                    return
                if self._follow(state, live, ready, step, after):
                    return
            options.append((after, usage, step))
        for after, _, step in sorted(options, reverse=True):
            self._push(state, ready, (step,), after)

    def _follow(self, state: int, live: int, ready: int, step: int, after: int) -> bool:
        """Go down the chain that a step begins, if it ends with no more live bytes than now.

        Live bytes are a submodular function of the state. So where no part of a chain leaves less
        than its end, and its end no more than its start, any order can be changed to begin with
        the chain without needing more anywhere (the argument of Liu, 1987, for trees).
        """
        direction = self._direction
        chain, now = [step], state | 1 << step
        while after > live:
            enabled = [w for w in self._successors[step] if direction.needs[w] & ~now == 0]
            if len(enabled) != 1:
                return False
            (step,) = enabled
            usage, after = direction.move(now, after, step)
            # Harmless to what has not moved before the chain: more than need be asked.
            if usage > self._allowed or direction.harms[step] & ~state:
                return False
            chain.append(step)
            now |= 1 << step
        self._push(state, ready, chain, after)
        return True

    def _push(self, state: int, ready: int, steps: Sequence[int], live: int) -> None:
        """Enter the state after some steps, unless it was reached before."""
        after = state
        for step in steps:
            after |= 1 << step
        if after in self._came:
            return
        self._came[after] = (state, steps)
        now = state
        for step in steps:
            now |= 1 << step
            ready &= ~(1 << step)
            for waiting in self._successors[step]:
                if self._direction.needs[waiting] & ~now == 0:
                    ready |= 1 << waiting
        self._stack.append((after, live, ready))
