"""What running a step, or taking one back, does to the bytes in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from irprune.ir.types import Bytes
from irprune.passes.analysis.ordering.structure import Structure


class Effect(NamedTuple):
    """What a step does to memory.

    Attributes:
        made: bytes of its outputs.
        kept: bytes of those that outlive it.
        frees: (other readers, bytes) of each buffer that may die with it.
        overwrites: the other readers of each buffer that its output may be written over.
    """

    made: int
    kept: int
    frees: tuple[tuple[int, int], ...]
    overwrites: tuple[int, ...]


class Sized:
    """A structure with the sizes of its buffers.

    Attributes:
        structure: the structure.
        steps: what each step does to memory.
        unread: bytes of inputs that nobody reads, in memory at the first step only.
        start: bytes in memory before the first step, without those.
        end: bytes in memory after the last step.
        lower_bound: bytes that every order needs.
    """

    def __init__(self, structure: Structure, sizes: Sequence[int]) -> None:
        self.structure = structure
        self.steps = [_effect(structure, at, sizes) for at in range(len(structure.steps))]
        self.unread = sum(sizes[b] for b in structure.unread)
        self.start = sum(sizes[b] for b in structure.inputs) - self.unread
        self.end = sum(sizes[b] for b in structure.outputs)
        self.lower_bound = self._lower_bound(sizes)

    def _lower_bound(self, sizes: Sequence[int]) -> Bytes:
        """The most that is surely in memory at one step, however it may overwrite."""
        start = Bytes(self.start + self.unread)
        if not self.steps:
            return start
        surely = self.structure.surely_live @ np.asarray(sizes, np.int64)
        for at, effect in enumerate(self.steps):
            if effect.overwrites:
                surely[at] -= effect.made
        return max(Bytes(int(surely.max())), start)

    def peak(self, order: Sequence[int]) -> Bytes:
        """The peak of an order, which must run each step once, after what makes its operands."""
        forward = Forward(self)
        state, live, peak = 0, self.start, self.start + self.unread
        for step in order:
            usage, live = forward.move(state, live, step)
            state |= 1 << step
            peak = max(peak, usage)
        return Bytes(peak)


def _effect(structure: Structure, at: int, sizes: Sequence[int]) -> Effect:
    made = sum(sizes[b] for b in structure.steps[at].makes)
    return Effect(
        made=made,
        kept=sum(sizes[b] for b in structure.keeps[at]),
        frees=tuple((r.others, sizes[r.buffer]) for r in structure.frees[at]),
        overwrites=tuple(r.others for r in structure.overwrites[at] if sizes[r.buffer] == made),
    )


class Direction(ABC):
    """A way through all sets of executed steps, one step at a time.

    A state is the mask of the steps that were moved so far. Bytes that are live between steps
    depend on the state alone, not on the way to it, since a buffer that was written over is dead
    thereafter in any case.

    Attributes:
        needs: for each step, the mask of steps that must have moved before it.
        unlocks: for each step, the mask of steps that wait for it.
        start: live bytes where nothing has moved.
        harms: for each step, the mask of steps that may lose by its moving before them.
        forced: states through which every way goes.
        most: bytes that no order needs more of.
    """

    needs: Sequence[int]
    unlocks: Sequence[int]
    start: int
    harms: Sequence[int]
    forced: frozenset[int]

    def __init__(self, sized: Sized) -> None:
        self.everything = (1 << len(sized.steps)) - 1
        self._steps = sized.steps
        self._unread = sized.unread
        self.most = sized.start + sized.unread + sum(effect.made for effect in sized.steps)

    @abstractmethod
    def move(self, state: int, live: int, step: int) -> tuple[int, int]:
        """Bytes in memory while the step runs, and those live on the other side of it."""

    @abstractmethod
    def executed(self, moved: Sequence[int]) -> tuple[int, ...]:
        """Steps in the order in which they run, from that in which they moved."""


class Forward(Direction):
    """From the first step to the last."""

    def __init__(self, sized: Sized) -> None:
        super().__init__(sized)
        structure = sized.structure
        self.needs, self.unlocks = structure.before, structure.after
        self.start = sized.start
        self.harms = (0,) * len(self.needs)
        self.forced = structure.forced

    def move(self, state: int, live: int, step: int) -> tuple[int, int]:
        """See Direction."""
        made, kept, frees, overwrites = self._steps[step]
        waiting = ~state
        usage = live + made
        if state == 0:
            usage += self._unread
        for others in overwrites:
            if others & waiting == 0:
                usage -= made
                break
        live += kept
        for others, size in frees:
            if others & waiting == 0:
                live -= size
        return usage, live

    def executed(self, moved: Sequence[int]) -> tuple[int, ...]:
        """See Direction."""
        return tuple(moved)


class Backward(Direction):
    """From the last step to the first: a state holds the steps that run last."""

    def __init__(self, sized: Sized) -> None:
        super().__init__(sized)
        structure = sized.structure
        self.needs, self.unlocks = structure.after, structure.before
        self.start = sized.end
        self.harms = structure.disturbs
        if sized.unread:  # the step that runs first needs more, whichever it is
            self.harms = tuple(
                self.everything & ~(1 << at) if before == 0 else harmed
                for at, (before, harmed) in enumerate(
                    zip(structure.before, structure.disturbs, strict=True)
                )
            )
        self.forced = frozenset(self.everything ^ state for state in structure.forced)

    def move(self, state: int, live: int, step: int) -> tuple[int, int]:
        """See Direction."""
        made, kept, frees, overwrites = self._steps[step]
        live -= kept
        for others, size in frees:
            if others & state == 0:
                live += size
        usage = live + made
        if state | 1 << step == self.everything:
            usage += self._unread
        for others in overwrites:
            if others & state == 0:
                usage -= made
                break
        return usage, live

    def executed(self, moved: Sequence[int]) -> tuple[int, ...]:
        """See Direction."""
        return tuple(reversed(moved))
