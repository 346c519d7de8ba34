"""Channel groups: which channels of a graph can be removed, and what goes with each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from irprune.ir.analysis import analysis
from irprune.ir.channels import Axes, Ties
from irprune.ir.graph import Graph, Node, Value, producers
from irprune.ir.types import Array
from irprune.passes.analysis.units import Units, settled
from irprune.passes.rewrite.drop_dead import drop_dead

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
        units: how many units there are.
    """

    axes: Mapping[Value, Axes]
    groups: tuple[Group, ...]
    units: int

    @property
    def free(self) -> tuple[Group, ...]:
        """The groups that may be removed from."""
        return tuple(group for group in self.groups if not group.frozen)


@analysis
def channels(graph: Graph) -> Channels:
    """The channel groups of a graph: the mask-tying algebra of docs/design.md §5."""
    ties, axes = _spoken(graph)
    found = settled(ties, (ids for value in axes.values() for ids in value))
    units: dict[int, Axes] = {}  # operators give on what they get: many values have the same axes
    for ids_ in axes.values():
        if id(ids_) not in units:
            units[id(ids_)] = tuple(map(found.of, ids_))
    numbered = {value: units[id(ids_)] for value, ids_ in axes.items()}
    return Channels(numbered, _described(graph, numbered, _drafts(numbered, found)), found.count)


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


@dataclass(frozen=True, eq=False)
class _Occurrence:
    """Places that have the same ids: which units, and how often each."""

    places: tuple[Place, ...]
    units: Array
    times: Array

    @staticmethod
    def of(places: Sequence[Place], ids: Array) -> _Occurrence:
        if np.all(ids[1:] > ids[:-1]):  # as nearly always
            return _Occurrence(tuple(places), ids, np.ones_like(ids))
        if np.all(ids == ids[0]):  # as height and width
            return _Occurrence(tuple(places), ids[:1], np.array([len(ids)]))
        return _Occurrence(tuple(places), *np.unique(ids, return_counts=True))

    def parts(self, label: Array) -> list[tuple[int, int, Array]]:
        """By label and by how often they occur: both, and these units."""
        labels, times = label[self.units], self.times
        if len(labels) and np.all(labels == labels[0]) and np.all(times == times[0]):
            return [(int(labels[0]), int(times[0]), self.units)]
        pairs, which = np.unique(np.stack([labels, times]), axis=1, return_inverse=True)
        return [(*map(int, pair), self.units[which.ravel() == i]) for i, pair in enumerate(pairs.T)]


@dataclass(frozen=True, eq=False)
class _Draft:
    """Units that occur in the same places.

    Attributes:
        units: their numbers.
        places: every value and axis, with how many indices each unit has there, in the order of
            the graph.
        why: why they stay; empty where they need not.
    """

    units: Array
    places: dict[Place, int]
    why: str


def _drafts(axes: Mapping[Value, Axes], found: Units) -> list[_Draft]:
    """Units by the places where they occur, as often there, and by what freezes them."""
    places: dict[int, tuple[Array, list[Place]]] = {}
    for value, units_ in axes.items():
        for axis, units in enumerate(units_):
            places.setdefault(id(units), (units, []))[1].append((value, axis))
    drafts = [
        _Draft(units, dict.fromkeys(where, 1), found.texts[found.reason[units[0]]])
        for key, (units, where) in places.items()
        if key in found.alone
    ]
    occurrences = [
        _Occurrence.of(w, units) for k, (units, w) in places.items() if k not in found.alone
    ]
    label, count = found.reason.copy(), len(found.texts)
    for occurrence in occurrences:
        # Of a class, what occurs here is one of its own, and so is what does so more often.
        for _, _, units in occurrence.parts(label):
            label[units] = count
            count += 1
    by_label: dict[int, _Draft] = {}
    for occurrence in occurrences:
        for key, times, units in occurrence.parts(label):
            if key not in by_label:
                by_label[key] = _Draft(units, {}, found.texts[found.reason[units[0]]])
            by_label[key].places.update(dict.fromkeys(occurrence.places, times))
    when = {value: i for i, value in enumerate(axes)}
    for draft in by_label.values():
        places_ = sorted(draft.places.items(), key=lambda item: (when[item[0][0]], item[0][1]))
        drafts.append(replace(draft, places=dict(places_)))
    return drafts


def _described(
    graph: Graph, axes: Mapping[Value, Axes], drafts: Sequence[_Draft]
) -> tuple[Group, ...]:
    """A group for each draft that has weights or may be removed from, in the graph's order."""
    when = {value: i for i, value in enumerate(axes)}
    groups = []
    for draft in drafts:
        why = draft.why or (
            "nothing would be left without its only unit" if len(draft.units) == 1 else ""
        )
        if why and len({value in graph.constants for value, _ in draft.places}) < 2:
            continue  # height, width and the like; or a window's
        places = draft.places
        layers = _layers(graph, places)
        if why and not layers and all(v.type.shape[a] == 1 for v, a in places):
            continue  # what is broadcast
        value, axis = _leader(graph, places, layers)
        units, indices = _indices(axes[value][axis], draft.units)
        name = _name(graph, value, axis, np.sort(indices.ravel()))
        groups.append(Group(name, units, (value, axis), indices, places, layers, why))
    groups.sort(key=lambda g: (when[g.place[0]], g.place[1], int(g.indices[0, 0])))
    return _named_apart(groups)


def _leader(graph: Graph, places: Iterable[Place], layers: Sequence[str]) -> Place:
    """Where channels are counted: at what the first layer makes, or else at what is made first."""
    makers = producers(graph)
    made: Place | None = None
    for place in places:
        maker = makers.get(place[0])
        if maker is not None and maker.name in layers:
            return place
        made = made or (place if maker is not None else None)
    return made or next(iter(places))


def _name(graph: Graph, value: Value, axis: int, at: Array) -> str:
    """The name of the node that makes the value, with the range of its channels if not all."""
    node = producers(graph).get(value)
    name = value.name if node is None or len(node.outputs) > 1 else node.name
    return name if len(at) == value.type.shape[axis] else f"{name}[{_range(at)}]"


def _layers(graph: Graph, places: Mapping[Place, int]) -> tuple[str, ...]:
    """The nodes that make these channels with weights of their own."""
    values = {value for value, _ in places}
    weights = values & graph.constants.keys()
    nodes = {
        node
        for value in weights
        for node in _linear_readers(graph).get(value, ())
        if not values.isdisjoint(node.outputs)
    }
    return tuple(node.name for node in sorted(nodes, key=_positions(graph).__getitem__))


@analysis
def _linear_readers(graph: Graph) -> Mapping[Value, Sequence[Node]]:
    """Of each constant the nodes that multiply by it, or add it to what they have multiplied."""
    found: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs if node.op.linear else ():
            if value in graph.constants:
                found.setdefault(value, []).append(node)
    return found


@analysis
def _positions(graph: Graph) -> Mapping[Node, int]:
    """Of each node its place in the order."""
    return {node: i for i, node in enumerate(graph.nodes)}


def _named_apart(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups, each under a name of its own: the first keeps the one it has, others a number."""
    taken = {group.name for group in groups}
    names: dict[Group, str] = {}
    used: set[str] = set()
    for group in sorted(groups, key=lambda group: bool(group.frozen)):  # free ones come first
        name, count = group.name, 0
        while name in used or (count and name in taken):
            count += 1
            name = f"{group.name}:{count}"
        names[group] = name
        used.add(name)
    return tuple(
        group if names[group] == group.name else replace(group, name=names[group])
        for group in groups
    )


def _indices(axis: Array, units: Array) -> tuple[Array, Array]:
    """The units in the order in which they first occur on an axis, and the indices of each."""
    if axis is units:
        return units, np.arange(len(axis))[:, None]
    at = np.flatnonzero(np.isin(axis, units))
    order = np.argsort(axis[at], kind="stable")
    numbers = np.unique(axis[at])
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
