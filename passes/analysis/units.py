"""Classes of channel ids, from what operators say of them (``irprune.ir.channels``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from irprune.ir.channels import Product, Ties
from irprune.ir.types import Array

NEVER = np.iinfo(np.int64).max
"""The number of no reason."""


@dataclass(frozen=True, eq=False)
class Units:
    """Classes of ids that live and die together.

    Attributes:
        count: how many there are.
        reason: (count,), the position in ``texts`` of why each unit stays.
        texts: the reasons; the last is empty, for units that need not stay.
        alone: the identities of arrays, as ``of`` gives them, whose units occur in no other.
    """

    count: int
    reason: Array
    texts: tuple[str, ...]
    alone: frozenset[int]
    _arrays: Mapping[int, Array]

    def of(self, ids: Array) -> Array:
        """The units of the ids of an axis; one array for axes that are the same."""
        return self._arrays[id(ids)]


def settled(ties: Ties, axes: Iterable[Array]) -> Units:
    """The units, from all that operators have said of ids.

    Most axes are only ever tied as a whole. They need no look at their single ids, which are
    numbered for the others alone.

    Args:
        ties: what was said.
        axes: the ids of every axis.
    """
    seen = {id(ids): ids for ids in axes}
    leaders = _leaders(ties)
    parts = [ids for key, ids in seen.items() if key not in ties.whole]
    parts += [ids for ids, _ in ties.frozen if id(ids) not in ties.whole]
    parts += [ids for pair in ties.pairs for ids in pair]
    parts += [ids for product in ties.products for ids in (product.whole, *product.parts)]
    wholes = _Wholes(ties, leaders, parts)
    classes = _Classes(wholes, ties.frozen)
    classes.join(ties.pairs)
    pending = list(ties.products)
    while pending:
        left = [product for product in pending if not _settle(classes, product)]
        if len(left) == len(pending):
            _choose(classes, left[0])
        pending = left
    return _numbered(ties, wholes, classes, seen)


class _Wholes:
    """Arrays of new ids: which are the same, and which have ids that are looked at one by one.

    Attributes:
        leader: of each array, by identity, the one that stands for all that are the same.
        opened: the identities of those leaders whose ids are looked at one by one.
        size: how many ids these are.
    """

    def __init__(self, ties: Ties, leaders: Mapping[int, Array], parts: Sequence[Array]) -> None:
        self.leader = {key: leaders.get(key, ids) for key, ids in ties.whole.items()}
        self._arrays = [ids for ids in ties.whole.values() if len(ids)]
        self._starts = np.array([ids[0] for ids in self._arrays], np.int64)
        touched = np.zeros(len(self._arrays), bool)
        for ids in parts:
            touched[self._array_of(ids)] = True
        opened = {id(self.leader[id(self._arrays[i])]) for i in np.flatnonzero(touched)}
        first: dict[int, int] = {}
        self.size = 0
        for key in opened:
            first[key] = self.size
            self.size += len(ties.whole[key])
        # What to add to an id for its number among those that are looked at.
        self._shift = np.array(
            [first.get(id(self.leader[id(ids)]), 0) - int(ids[0]) for ids in self._arrays], np.int64
        )
        self.opened = opened

    def has(self, ids: Array) -> bool:
        """Whether these ids are looked at one by one."""
        leader = self.leader.get(id(ids))
        return leader is None or id(leader) in self.opened

    def _array_of(self, ids: Array) -> Array:
        return np.searchsorted(self._starts, ids.ravel(), "right") - 1

    def numbers(self, ids: Array) -> Array:
        """The numbers of ids that are looked at one by one, in their shape."""
        return ids + self._shift[self._array_of(ids)].reshape(ids.shape)


def _numbered(ties: Ties, wholes: _Wholes, classes: _Classes, seen: Mapping[int, Array]) -> Units:
    """Units for all ids: one for each of an array that is tied whole, and of each class."""
    unit, reason, texts = classes.numbered()
    why = _reasons_of_wholes(ties, wholes)
    leaders: dict[int, Array] = {}
    for key in seen:
        if (leader := wholes.leader.get(key)) is not None and id(leader) not in wholes.opened:
            leaders[id(leader)] = leader
    sizes = list(map(len, leaders.values()))
    count = len(reason) + sum(sizes)
    ends = accumulate(sizes, initial=len(reason))
    fresh = np.arange(count)
    own = {
        key: fresh[end : end + size] for key, size, end in zip(leaders, sizes, ends, strict=False)
    }
    own |= {key: unit[wholes.numbers(ties.whole[key])] for key in wholes.opened}
    arrays = {
        key: own[id(wholes.leader[key])] if key in ties.whole else unit[wholes.numbers(ids)]
        for key, ids in seen.items()
    }
    whys = np.array([why.get(key, len(texts) - 1) for key in leaders], np.int64)
    reasons = np.repeat(whys, sizes)
    alone = frozenset(id(own[key]) for key, size in zip(leaders, sizes, strict=True) if size)
    return Units(count, np.concatenate([reason, reasons]), texts, alone, arrays)


def _reasons_of_wholes(ties: Ties, wholes: _Wholes) -> dict[int, int]:
    """Of each leading array that is frozen whole the position of the first reason."""
    found: dict[int, int] = {}
    for number, (ids, _) in enumerate(ties.frozen):
        leader = wholes.leader.get(id(ids))
        if leader is not None:
            found.setdefault(id(leader), number)
    return found


def _leaders(ties: Ties) -> dict[int, Array]:
    """Of each axis that is tied whole, by identity, the one that stands for all of its kind."""
    leader: dict[int, int] = {}

    def find(key: int) -> int:
        while key in leader:
            key = leader[key]
        return key

    for a, b in ties.same:
        one, other = find(id(a)), find(id(b))
        if one != other:
            leader[other] = one
    return {key: ties.whole[find(key)] for key in leader}


class _Classes:
    """Classes of the ids that are looked at one by one, and why some of them stay."""

    def __init__(self, wholes: _Wholes, frozen: Sequence[tuple[Array, str]]) -> None:
        self._wholes = wholes
        self._label = np.arange(wholes.size)
        self._why = [why for _, why in frozen]
        self._frozen = np.full(wholes.size, NEVER)  # a position in _why, at each class's label
        looked_at = [(i, ids) for i, (ids, _) in enumerate(frozen) if wholes.has(ids)]
        for number, ids in reversed(looked_at):  # of several reasons the first counts
            self._frozen[wholes.numbers(ids)] = number

    def join(self, pairs: Sequence[tuple[Array, Array]]) -> None:
        """Make one class of those of each pair."""
        both = [np.broadcast_arrays(self.of(a), self.of(b)) for a, b in pairs]
        if both:
            joined = np.concatenate([x.ravel() for x, _ in both])
            self._label = _joined(self._label, joined, np.concatenate([y.ravel() for _, y in both]))
            np.minimum.at(self._frozen, self._label, self._frozen.copy())

    def freeze(self, ids: Array, why: str) -> None:
        """Let the classes of these ids stay; of several reasons the first counts."""
        labels = self.of(ids)
        self._frozen[labels] = np.minimum(self._frozen[labels], len(self._why))
        self._why.append(why)

    def of(self, ids: Array) -> Array:
        """The label of the class of each id."""
        return np.asarray(self._label[self._wholes.numbers(ids)])

    def stays(self, ids: Array) -> Array:
        """Of each id whether its class is frozen."""
        return np.asarray(self._frozen[self.of(ids)] != NEVER)

    def why(self, ids: Array) -> str:
        """The first reason for which one of the ids stays, of which one does."""
        return self._why[int(self._frozen[self.of(ids)].min())]

    def numbered(self) -> tuple[Array, Array, tuple[str, ...]]:
        """Of each number its class; of each class that of its reason; the reasons."""
        first = self._label == np.arange(len(self._label))
        reasons = np.minimum(self._frozen[first], len(self._why))
        return (np.cumsum(first) - 1)[self._label], reasons, (*self._why, "")


def _joined(label: Array, a: Array, b: Array) -> Array:
    """Labels in which those of each pair are the same: the least of their class."""
    label = label.copy()
    while True:
        one, other = label[a], label[b]
        apart = one != other
        if not apart.any():
            return label
        one, other = one[apart], other[apart]
        label[np.maximum(one, other)] = np.minimum(one, other)
        while not np.array_equal(label, jumped := label[label]):
            label = jumped


def _settle(classes: _Classes, product: Product) -> bool:
    """Draw the conclusion if at most one part can have indices removed; whether it was so."""
    whole, parts = product.whole, product.parts
    if classes.stays(whole).all():
        for part in parts:
            classes.freeze(part, classes.why(whole))
        return True
    free = [part for part in range(len(parts)) if not classes.stays(parts[part]).all()]
    if not free:
        classes.freeze(whole, classes.why(np.concatenate(parts)))
    elif len(free) == 1:
        classes.join([(_by_part(product, free[0]), parts[free[0]][:, None])])
    return len(free) < 2


def _by_part(product: Product, part: int) -> Array:
    """(size of the part, rest) ids of the whole, by the index of a part."""
    sizes = [len(ids) for ids in product.parts]
    return np.moveaxis(product.whole.reshape(sizes), part, 0).reshape(sizes[part], -1)


def _choose(classes: _Classes, product: Product) -> None:
    """Of several parts let that one be free which has most units then, or the last of those."""
    free = [part for part, ids in enumerate(product.parts) if not classes.stays(ids).all()]
    chosen = max(free, key=lambda part: (_units(classes, product, part), part))
    for part in free:
        if part != chosen:
            classes.freeze(product.parts[part], f"{product.node} counts through it")


def _units(classes: _Classes, product: Product, part: int) -> int:
    """How many units a part would have, were it the one that is free."""
    rows = np.column_stack([product.parts[part], _by_part(product, part)])
    labels, stays = classes.of(rows), classes.stays(rows)
    label = np.arange(1 + int(labels.max()))
    label = _joined(label, labels.ravel(), np.broadcast_to(labels[:, :1], labels.shape).ravel())
    found, frozen = np.unique(label[labels[:, 0]]), np.unique(label[labels[stays]])
    return len(np.setdiff1d(found, frozen))
