"""How much each channel matters, from the weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import numpy as np

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value, readers
from irprune.ir.ops import BatchNorm
from irprune.ir.ops.quant import as_reals
from irprune.ir.types import Array
from irprune.passes.analysis.channels import Group, Place, channels


class Salience(Enum):
    """What stands for the importance of a channel."""

    BATCHNORM = "batchnorm"
    """The absolute factor of its batch normalization (Liu et al., Network Slimming)."""
    L1 = "l1"
    """The mean absolute weight of the filters that make it."""
    L2 = "l2"
    """The root mean square weight of the filters that make it."""
    RANDOM = "random"
    """A random number: what any other has to be better than."""


class Over(Enum):
    """How several saliences of channels that are tied become one."""

    LARGEST = "max"
    MEAN = "mean"


def saliences(
    graph: Graph, group: Group, kind: Salience, over: Over = Over.LARGEST, seed: int = 0
) -> Array:
    """(width,), the salience of each unit of a group.

    Norms are means over the weights of a filter, so that those of other layers compare.

    Args:
        graph: the graph, as it was read: its batch normalizations are not folded yet.
        group: one of its channel groups.
        kind: what stands for the importance of a channel.
        over: how those of a unit become one: of each of its channels in each layer that makes it.
        seed: of random saliences.

    Raises:
        UsageError: nothing of that kind makes the group's channels.
    """
    if kind is Salience.RANDOM:
        rng = np.random.default_rng([seed, *group.name.encode()])
        return rng.uniform(size=group.width)
    places = list(factors(graph, group) if kind is Salience.BATCHNORM else filters(graph, group))
    if not places:
        raise UsageError(
            f"channel group '{group.name}' has no {_WANTED[kind]}",
            hint="take another salience, or ignore the group",
        )
    rows, found = [], []
    row_of = {unit: row for row, unit in enumerate(group.units.tolist())}
    for value, axis in places:
        each = _norms(as_reals(graph.constants[value], value.type), axis, kind)
        if not np.all(np.isfinite(each)):
            raise UsageError(f"'{value.name}' is not finite, which gives it no salience")
        for unit, salience in zip(
            channels(graph).axes[value][axis].tolist(), each.tolist(), strict=True
        ):
            if unit in row_of:
                rows.append(row_of[unit])
                found.append(salience)
    largest = np.zeros(group.width)
    np.maximum.at(largest, rows, found)
    if over is Over.LARGEST:
        return largest
    return np.bincount(rows, found, group.width) / np.bincount(rows, minlength=group.width)


_WANTED = {
    Salience.BATCHNORM: "batch normalization",
    Salience.L1: "weights",
    Salience.L2: "weights",
}


def factors(graph: Graph, group: Group) -> Iterator[Place]:
    """Where the factors of the batch normalizations of a group are."""
    for node in graph.nodes:
        if isinstance(node.op, BatchNorm):
            place = (node.inputs[1], 0)
            if place in group.places and place[0] in graph.constants:
                yield place


def filters(graph: Graph, group: Group) -> Iterator[Place]:
    """Where the filters of the layers that make a group are, along the first axis that has it.

    Without such layers it is all constants that have the group.
    """
    layers = {node for node in graph.nodes if node.name in group.layers}
    taken: set[Value] = set()
    for value, axis in group.places:
        if value not in graph.constants or value in taken:
            continue
        makes = any(
            node in layers and node.inputs.index(value) != node.op.bias
            for node in readers(graph)[value]
        )
        if makes or not layers:
            taken.add(value)
            yield value, axis


def _norms(array: Array, axis: int, kind: Salience) -> Array:
    """Of each index of an axis, the mean magnitude of what stands there."""
    others = tuple(a for a in range(array.ndim) if a != axis)
    if kind is Salience.L2:
        return np.asarray(np.sqrt(np.square(array).mean(others)))
    return np.asarray(np.abs(array).mean(others))
