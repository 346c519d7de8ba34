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
