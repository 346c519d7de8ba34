"""Slow, obvious twins of the algorithms, written from their definitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, count

from irprune.passes.analysis.liveness import MemoryModel
from irprune.passes.analysis.packing import Block


def usage_by_definition(model: MemoryModel) -> list[int]:
    """Bytes in memory at each step of the model's own order, every step looked at afresh."""
    overwritten: dict[int, int] = {}
    usage: list[int] = []
    for now in range(len(model.steps)):
        for buffer in model.steps[now].reads:
            if _can_be_overwritten(model, now, buffer) and now not in overwritten.values():
                overwritten[buffer] = now
        held = [
            buffer
            for buffer in range(len(model.sizes))
            if _birth(model, buffer) <= now <= _death(model, buffer)
            and overwritten.get(buffer) != now
        ]
        usage.append(sum(model.sizes[buffer] for buffer in held))
    return usage


def least_peak_by_enumeration(model: MemoryModel) -> int:
    """The least peak of all orders, each of which is run; one is left where it is no better."""
    best = sum(model.sizes) + 1

    def run(done: frozenset[int], live: frozenset[int], peak: int) -> None:
        nonlocal best
        if peak >= best:
            return
        if len(done) == len(model.steps):
            best = peak
            return
        for at, step in enumerate(model.steps):
            if at in done or not done.issuperset(step.after):
                continue
            after = done | {at}
            held = live | {*step.makes}
            dead = {b for b in held if _is_dead(model, after, b)}
            fits = [b for b in dead.intersection(step.reads) if step.overwrites]
            same = [b for b in fits if model.sizes[b] == model.sizes[step.makes[0]]]
            usage = sum(model.sizes[b] for b in held.difference(same[:1]))
            run(after, held - dead, max(peak, usage))

    run(frozenset(), model.inputs, 0)
    return best


def _is_dead(model: MemoryModel, done: frozenset[int], buffer: int) -> bool:
    """Whether nobody will read a buffer any more, nor find it among the outputs."""
    readers = {at for at, step in enumerate(model.steps) if buffer in step.reads}
    return buffer not in model.outputs and readers <= done


def _birth(model: MemoryModel, buffer: int) -> int:
    """The step that makes a buffer; the first for an input."""
    made = (at for at, step in enumerate(model.steps) if buffer in step.makes)
    return 0 if buffer in model.inputs else next(made)


def _death(model: MemoryModel, buffer: int) -> int:
    """The last step at which a buffer is in memory."""
    if buffer in model.outputs:
        return len(model.steps)
    readers = [at for at, step in enumerate(model.steps) if buffer in step.reads]
    return max(readers, default=_birth(model, buffer))


def _can_be_overwritten(model: MemoryModel, now: int, buffer: int) -> bool:
    step = model.steps[now]
    if not step.overwrites or _death(model, buffer) > now:
        return False
    (made,) = step.makes
    return model.sizes[buffer] == model.sizes[made]


def least_packing_by_enumeration(blocks: Sequence[Block]) -> int:
    """The least capacity in which some choice of offsets, of all there are, lets no two meet."""
    in_time = sorted((b for b in blocks if b.size), key=lambda b: (b.first, b.last))
    least = max((bytes_at_once(blocks, b.first) for b in blocks), default=0)
    return next(capacity for capacity in count(least) if _fits(in_time, capacity, []))


def bytes_at_once(blocks: Sequence[Block], now: int) -> int:
    """The sum of the blocks in memory at a step."""
    return sum(b.size for b in blocks if b.first <= now < b.last)


def _fits(blocks: Sequence[Block], capacity: int, offsets: list[int]) -> bool:
    """Whether the offsets of the first blocks can be completed."""
    if len(offsets) == len(blocks):
        return True
    block = blocks[len(offsets)]
    for offset in range(capacity - block.size + 1):
        chosen = [*offsets, offset]
        if not overlaps(blocks, chosen, len(offsets)) and _fits(blocks, capacity, chosen):
            return True
    return False


def overlaps(blocks: Sequence[Block], offsets: Sequence[int], which: int) -> list[int]:
    """The blocks before ``which`` that share with it a byte at some step."""
    one = blocks[which]
    own = range(offsets[which], offsets[which] + one.size)
    return [
        at
        for at, other in enumerate(blocks[:which])
        if _meet(own, range(offsets[at], offsets[at] + other.size))
        and _meet(range(one.first, one.last), range(other.first, other.last))
    ]


def conflicts(model: MemoryModel, offsets: Sequence[int]) -> list[tuple[int, int, int]]:
    """Steps of the model's own order with two buffers of which one would spoil the other.

    Two that are in memory at one step may share bytes only if the step is in place, and writes
    one exactly over the other, which nobody needs afterwards.
    """
    found = []
    for now, step in enumerate(model.steps):
        present = [b for b in range(len(offsets)) if _birth(model, b) <= now <= _death(model, b)]
        for one, other in combinations(present, 2):
            own = range(offsets[one], offsets[one] + model.sizes[one])
            others = range(offsets[other], offsets[other] + model.sizes[other])
            written_over = own == others and (
                (one in step.makes and _can_be_overwritten(model, now, other))
                or (other in step.makes and _can_be_overwritten(model, now, one))
            )
            if _meet(own, others) and not written_over:
                found.append((now, one, other))
    return found


def _meet(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)
