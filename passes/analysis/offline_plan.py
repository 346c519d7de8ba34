"""Where a runtime keeps each tensor of a model file, planned before it runs.

TFLite-Micro takes a plan from the file and follows it blindly: it checks the number of tensors and
nothing else (docs/memory_management.md of tflite-micro, "Offline planned tensor allocations"). So
a plan is checked here, against what the runtime does and not against how the plan was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from irprune.ir.errors import InvalidPlan
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import ALIGNMENT

RUNTIME = -1
"""The offset of a tensor that the runtime is to place."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operator of a file does to the tensors in memory.

    Attributes:
        reads: tensors that it reads; constants are not among them.
        makes: tensors that it makes.
        view: whether what it makes is what it reads first, byte for byte.
        overwrites: whether what it makes may be written over a tensor of its size that it reads.
    """

    reads: tuple[int, ...]
    makes: tuple[int, ...]
    view: bool = False
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeModel:
    """A model file as a runtime sees it: tensors by their index, operators in the file's order.

    Attributes:
        names: of every tensor.
        sizes: bytes of every tensor that is kept in memory; no others.
        inputs: tensors that the caller fills before the first operator.
        outputs: tensors that the caller reads after the last.
        operations: one for each operator.
    """

    names: tuple[str, ...]
    sizes: Mapping[int, Bytes]
    inputs: frozenset[int]
    outputs: frozenset[int]
    operations: tuple[Operation, ...]


class _Placed(NamedTuple):
    """A tensor in memory: steps from ``first`` to ``last``, bytes from ``start`` to ``end``."""

    start: int
    end: int
    first: int
    last: int
    tensor: int


def plan_size(model: RuntimeModel, plan: Sequence[int]) -> Bytes:
    """Bytes that the tensors placed by a plan take, as the runtime counts them."""
    ends = (plan[t] + aligned(size) for t, size in model.sizes.items() if plan[t] != RUNTIME)
    return Bytes(max(ends, default=0))


def aligned(size: int) -> int:
    """A size or offset, rounded up to the runtime's alignment."""
    return -size % ALIGNMENT + size


def fill_plan(
    model: RuntimeModel, offsets: Mapping[int, int], order: Sequence[int]
) -> tuple[int, ...]:
    """A plan for every tensor, from one for most of them.

    What has no offset yet is put, larger tensors first, at the lowest place that is free while
    it lives. Constants get none.

    Args:
        model: the model.
        offsets: bytes from the start of the arena, by tensor.
        order: operators, as they will run.

    Raises:
        InvalidPlan: the offsets do not hold.
    """
    lives = _lifetimes(model, order)
    found = dict(offsets)
    for tensor in sorted(model.sizes.keys() - found.keys(), key=lambda t: (-model.sizes[t], t)):
        found[tensor] = _lowest(tensor, model, found, lives)
    plan = tuple(found.get(t, RUNTIME) for t in range(len(model.names)))
    check_plan(model, plan, order)
    return plan


def check_plan(
    model: RuntimeModel,
    plan: Sequence[int],
    order: Sequence[int] | None = None,
    *,
    size: Bytes | None = None,
) -> None:
    """Raise unless no tensor of the plan is written over while it is needed.

    Tensors may overlap if they never live at once; if one is a view of the other, at the same
    offset; or if an operator writes its output over an operand of the same size that ends there.
    Tensors that the plan leaves to the runtime are not looked at.

    Args:
        model: the model.
        plan: bytes from the start of the arena for each tensor; -1 for what the runtime places
            and for constants.
        order: operators, as they will run; by default the file's order.
        size: bytes of the arena.

    Raises:
        InvalidPlan: the plan is for another model, has a misaligned or negative offset, leaves
            the arena, or lets tensors overlap; it names them.
    """
    if len(plan) != len(model.names):
        raise InvalidPlan(
            f"the plan is for another model: it has {len(plan)} tensors, not {len(model.names)}",
            hint="make it again",
        )
    placed = {tensor: plan[tensor] for tensor in model.sizes if plan[tensor] != RUNTIME}
    for tensor, offset in placed.items():
        _check_offset(model, tensor, offset, size)
    lives = _lifetimes(model, range(len(model.operations)) if order is None else order)
    sharing = _Sharing(model)
    for one, other in _overlaps(_in_memory(model, placed, lives)):
        if not sharing.allows(one, other):
            raise InvalidPlan(
                f"the plan puts tensors '{model.names[one.tensor]}' at {one.start} and "
                f"'{model.names[other.tensor]}' at {other.start}, where they overlap "
                "while both are needed",
                hint="make it again",
            )


def _check_offset(model: RuntimeModel, tensor: int, offset: int, size: Bytes | None) -> None:
    name = model.names[tensor]
    if offset < 0 or offset % ALIGNMENT:
        raise InvalidPlan(
            f"the plan puts tensor '{name}' at {offset}, which is no multiple of {ALIGNMENT}"
        )
    end = offset + aligned(model.sizes[tensor])
    if size is not None and end > size:
        raise InvalidPlan(f"the plan lets tensor '{name}' end at {end}, in an arena of {size}")


def _lifetimes(model: RuntimeModel, order: Sequence[int]) -> dict[int, tuple[int, int]]:
    """The first and the last step at which each tensor is needed; outputs outlast the steps."""
    first = dict.fromkeys(model.inputs, 0)
    last = dict(first)
    for step, at in enumerate(order):
        operation = model.operations[at]
        for tensor in operation.makes:
            first[tensor] = step
        last |= dict.fromkeys((*operation.reads, *operation.makes), step)
    last |= dict.fromkeys(model.outputs, len(model.operations))
    return {tensor: (first[tensor], last[tensor]) for tensor in first}


def _in_memory(
    model: RuntimeModel, placed: Mapping[int, int], lives: Mapping[int, tuple[int, int]]
) -> list[_Placed]:
    """The tensors that are needed at all, from the lowest."""
    return sorted(
        _Placed(offset, offset + model.sizes[tensor], *lives[tensor], tensor)
        for tensor, offset in placed.items()
        if tensor in lives and model.sizes[tensor]
    )


def _overlaps(tensors: Sequence[_Placed]) -> Iterator[tuple[_Placed, _Placed]]:
    """Pairs that share bytes while both are needed."""
    below: list[_Placed] = []
    for tensor in tensors:
        below = [other for other in below if other.end > tensor.start]
        for other in below:
            if other.first <= tensor.last and tensor.first <= other.last:
                yield other, tensor
        below.append(tensor)


def _lowest(
    tensor: int,
    model: RuntimeModel,
    offsets: Mapping[int, int],
    lives: Mapping[int, tuple[int, int]],
) -> int:
    """The lowest offset at which a tensor is in nobody's way while it lives."""
    if tensor not in lives:
        return 0
    start, size = 0, model.sizes[tensor]
    first, last = lives[tensor]
    for other in _in_memory(model, offsets, lives):
        if other.first <= last and first <= other.last and other.end > start:
            if other.start >= start + size:
                break
            start = aligned(other.end)
    return start


class _Sharing:
    """Which tensors may lie at the same place while both are needed."""

    def __init__(self, model: RuntimeModel) -> None:
        self._overwritten: dict[int, tuple[int, ...]] = {}
        self._origin: dict[int, int] = {}
        for operation in model.operations:
            if operation.overwrites:
                self._overwritten |= dict.fromkeys(operation.makes, operation.reads)
            elif operation.view and operation.reads:
                seen = operation.reads[0]
                self._origin |= dict.fromkeys(operation.makes, self._origin.get(seen, seen))

    def allows(self, one: _Placed, other: _Placed) -> bool:
        """Whether two tensors that share bytes while both are needed do no harm."""
        if (one.start, one.end) != (other.start, other.end):
            return False
        views = self._origin.get(one.tensor, one.tensor) == self._origin.get(
            other.tensor, other.tensor
        )
        return views or self._replaces(one, other) or self._replaces(other, one)

    def _replaces(self, after: _Placed, before: _Placed) -> bool:
        """Whether one is written over the other, which nobody needs afterwards."""
        overwritten = self._overwritten.get(after.tensor, ())
        return before.tensor in overwritten and before.last == after.first
