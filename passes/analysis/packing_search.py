"""Exact search for a packing of blocks within a capacity.

A branch and bound in the manner of MiniMalloc (Moffitt, ASPLOS 2023). Only canonical packings are
looked for, those in which no block can be moved down, so that what is placed ends at some height
in each section of time and all that is not placed lies above: a skyline. Three things differ from
the paper. A node of the search is one section at the bottom of a valley of the skyline, its
branches are the blocks that can stand there, and nothing; there are few of them, and one only
where every byte of the section is needed. The section with the fewest branches comes first, the
more so the more dead ends it has caused. And an attempt ends after some nodes, to be repeated with
other preferences: good and bad luck differ by orders of magnitude.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import Enum

ABSENT = 1 << 62
"""Stands for the height of what is not there: above everything."""

LEAST_BRANCHES = 0.01
"""Less than one branch more, so that weights decide only among sections with a choice."""


class Failure(Enum):
    """Why an attempt has placed nothing."""

    REFUTED = "no packing keeps within the capacity"
    GAVE_UP = "the attempt came to its end"


class Sections:
    """Blocks over sections of time, each of which is a largest set of blocks in memory at once.

    Attributes:
        spans: for each block, the sections in which it lives.
        sizes: bytes of each block; none is empty.
        live: for each section, the blocks that live in it.
        neighbours: for each block, the others that live while it does.
    """

    def __init__(self, lifetimes: Sequence[tuple[int, int]], sizes: Sequence[int]) -> None:
        starts = _section_starts(lifetimes)
        self.sizes = tuple(sizes)
        self.spans = tuple(
            range(bisect_left(starts, first), bisect_left(starts, last))
            for first, last in lifetimes
        )
        self.live: list[list[int]] = [[] for _ in starts]
        begins: list[list[int]] = [[] for _ in starts]
        for block, span in enumerate(self.spans):
            for section in span:
                self.live[section].append(block)
            for section in span[:1]:
                begins[section].append(block)
        self.neighbours = tuple(
            sorted(
                {
                    *(other for section in span[:1] for other in self.live[section]),
                    *(other for section in span[1:] for other in begins[section]),
                }
                - {block}
            )
            for block, span in enumerate(self.spans)
        )

    def totals(self) -> list[int]:
        """The bytes that live in each section."""
        return [sum(self.sizes[block] for block in live) for live in self.live]


def place(
    sections: Sections,
    capacity: int,
    preference: Sequence[float],
    *,
    nodes: int,
    deadline: float,
) -> tuple[int, ...] | Failure:
    """The offset of each block in a packing within the capacity, or why there is none.

    Args:
        sections: the blocks, at least one.
        capacity: in bytes, no less than live at one moment.
        preference: for each block, how early to try it where it competes with others.
        nodes: how many nodes to look at before giving up.
        deadline: when to give up, on the clock of ``time.monotonic``.
    """
    attempt = _Attempt(sections, capacity, preference)
    stack = [attempt.branches(_Skyline(sections))]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
            continue
        if not child.missing:
            return tuple(attempt.offsets)
        if nodes == 0 or time.monotonic() > deadline:
            return Failure.GAVE_UP
        nodes -= 1
        stack.append(attempt.branches(child))
    return Failure.REFUTED


class _Skyline:
    """A partial packing.

    Attributes:
        missing: how many blocks are not placed.
        tops: for each section, where its highest block ends.
        floors: for each section, how low a block that is not placed may start in it.
        heights: for each block that is not placed, how low it may start.
        rest: for each section, the bytes of its blocks that are not placed.
    """

    __slots__ = ("floors", "heights", "missing", "rest", "tops")

    def __init__(self, sections: Sections) -> None:
        self.missing = len(sections.sizes)
        self.tops = [0] * len(sections.live)
        self.floors = [0] * len(sections.live)
        self.heights = [0] * len(sections.sizes)
        self.rest = sections.totals()

    def copy(self) -> _Skyline:
        """The same skyline, to go on from in another way."""
        other = _Skyline.__new__(_Skyline)
        other.missing = self.missing
        other.tops = self.tops[:]
        other.floors = self.floors[:]
        other.heights = self.heights[:]
        other.rest = self.rest[:]
        return other


class _Attempt:
    """One depth-first search; ``offsets`` holds those of the blocks placed on the way."""

    def __init__(self, sections: Sections, capacity: int, preference: Sequence[float]) -> None:
        self._sections = sections
        self._capacity = capacity
        self._preference = preference
        self._dead_ends = [1] * len(sections.live)
        self.offsets = [0] * len(sections.sizes)

    def branches(self, skyline: _Skyline) -> Iterator[_Skyline]:
        """The skylines that one more decision leads to; the last is the same object, changed."""
        section, candidates = self._choose(skyline)
        floor = skyline.floors[section]
        candidates.sort(key=self._preference.__getitem__, reverse=True)
        alike: set[tuple[range, int]] = set()
        closable = floor + skyline.rest[section] < self._capacity
        for at, block in enumerate(candidates):
            kind = self._sections.spans[block], self._sections.sizes[block]
            if kind in alike:
                continue
            alike.add(kind)
            last = not closable and at == len(candidates) - 1
            child = skyline if last else skyline.copy()
            self.offsets[block] = floor
            if self._stand(child, block):
                yield child
        if closable and self._leave_empty(skyline, section):
            yield skyline

    def _choose(self, skyline: _Skyline) -> tuple[int, list[int]]:
        """A section at the bottom of a valley, and the blocks that can stand there."""
        best: tuple[int, list[int]] | None = None
        least = float(ABSENT)
        heights = skyline.heights
        for valley in _valleys(skyline):
            floor = skyline.floors[valley.start]
            for section in valley:
                blocks = [b for b in self._sections.live[section] if heights[b] == floor]
                spare = floor + skyline.rest[section] < self._capacity
                if len(blocks) + spare == 1:
                    return section, blocks
                rank = (len(blocks) + spare - 1 + LEAST_BRANCHES) / self._dead_ends[section]
                if rank < least:
                    least, best = rank, (section, blocks)
        assert best is not None  # the lowest section of a skyline that lacks blocks is in a valley
        return best

    def _stand(self, skyline: _Skyline, block: int) -> bool:
        """Place a block as low as it may start; False at a dead end."""
        span, size = self._sections.spans[block], self._sections.sizes[block]
        end = skyline.heights[block] + size
        skyline.heights[block] = ABSENT
        skyline.missing -= 1
        for section in span:
            skyline.rest[section] -= size
            skyline.tops[section] = skyline.floors[section] = end
            if end + skyline.rest[section] > self._capacity:
                return self._dead_end(section)
        changed = {*span}
        self._lift(skyline, self._sections.neighbours[block], end, changed)
        return self._settle(skyline, changed)

    def _leave_empty(self, skyline: _Skyline, section: int) -> bool:
        """Let no block start at a section's floor; False at a dead end.

        The lowest block there then stands on one that is not placed and lives beside the section.
        """
        sections, heights, floor = self._sections, skyline.heights, skyline.floors[section]
        higher = ABSENT
        for block in sections.live[section]:
            if floor < heights[block]:
                higher = min(higher, heights[block])
                continue
            for other in sections.neighbours[block]:
                if heights[other] != ABSENT and section not in sections.spans[other]:
                    higher = min(higher, heights[other] + sections.sizes[other])
        if higher + skyline.rest[section] > self._capacity:
            return self._dead_end(section)
        skyline.floors[section] = higher
        changed: set[int] = set()
        self._lift(skyline, sections.live[section], higher, changed)
        return self._settle(skyline, changed) and self._canonical(skyline, section)

    def _lift(
        self, skyline: _Skyline, blocks: Sequence[int], height: int, changed: set[int]
    ) -> None:
        """Let blocks start no lower than a height; adds the sections where that may matter."""
        heights = skyline.heights
        for block in blocks:
            if heights[block] < height:
                heights[block] = height
                changed.update(self._sections.spans[block])

    def _settle(self, skyline: _Skyline, changed: set[int]) -> bool:
        """Draw the conclusions from changed heights; False at a dead end."""
        heights, live = skyline.heights, self._sections.live
        while changed:
            section = changed.pop()
            if not skyline.rest[section]:
                continue
            lowest = min([heights[block] for block in live[section]])
            if lowest > skyline.floors[section]:
                if lowest + skyline.rest[section] > self._capacity:
                    return self._dead_end(section)
                skyline.floors[section] = lowest
                self._lift(skyline, live[section], lowest, changed)
        return True

    def _canonical(self, skyline: _Skyline, section: int) -> bool:
        """Whether no block of the section has room below all that may come."""
        for block in self._sections.live[section]:
            span, size = self._sections.spans[block], self._sections.sizes[block]
            if skyline.heights[block] != ABSENT:
                top = max(skyline.tops[span.start : span.stop])
                if top + size <= min(skyline.floors[span.start : span.stop]):
                    return False
        return True

    def _dead_end(self, section: int) -> bool:
        self._dead_ends[section] += 1
        return False


def _valleys(skyline: _Skyline) -> Iterator[range]:
    """The runs of sections of one floor between higher ones; full sections are highest."""
    floors = [
        floor if rest else ABSENT for floor, rest in zip(skyline.floors, skyline.rest, strict=True)
    ]
    start, before = 0, ABSENT
    for section, floor in enumerate(floors):
        if section and floor != floors[section - 1]:
            start, before = section, floors[section - 1]
        after = floors[section + 1] if section + 1 < len(floors) else ABSENT
        if floor < before and floor < after:
            yield range(start, section + 1)


def _section_starts(lifetimes: Sequence[tuple[int, int]]) -> list[int]:
    """The last start before each end: where a set of blocks in memory grows no more."""
    starts = {first for first, _ in lifetimes}
    ends = {last for _, last in lifetimes}
    found: list[int] = []
    latest: int | None = None
    for moment in sorted(starts | ends):
        if moment in ends and latest is not None:
            found.append(latest)
            latest = None
        if moment in starts:
            latest = moment
    return found
