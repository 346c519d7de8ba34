"""Slow, obvious twins of the algorithms, written from their definitions."""

from __future__ import annotations

from irprune.passes.analysis.liveness import MemoryModel


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
