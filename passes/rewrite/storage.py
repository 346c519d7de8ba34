"""The order of a tensor's elements in memory, where it is not that of the tensor's axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from irprune.ir.types import Array, Shape


@dataclass(frozen=True)
class Storage:
    """A permutation of parts of axes: equal for two tensors whose elements lie alike.

    Views and transposes move nothing: they change what the parts belong to, not where they lie.

    Attributes:
        axes: the sizes of the parts of each axis, outermost first; parts of size 1 are left out,
            and parts that lie together are one.
        order: the parts, counted through all axes, as they lie in memory.
    """

    axes: tuple[Shape, ...]
    order: tuple[int, ...]

    @staticmethod
    def of(shape: Shape, order: Sequence[int] | None = None) -> Storage:
        """Axes one after another in this order; in their own where there is none."""
        parts = [(size,) if size != 1 else () for size in shape]
        numbers = _numbered(parts)
        chosen = [part for axis in order or range(len(shape)) for part in numbers[axis]]
        return _normal(parts, chosen)

    @property
    def shape(self) -> Shape:
        """The tensor's shape."""
        return tuple(math.prod(parts) for parts in self.axes)

    @property
    def sizes(self) -> Shape:
        """The size of each part."""
        return tuple(size for parts in self.axes for size in parts)

    def viewed(self, shape: Shape) -> Storage | None:
        """The same memory under another shape; None where an axis would have a torn part."""
        bounds, wanted = _bounds(self.sizes), _bounds(shape)
        cuts = sorted({*bounds, *wanted}, reverse=True)
        if 0 in cuts or any(outer % inner for outer, inner in pairwise(cuts)):
            return None
        pieces = [outer // inner for outer, inner in pairwise(cuts)]
        within = [range(cuts.index(a), cuts.index(b)) for a, b in pairwise(bounds)]
        axes = [tuple(pieces[cuts.index(a) : cuts.index(b)]) for a, b in pairwise(wanted)]
        return _normal(axes, [piece for part in self.order for piece in within[part]])

    def permuted(self, perm: Sequence[int]) -> Storage:
        """The same memory with the tensor's axes in another order."""
        numbers = _numbered(self.axes)
        moved = [part for axis in perm for part in numbers[axis]]
        return _normal([self.axes[axis] for axis in perm], [moved.index(p) for p in self.order])

    def with_last(self, size: int) -> Storage:
        """The memory of a tensor whose last axis, which lies last, is one of another size."""
        kept = len(self.sizes) - len(self.axes[-1])
        order = [part for part in self.order if part < kept]
        last: Shape = (size,) if size != 1 else ()
        return _normal([*self.axes[:-1], last], [*order, *range(kept, kept + len(last))])

    def axis_orders(self) -> Iterator[tuple[int, ...]]:
        """The orders of whole axes that this memory can be seen as; several where sizes are 1."""
        if any(len(parts) > 1 for parts in self.axes):
            return
        owner = [axis for axis, parts in enumerate(self.axes) for _ in parts]
        yield from _merged(
            [owner[part] for part in self.order],
            [axis for axis, parts in enumerate(self.axes) if not parts],
        )

    def lies_last(self, axis: int) -> bool:
        """Whether the parts of an axis, in whatever order, lie behind all others."""
        parts = set(_numbered(self.axes)[axis])
        return parts == set(self.order[len(self.order) - len(parts) :])

    def without_order_of(self, axis: int) -> Storage:
        """The storage with the parts of an axis in their own order at the places they take."""
        parts = sorted(_numbered(self.axes)[axis])
        following = iter(parts)
        return _normal(self.axes, [next(following) if p in parts else p for p in self.order])

    def index(self, axis: int) -> Array:
        """Where, in the axis, each element is that lies there: the order that parts of it have."""
        numbers = np.arange(math.prod(self.axes[axis])).reshape(self.axes[axis])
        return np.ascontiguousarray(numbers.transpose(self.lying(axis))).ravel()

    def lying(self, axis: int) -> list[int]:
        """The parts of an axis, counted in it, as they lie."""
        parts = _numbered(self.axes)[axis]
        return [part - parts.start for part in self.order if part in parts]

    def grid(self) -> tuple[Shape, tuple[int, ...]]:
        """A shape of the memory, and the permutation of it that puts axes in their own order.

        Parts that move together are one dimension.
        """
        places = [self.order.index(part) for part in range(len(self.order))]
        runs: list[list[int]] = []
        for place in places:
            if runs and runs[-1][-1] + 1 == place:
                runs[-1].append(place)
            else:
                runs.append([place])
        lying = sorted(runs)
        shape = tuple(math.prod(self.sizes[self.order[p]] for p in run) for run in lying)
        return shape, tuple(lying.index(run) for run in runs)


def _numbered(axes: Sequence[Sequence[int]]) -> list[range]:
    """The numbers of each axis's parts."""
    ends = np.cumsum([len(parts) for parts in axes]).tolist()
    return [range(end - len(parts), end) for end, parts in zip(ends, axes, strict=True)]


def _bounds(sizes: Sequence[int]) -> list[int]:
    """How many elements there are behind each bound between sizes, from all to one."""
    return [math.prod(sizes[i:]) for i in range(len(sizes) + 1)]


def _normal(axes: Sequence[Sequence[int]], order: Sequence[int]) -> Storage:
    """The storage with parts of an axis joined where they lie together in order."""
    places = {part: place for place, part in enumerate(order)}
    joined: list[list[int]] = []
    number: dict[int, int] = {}
    count = 0
    for parts, sizes in zip(_numbered(axes), axes, strict=True):
        whole: list[int] = []
        for part, size in zip(parts, sizes, strict=True):
            if whole and places[part - 1] + 1 == places[part]:
                whole[-1] *= size
            else:
                whole.append(size)
                number[part] = count
                count += 1
        joined.append(whole)
    kept = tuple(number[part] for part in order if part in number)
    return Storage(tuple(map(tuple, joined)), kept)


def _merged(fixed: Sequence[int], free: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every sequence of all that has the fixed ones in order; the free ones go anywhere."""
    if not fixed and not free:
        yield ()
        return
    for axis in sorted([*fixed[:1], *free]):
        if fixed and axis == fixed[0]:
            rest = _merged(fixed[1:], free)
        else:
            rest = _merged(fixed, [other for other in free if other != axis])
        yield from ((axis, *others) for others in rest)
