"""Blocks of memory with lifetimes, packed into as few bytes as possible.

Two blocks that live at one moment must not overlap. The problem is known as dynamic storage
allocation, or as packing rectangles whose horizontal place is fixed.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from irprune.ir.types import Bytes
from irprune.passes.analysis.packing_search import ABSENT, Failure, Sections, place

NODES = 500
"""Of the shortest attempt of the search; the others are multiples."""

NOISE = 0.3
"""How far attempts vary what they prefer, relative to that."""

SEED = 0
"""Of the noise."""


@dataclass(frozen=True, slots=True)
class Block:
    """Memory that is needed for some time.

    Attributes:
        first: the first step at which it is needed.
        last: the step after the last one, so ``last`` itself is EXCLUSIVE; greater than ``first``.
        size: bytes; 0 is fine.
    """

    first: int
    last: int
    size: Bytes

    def __post_init__(self) -> None:
        if self.first >= self.last or self.size < 0:
            raise ValueError(f"no block: {self}")


@dataclass(frozen=True, slots=True)
class Packing:
    """A place for each block.

    Attributes:
        offsets: bytes below each block.
        size: where the highest block ends.
        lower_bound: bytes that every packing needs: no less than live at one moment.
    """

    offsets: tuple[Bytes, ...]
    size: Bytes
    lower_bound: Bytes

    @property
    def proven(self) -> bool:
        """Whether no packing is smaller."""
        return self.size == self.lower_bound


def pack(blocks: Sequence[Block], *, goal: int = 0, time_limit: float = 10.0) -> Packing:
    """The smallest packing that is found in time.

    Fast heuristics come first. Where none of them reaches the largest sum of sizes at one moment,
    an exact search goes on. The same blocks give the same packing, unless time runs out.

    Args:
        blocks: what to place.
        goal: a size that is good enough to stop at.
        time_limit: in seconds, after which the best packing so far is returned.
    """
    deadline = time.monotonic() + time_limit
    solid = [at for at, block in enumerate(blocks) if block.size]
    # Where no block can be moved down, every offset is a sum of sizes, and so a multiple of this.
    unit = math.gcd(*(blocks[at].size for at in solid)) or 1
    best = _Incumbent(_sections([blocks[at] for at in solid], unit), deadline)
    best.improve(goal // unit, deadline)
    offsets = [Bytes(0)] * len(blocks)
    for at, offset in zip(solid, best.offsets, strict=True):
        offsets[at] = Bytes(offset * unit)
    return Packing(tuple(offsets), Bytes(best.size * unit), Bytes(best.lower_bound * unit))


def greedy_by_size(blocks: Sequence[Block]) -> tuple[Bytes, ...]:
    """The offsets that a greedy planner gives, as TFLite-Micro's own is (greedy_memory_planner.cc).

    The largest block first, blocks of one size in the order given (there: the last first); each in
    the lowest gap between the blocks already placed that live while it does.
    """
    sections = _sections(blocks)
    return tuple(map(Bytes, _greedy(sections, sections.sizes, _lowest)))


class _Incumbent:
    """The best packing and the best bound so far, of blocks that are not empty."""

    def __init__(self, sections: Sections, deadline: float) -> None:
        self._sections = sections
        sizes, lengths = sections.sizes, [len(span) for span in sections.spans]
        areas = [size * length for size, length in zip(sizes, lengths, strict=True)]
        self._keys: tuple[Sequence[int], ...] = (lengths, areas, sizes)
        self.lower_bound = max(sections.totals(), default=0)
        self.offsets: tuple[int, ...] = ()
        self.size = sum(sizes) + 1
        for gap in (_lowest, _tightest):
            for key in (sizes, areas, lengths):
                is_first = not self.offsets
                if is_first or (self.size > self.lower_bound and time.monotonic() < deadline):
                    self._keep(_greedy(sections, key, gap))

    def improve(self, goal: int, deadline: float) -> None:
        """Search until no packing is smaller, or the goal or the deadline is reached.

        Attempts at the least size that is not refuted alternate with attempts at a size between
        that and the best known, nearer to the latter after each failure.
        """
        between = least = max(self.lower_bound, goal)
        for turn, (nodes, preference) in enumerate(self._attempts()):
            if self.size <= least or time.monotonic() > deadline:
                return
            capacity = (between + self.size) // 2 if turn % 2 else least
            found = place(self._sections, capacity, preference, nodes=nodes, deadline=deadline)
            match found:
                case Failure.GAVE_UP:
                    between = capacity if between < capacity else least
                case Failure.REFUTED:
                    self.lower_bound = capacity + 1
                    between = least = max(self.lower_bound, goal)
                case offsets:
                    self._keep(offsets)
                    between = least

    def _attempts(self) -> Iterator[tuple[int, list[float]]]:
        """How many nodes to look at, and what to prefer, in each attempt; every one comes twice."""
        generator = random.Random(SEED)
        for turn in itertools.count():
            noise = NOISE if turn >= len(self._keys) else 0.0
            key = self._keys[turn % len(self._keys)]
            preference = [value * generator.uniform(1 - noise, 1 + noise) for value in key]
            yield from itertools.repeat((NODES * _luby(turn + 1), preference), 2)

    def _keep(self, offsets: tuple[int, ...]) -> None:
        ends = (o + size for o, size in zip(offsets, self._sections.sizes, strict=True))
        size = max(ends, default=0)
        if size < self.size:
            self.offsets, self.size = offsets, size


Gap = Callable[[list[tuple[int, int]], int], int]
"""Where to put a block of a size, given where the others begin and end, in order of offsets."""


def _greedy(sections: Sections, key: Sequence[int], gap: Gap) -> tuple[int, ...]:
    """Offsets of the blocks placed one by one, the greatest key first."""
    placed: dict[int, int] = {}
    for block in sorted(range(len(key)), key=lambda b: -key[b]):
        others = [n for n in sections.neighbours[block] if n in placed]
        taken = sorted((placed[n], placed[n] + sections.sizes[n]) for n in others)
        placed[block] = gap(taken, sections.sizes[block])
    return tuple(placed[block] for block in range(len(key)))


def _lowest(taken: list[tuple[int, int]], size: int) -> int:
    return next(start for start, end in _gaps(taken) if start + size <= end)


def _tightest(taken: list[tuple[int, int]], size: int) -> int:
    return min((end - start, start) for start, end in _gaps(taken) if start + size <= end)[1]


def _gaps(taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where the free bytes begin and end; the last have no end."""
    free = 0
    for start, end in taken:
        yield free, start
        free = max(free, end)
    yield free, ABSENT


def _sections(blocks: Sequence[Block], unit: int = 1) -> Sections:
    lifetimes = [(block.first, block.last) for block in blocks]
    return Sections(lifetimes, [block.size // unit for block in blocks])


def _luby(turn: int) -> int:
    """The sequence 1, 1, 2, 1, 1, 2, 4, ... of Luby et al. (1993), which suits any luck; from 1."""
    length = turn.bit_length()
    return 1 << (length - 1) if turn == (1 << length) - 1 else _luby(turn - (1 << (length - 1)) + 1)
