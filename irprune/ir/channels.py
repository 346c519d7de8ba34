"""Channel ids: which indices of which axes live and die together.

Every index of every axis of every value has an id. Operators say which ids they tie, which they
freeze and which axes are products of others; ``passes.analysis.channels`` draws the conclusions.
Zeroing the elements of a removed index everywhere must be the same as leaving them out: what an
operator makes of zeros otherwise (a mean, a softmax) freezes the axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from irprune.ir.types import Array, Shape

Axes = tuple[Array, ...]
"""Of each axis of a value, the ids of its indices."""

Kept = tuple[Array, ...]
"""Of each axis of a value, whether each of its indices stays: arrays of bool."""


_BLOCK = 2**16
"""Ids are made so many at once, of which each axis gets a piece: that is faster."""


@dataclass(frozen=True, eq=False)
class Product:
    """An axis whose index counts through those of several others, the last one fastest.

    Attributes:
        whole: its ids, as many as the product of the parts' sizes.
        parts: the ids of the others.
        node: the name of the node that reshapes.
    """

    whole: Array
    parts: Axes
    node: str


class Ties:
    """Collects what the operators of one graph say about channel ids.

    Attributes:
        node: the name of the node that is speaking; reasons begin with it.
        size: how many ids there are.
        whole: arrays of new ids, by identity.
        same: pairs of those, tied index by index.
        pairs: other pairs of arrays of ids, tied element by element.
        frozen: arrays of ids that stay, each with the reason.
        products: axes that are products of others.
    """

    def __init__(self) -> None:
        self.node = ""
        self.size = 0
        self.whole: dict[int, Array] = {}
        self.same: list[tuple[Array, Array]] = []
        self.pairs: list[tuple[Array, Array]] = []
        self.frozen: list[tuple[Array, str]] = []
        self.products: list[Product] = []
        self._start = self._end = 0
        self._block = np.arange(0)

    def fresh(self, size: int) -> Array:
        """(size,) new ids."""
        if self.size + size > self._end:
            self._start, self._end = self.size, self.size + max(size, _BLOCK)
            self._block = np.arange(self._start, self._end)
        ids = self._block[self.size - self._start : self.size - self._start + size]
        self.size += size
        self.whole[id(ids)] = ids
        return ids

    def tie(self, a: Array, b: Array) -> None:
        """Let ids live and die together, element by element; the arrays broadcast."""
        if a is b:
            return
        both = id(a) in self.whole and id(b) in self.whole and len(a) == len(b)
        (self.same if both else self.pairs).append((a, b))

    def freeze(self, ids: Array, why: str) -> None:
        """Let these ids stay: a clause whose subject is the node says why."""
        self.frozen.append((ids, f"{self.node} {why}" if self.node else why))

    def fixed(self, size: int, why: str) -> Array:
        """(size,) new ids that stay."""
        ids = self.fresh(size)
        self.freeze(ids, why)
        return ids

    def broadcast(self, operands: Sequence[Axes]) -> Axes:
        """The axes of an element-wise result, with numpy's broadcasting."""
        rank = max(map(len, operands))
        aligned = ([axes[a] for axes in operands if len(axes) >= -a] for a in range(-rank, 0))
        return tuple(map(self._joined, aligned))

    def _joined(self, axes: Sequence[Array]) -> Array:
        """One axis of operands that are aligned there; those of size 1 are repeated."""
        size = max(map(len, axes))
        first, *others = [axis for axis in axes if len(axis) == size]
        for other in others:
            self.tie(first, other)
        return first

    def reshaped(self, operand: Axes, shape: Shape) -> Axes:
        """The axes of the same elements, in the same order, in another shape."""
        before = tuple(map(len, operand))
        if before == shape:
            return operand
        if 0 in shape:
            return tuple(self.fixed(size, "has no elements") for size in shape)
        steps = sorted(_ends(before) | _ends(shape))
        factors = [b // a for a, b in pairwise([1, *steps])]
        if any(b % a for a, b in pairwise(steps)):
            for ids in operand:
                self.freeze(ids, "reshapes across it")
            return tuple(self.fixed(size, "reshapes across it") for size in shape)
        # Which factors each axis is made of; an axis of size 1 is made of none.
        ours, theirs = _spans(before, steps), _spans(shape, steps)
        parts: list[Array] = [np.empty(0, np.int64)] * len(factors)
        for axis, span in zip(operand, ours, strict=True):
            if len(span) == 1:
                parts[span[0]] = axis
            elif span:
                for i in span:
                    parts[i] = self.fresh(factors[i])
                self._product(axis, [parts[i] for i in span])
        return tuple(self._made_of([parts[i] for i in span]) for span in theirs)

    def _made_of(self, parts: Sequence[Array]) -> Array:
        if not parts:
            return self.fixed(1, "has one index here")
        if len(parts) == 1:
            return parts[0]
        whole = self.fresh(math.prod(map(len, parts)))
        self._product(whole, parts)
        return whole

    def _product(self, whole: Array, parts: Sequence[Array]) -> None:
        self.products.append(Product(whole, tuple(parts), self.node))


def _ends(shape: Shape) -> set[int]:
    """How many elements the leading axes of a shape span, for each number of them."""
    return {math.prod(shape[: i + 1]) for i in range(len(shape))} - {1}


def _spans(shape: Shape, steps: Sequence[int]) -> list[range]:
    """The positions in ``steps`` that each axis of a shape spans."""
    at = {step: i + 1 for i, step in enumerate(steps)} | {1: 0}
    ends = [at[math.prod(shape[:i])] for i in range(len(shape) + 1)]
    return [range(a, b) for a, b in pairwise(ends)]


def kept_shape(kept: Kept) -> Shape:
    """The shape that is left."""
    return tuple(int(axis.sum()) for axis in kept)
