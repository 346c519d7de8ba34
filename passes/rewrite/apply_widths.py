"""A graph without the channels that a plan leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from irprune.ir.channels import Kept, kept_shape
from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.plan import Plan, fingerprint
from irprune.ir.types import Array, TensorType
from irprune.ir.verify import verify
from irprune.passes.analysis.channels import Group, channels
from irprune.passes.rewrite.drop_dead import drop_dead


def apply_widths(graph: Graph, plan: Plan) -> Graph:
    """The graph that is left when the channels that a plan does not keep are removed.

    Every slice of every parameter that goes with them is gone, and what nobody reads any more;
    names stay. It computes what the graph computes with those channels held at zero.

    Args:
        graph: the graph that the plan is for.
        plan: the channels that stay; groups that it does not name stay whole.

    Raises:
        InvalidPlan: the plan is for another graph, names what is no group or is frozen, has indices
            that are out of range or repeated, parts channels that are tied, or leaves a layer with
            none.
    """
    kept = kept_channels(graph, plan)
    if all(axis.all() for axes in kept.values() for axis in axes):
        return graph
    live = drop_dead(graph)
    moved = {value: _cut(value, axes) for value, axes in kept.items()}
    nodes = tuple(
        Node(
            node.op.cut([kept[v] for v in node.inputs], [kept[v] for v in node.outputs]),
            tuple(moved[v] for v in node.inputs),
            tuple(moved[v] for v in node.outputs),
            node.name,
            node.source,
        )
        for node in live.nodes
    )
    constants = {moved[v]: _sliced(array, kept[v]) for v, array in live.constants.items()}
    outputs = tuple(moved[v] for v in graph.outputs)
    after = Graph(graph.name, graph.inputs, outputs, nodes, constants)
    verify(after)
    return after


def kept_channels(graph: Graph, plan: Plan) -> Mapping[Value, Kept]:
    """Of each value that reaches an output, for each axis, which indices stay.

    Raises:
        InvalidPlan: as ``apply_widths`` does.
    """
    found = channels(graph)
    stays = np.ones(found.units, bool)
    stays[list(removed_units(graph, plan))] = False
    by_array: dict[int, Array] = {}
    kept = {}
    for value, axes in found.axes.items():
        for units in axes:
            if id(units) not in by_array:
                by_array[id(units)] = stays[units]
        kept[value] = tuple(by_array[id(units)] for units in axes)
    return kept


def removed_units(graph: Graph, plan: Plan) -> Iterable[int]:
    """The units (of ``channels(graph)``) that a plan removes.

    Raises:
        InvalidPlan: as ``apply_widths`` does.
    """
    if plan.graph != fingerprint(graph):
        raise InvalidPlan(
            "is for another graph", where="plan", hint="make it from the model it is applied to"
        )
    groups = {group.name: group for group in channels(graph).groups}
    for name, indices in plan.kept.items():
        if name not in groups:
            raise InvalidPlan(f"there is no channel group '{name}'", where="plan", hint=_HINT)
        try:
            yield from _removed(groups[name], indices)
        except InvalidPlan as error:
            raise error.at(f"plan: channel group '{name}'") from None


_HINT = "see irprune groups"


def _removed(group: Group, indices: tuple[int, ...]) -> Iterable[int]:
    """The units of a group that go when these of its indices stay."""
    own = group.indices
    strange = sorted(set(indices) - set(own.ravel().tolist()))
    if strange:
        raise InvalidPlan(
            f"has no channel {strange[0]}", hint=f"its channels lie in {own.min()} to {own.max()}"
        )
    if len(set(indices)) < len(indices):
        twice = next(i for i in indices if indices.count(i) > 1)
        raise InvalidPlan(f"names channel {twice} twice")
    kept = np.isin(own, indices)
    whole = kept.all(1)
    for at in np.flatnonzero(kept.any(1) & ~whole)[:1]:
        tied = ", ".join(map(str, own[at].tolist()))
        raise InvalidPlan(f"parts channels {tied}, which are tied", hint="keep all of them or none")
    if group.frozen and not whole.all():
        raise InvalidPlan(f"cannot lose channels: {group.frozen}")
    if not whole.any():
        made = ", ".join(group.layers) or group.name
        raise InvalidPlan(f"would have no channels left (made by {made})", hint="keep at least one")
    return map(int, group.units[~whole])


def _cut(value: Value, kept: Kept) -> Value:
    if all(axis.all() for axis in kept):
        return value
    t = value.type
    quant = t.quant and t.quant.kept(kept)
    return Value(value.name, TensorType(kept_shape(kept), t.dtype, quant))


def _sliced(array: Array, kept: Kept) -> Array:
    for axis, stays in enumerate(kept):
        if stays.all():
            continue
        if array.strides[axis] == 0:  # one element stands for all, and still does
            array = array[(slice(None),) * axis + (slice(int(stays.sum())),)]
        else:
            array = np.compress(stays, array, axis)
    return array
