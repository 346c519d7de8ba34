"""Channel groups: which channels of a graph can be removed, and what goes with each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from irprune.ir.analysis import analysis
from irprune.ir.channels import Axes, Product, Ties
from irprune.ir.graph import Graph, Value, producers, readers
from irprune.ir.types import Array
from irprune.passes.rewrite.drop_dead import drop_dead

_NEVER = np.iinfo(np.int64).max

Place = tuple[Value, int]
"""A value and one of its axes."""


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that occur in the same places: one width, one mask.

    Attributes:
        name: the layer that makes them; with their range where it makes others too.
        units: (width,), numbers of the units in ``Channels.axes``: what can be removed at once.
        place: where the channels are counted: the first value that has them, and its axis.
        indices: (width, channels of a unit), the indices there of each unit.
        places: every value and axis that has them, with how many indices each unit has there.
        layers: the names of the nodes whose weights make them.
        frozen: why none of them may be removed; empty where they may.
    """

    name: str
    units: Array
    place: Place
    indices: Array
    places: Mapping[Place, int]
    layers: tuple[str, ...]
    frozen: str = ""

    @property
    def width(self) -> int:
        """How many units there are."""
        return len(self.units)


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a graph.

    Attributes:
        axes: of each value and axis, the number of the unit that each index belongs to; of values
            that reach no output there is none.
        groups: those that may be removed and those that are frozen, in the order of the graph.
            What no weights belong to, such as height and width, is in none.
        reasons: (units,), why each unit stays; empty where it need not.
    """

    axes: Mapping[Value, Axes]
    groups: tuple[Group, ...]
    reasons: tuple[str, ...] = field(repr=False)

    @property
    def free(self) -> tuple[Group, ...]:
        """The groups that may be removed from."""
        return tuple(group for group in self.groups if not group.frozen)


@analysis
def channels(graph: Graph) -> Channels:
    """The channel groups of a graph: the mask-tying algebra of docs/design.md §5."""
    ties, axes = _spoken(graph)
    unit, reasons = _settled(ties)
    # One array for many values is looked at once.
    shared = {id(ids): unit[ids] for value in axes.values() for ids in value}
    numbered = {value: tuple(shared[id(ids)] for ids in ids_) for value, ids_ in axes.items()}
    groups = _groups(graph, numbered, reasons)
    return Channels(numbered, groups, reasons)


def _spoken(graph: Graph) -> tuple[Ties, dict[Value, Axes]]:
    """What the operators say, and the ids of every axis."""
    ties = Ties()
    axes = {
        value: tuple(map(ties.fresh, value.type.shape))
        for value in (*graph.inputs, *graph.constants)
    }
    for node in drop_dead(graph).nodes:  # the others tie what need not be
        ties.node = node.name
        shapes = [value.type.shape for value in node.outputs]
        made = node.op.channels(ties, [axes[v] for v in node.inputs], shapes)
        axes.update(zip(node.outputs, made, strict=True))
    ties.node = ""
    for kind, ends in (("input", graph.inputs), ("output", graph.outputs)):
        for value in ends:
            for ids in axes[value]:
                ties.freeze(ids, f"the model's {kind} '{value.name}' has them")
    return ties, axes


class _Classes:
    """Classes of ids that are tied, and why some of them stay."""

    def __init__(self, size: int) -> None:
        self._label = np.arange(size)
        self._why: list[str] = []
        self._frozen = np.full(size, _NEVER)  # a position in _why, at each class's label

    def join(self, pairs: Sequence[tuple[Array, Array]]) -> None:
        """Make one class of those of each pair."""
        both = [np.broadcast_arrays(a, b) for a, b in pairs]
        if not both:
            return
        a = np.concatenate([x.ravel() for x, _ in both])
        b = np.concatenate([y.ravel() for _, y in both])
        before, label = self._label, self._label.copy()
        while True:
            one, other = label[a], label[b]
            apart = one != other
            if not apart.any():
                break
            one, other = one[apart], other[apart]
            label[np.maximum(one, other)] = np.minimum(one, other)
            while not np.array_equal(label, jumped := label[label]):
                label = jumped
        moved = np.flatnonzero((before == np.arange(len(label))) & (label != before))
        np.minimum.at(self._frozen, label[moved], self._frozen[moved])
        self._label = label

    def freeze(self, ids: Array, why: str) -> None:
        """Let the classes of these ids stay; of several reasons the first counts."""
        labels = self._label[ids]
        self._frozen[labels] = np.minimum(self._frozen[labels], len(self._why))
        self._why.append(why)

    def of(self, ids: Array) -> Array:
        """The label of the class of each id."""
        return np.asarray(self._label[ids])

    def stays(self, ids: Array) -> Array:
        """Of each id whether its class is frozen."""
        return np.asarray(self._frozen[self._label[ids]] != _NEVER)

    def why(self, ids: Array) -> str:
        """The first reason for which one of the ids stays, of which one does."""
        return self._why[int(self._frozen[self._label[ids]].min())]

    def numbered(self) -> tuple[Array, tuple[str, ...]]:
        """Of each id the number of its class, and of each class why it stays."""
        labels, number = np.unique(self._label, return_inverse=True)
        reasons = self._frozen[labels].tolist()
        return number, tuple("" if i == _NEVER else self._why[i] for i in reasons)


def _settled(ties: Ties) -> tuple[Array, tuple[str, ...]]:
    """Of each id the number of its unit, and of each unit why it stays."""
    classes = _Classes(ties.size)
    for ids, why in ties.frozen:
        classes.freeze(ids, why)
    classes.join(ties.pairs)
    pending = list(ties.products)
    while pending:
        left = [product for product in pending if not _settle(classes, product)]
        if len(left) == len(pending):
            _choose(classes, left[0])
        pending = left
    return classes.numbered()


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
    own = _Classes(1 + int(rows.max()))
    labels = classes.of(rows)
    own.join([(labels, labels[:, :1])])
    stay = np.zeros(1 + int(rows.max()), bool)
    stay[own.of(labels)[classes.stays(rows)]] = True
    found = np.unique(own.of(labels[:, 0]))
    return int((~stay[found]).sum())


@dataclass(frozen=True, eq=False)
class _Occurrence:
    """Places that have the same ids: which units, and how often each."""

    places: tuple[Place, ...]
    units: Array
    times: Array


def _groups(graph: Graph, axes: Mapping[Value, Axes], reasons: Sequence[str]) -> tuple[Group, ...]:
    """Units by the places where they occur, as often there, and by what freezes them."""
    places: dict[int, tuple[Array, list[Place]]] = {}
    for value, ids_ in axes.items():
        for axis, ids in enumerate(ids_):
            places.setdefault(id(ids), (ids, []))[1].append((value, axis))
    kinds = {why: i for i, why in enumerate(dict.fromkeys(reasons))}
    label = np.array([kinds[why] for why in reasons], np.int64)
    count = len(kinds)
    occurrences = []
    for ids, where in places.values():
        units, times = np.unique(ids, return_counts=True)
        occurrences.append(_Occurrence(tuple(where), units, times))
        # Of a class, what occurs here is one of its own, and so is what does so more often.
        pairs, fresh = np.unique(np.stack([label[units], times]), axis=1, return_inverse=True)
        label[units] = count + fresh.ravel()
        count += pairs.shape[1]
    return _described(graph, axes, reasons, label, occurrences)


def _described(
    graph: Graph,
    axes: Mapping[Value, Axes],
    reasons: Sequence[str],
    label: Array,
    occurrences: Sequence[_Occurrence],
) -> tuple[Group, ...]:
    """A group for each label that has weights or may be removed from, in the order of the graph."""
    found: dict[int, dict[Place, int]] = {}
    for occurrence in occurrences:
        labels, first = np.unique(label[occurrence.units], return_index=True)
        for key, times in zip(labels.tolist(), occurrence.times[first].tolist(), strict=True):
            found.setdefault(key, {}).update(dict.fromkeys(occurrence.places, times))
    when = {value: i for i, value in enumerate(axes)}
    groups = []
    for key, unordered in found.items():
        places = dict(sorted(unordered.items(), key=lambda item: (when[item[0][0]], item[0][1])))
        layers = _layers(graph, places)
        value, axis = _leader(graph, places, layers)
        at = np.flatnonzero(label[axes[value][axis]] == key)
        why = reasons[int(axes[value][axis][at[0]])]
        units, indices = _by_unit(axes[value][axis][at], at)
        if not why and len(units) == 1:
            why = "nothing would be left without its only unit"
        if why and not _has_weights(graph, places, layers):
            continue  # height, width and the like
        name = _name(graph, value, axis, at)
        groups.append(Group(name, units, (value, axis), indices, places, layers, why))
    groups.sort(key=lambda g: (when[g.place[0]], g.place[1], int(g.indices[0, 0])))
    return _named_apart(groups)


def _leader(graph: Graph, places: Iterable[Place], layers: Sequence[str]) -> Place:
    """Where channels are counted: at what the first layer makes, or else at what is made first."""
    makers = producers(graph)
    made = [place for place in places if place[0] in makers]
    by_layers = (place for place in made if makers[place[0]].name in layers)
    return next(by_layers, made[0] if made else next(iter(places)))


def _has_weights(graph: Graph, places: Mapping[Place, int], layers: Sequence[str]) -> bool:
    """Whether slices of parameters belong to the indices; a window's own are none."""
    kinds = {value in graph.constants for value, _ in places}
    single = all(value.type.shape[axis] == 1 for value, axis in places)
    return len(kinds) == 2 and (bool(layers) or not single)


def _name(graph: Graph, value: Value, axis: int, at: Array) -> str:
    """The name of the node that makes the value, with the range of its channels if not all."""
    node = producers(graph).get(value)
    name = value.name if node is None or len(node.outputs) > 1 else node.name
    return name if len(at) == value.type.shape[axis] else f"{name}[{_range(at)}]"


def _layers(graph: Graph, places: Mapping[Place, int]) -> tuple[str, ...]:
    """The nodes that make these channels with weights of their own."""
    values = {value for value, _ in places}
    weights = [value for value in values if value in graph.constants]
    nodes = {
        node
        for value in weights
        for node in readers(graph)[value]
        if node.op.linear and not values.isdisjoint(node.outputs)
    }
    return tuple(node.name for node in graph.nodes if node in nodes)


def _named_apart(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups, each under a name of its own: the first keeps the one it has, others a number."""
    taken = {group.name for group in groups}
    names: dict[Group, str] = {}
    for group in sorted(groups, key=lambda group: bool(group.frozen)):  # free ones come first
        name, count = group.name, 0
        while name in names.values() or (count and name in taken):
            count += 1
            name = f"{group.name}:{count}"
        names[group] = name
    return tuple(replace(group, name=names[group]) for group in groups)


def _by_unit(units: Array, at: Array) -> tuple[Array, Array]:
    """The units that stand at some indices, and the indices of each, in the order of the first."""
    order = np.argsort(units, kind="stable")
    numbers = np.unique(units)
    indices = at[order].reshape(len(numbers), -1)
    first = np.argsort(indices[:, 0])
    return numbers[first], indices[first]


def _range(at: Array) -> str:
    """Sorted indices as people write them."""
    steps = set(np.diff(at).tolist())
    if len(steps) > 1:
        return ",".join(map(str, at.tolist()))
    step = steps.pop() if steps else 1
    return f"{at[0]}:{at[-1] + 1}" + (f":{step}" if step > 1 else "")
