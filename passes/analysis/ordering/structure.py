"""What of a memory model does not depend on sizes: which steps come first, who reads what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from irprune.ir.types import Array
from irprune.passes.analysis.liveness import MemoryModel, Step


@dataclass(frozen=True, slots=True)
class Readers:
    """A buffer that a step reads, and the mask of the other steps that read it."""

    buffer: int
    others: int


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """The steps of a memory model as bit masks: bit i stands for step i.

    Attributes:
        steps: the steps.
        inputs: buffers of graph inputs.
        outputs: buffers of graph outputs.
        before: for each step, the mask of the steps that make its operands.
        after: for each step, the mask of the steps whose operands it makes.
        frees: for each step, the buffers that die once it and their other readers have run.
        keeps: for each step, the buffers it makes that outlive it.
        overwrites: for each step, the buffers that its output may be written over in some order.
        disturbs: for each step, the mask of those that may overwrite a buffer that it reads.
        unread: graph inputs that nobody reads; they live one step.
        surely_live: (steps, buffers), where a buffer is in memory in every order.
        forced: masks of executed steps through which every order goes.
    """

    steps: tuple[Step, ...]
    inputs: frozenset[int]
    outputs: frozenset[int]
    before: tuple[int, ...]
    after: tuple[int, ...]
    frees: tuple[tuple[Readers, ...], ...]
    keeps: tuple[tuple[int, ...], ...]
    overwrites: tuple[tuple[Readers, ...], ...]
    disturbs: tuple[int, ...]
    unread: tuple[int, ...]
    surely_live: Array
    forced: frozenset[int]


def structure_of(model: MemoryModel) -> Structure:
    """The structure of a memory model; the sizes are not looked at."""
    steps, outputs = model.steps, model.outputs
    before = tuple(_mask(step.after) for step in steps)
    after = _transposed(before)
    ancestors = _closed(before, range(len(steps)))
    descendants = _closed(after, reversed(range(len(steps))))
    readers = [0] * len(model.sizes)
    for at, step in enumerate(steps):
        for buffer in step.reads:
            readers[buffer] |= 1 << at
    frees = tuple(
        tuple(Readers(b, readers[b] & ~(1 << at)) for b in step.reads if b not in outputs)
        for at, step in enumerate(steps)
    )
    overwrites = tuple(
        tuple(r for r in frees[at] if step.overwrites and r.others & descendants[at] == 0)
        for at, step in enumerate(steps)
    )
    return Structure(
        steps=steps,
        inputs=model.inputs,
        outputs=outputs,
        before=before,
        after=after,
        frees=frees,
        keeps=tuple(tuple(b for b in s.makes if readers[b] or b in outputs) for s in steps),
        overwrites=overwrites,
        disturbs=_disturbances(steps, frees),
        unread=tuple(b for b in sorted(model.inputs) if not readers[b] and b not in outputs),
        surely_live=_surely_live(model, readers, ancestors, descendants),
        forced=_forced(ancestors, descendants),
    )


def bits(mask: int) -> Iterator[int]:
    """The positions of the set bits, from the lowest."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _mask(positions: tuple[int, ...]) -> int:
    return sum(1 << at for at in positions)


def _transposed(before: tuple[int, ...]) -> tuple[int, ...]:
    after = [0] * len(before)
    for at, mask in enumerate(before):
        for earlier in bits(mask):
            after[earlier] |= 1 << at
    return tuple(after)


def _closed(direct: tuple[int, ...], positions: range | Iterator[int]) -> list[int]:
    """What is reached through the direct relation; positions come after what they relate to."""
    reached = [0] * len(direct)
    for at in positions:
        for other in bits(direct[at]):
            reached[at] |= reached[other] | 1 << other
    return reached


def _disturbances(
    steps: tuple[Step, ...], frees: tuple[tuple[Readers, ...], ...]
) -> tuple[int, ...]:
    in_place = sum(1 << at for at, step in enumerate(steps) if step.overwrites)
    masks = []
    for readers in frees:
        mask = 0
        for r in readers:
            mask |= r.others & in_place
        masks.append(mask)
    return tuple(masks)


def _surely_live(
    model: MemoryModel, readers: list[int], ancestors: list[int], descendants: list[int]
) -> Array:
    """A buffer is surely in memory at a step after its maker and before, or at, a reader."""
    count = len(model.steps)
    everywhere = (1 << count) - 1
    masks = [everywhere if b in model.inputs else 0 for b in range(len(model.sizes))]
    for at, step in enumerate(model.steps):
        for buffer in step.makes:
            masks[buffer] = descendants[at]
    for buffer, mask in enumerate(masks):
        if buffer not in model.outputs:
            until = readers[buffer]
            for at in bits(readers[buffer]):
                until |= ancestors[at]
            masks[buffer] = mask & until
    table = np.zeros((count, len(model.sizes)), bool)
    for buffer, mask in enumerate(masks):
        table[list(bits(mask)), buffer] = True
    for at, step in enumerate(model.steps):
        table[at, list(step.makes)] = True
    return table


def _forced(ancestors: list[int], descendants: list[int]) -> frozenset[int]:
    """What has run before a step that all others either must precede or must follow."""
    count = len(ancestors)
    return frozenset(
        earlier
        for earlier, later in zip(ancestors, descendants, strict=True)
        if earlier.bit_count() + later.bit_count() + 1 == count
    )
