"""Masks over the channels of a module in training, which compute what removal would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from irprune.frontends.torch_export import Traced
from irprune.ir.channels import Ties
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node
from irprune.ir.ops.recurrent import Recurrent
from irprune.passes.analysis.channels import Channels, Place, channels
from irprune.passes.analysis.salience import factors, filters
from irprune.passes.rewrite.drop_dead import drop_dead
from irprune.training.parameters import Parameters
from irprune.training.replay import trace_without_hooks
from irprune.training.substitution import ParameterPlace, Substitution


@dataclass(frozen=True)
class _Gated:
    """A parameter that is multiplied by masks.

    Attributes:
        place: where it is.
        rank: how many axes it has.
        axes: of each masked axis the positions in the mask of its indices; past its end stays.
    """

    place: ParameterPlace
    rank: int
    axes: tuple[tuple[int, Tensor], ...]

    def factor(self, mask: Tensor) -> Tensor:
        """What the parameter is multiplied by, for a mask with a 1 at its end."""
        factor = mask.new_ones([1] * self.rank)
        for axis, slots in self.axes:
            factor = factor * mask[slots].reshape(
                [-1 if a == axis else 1 for a in range(self.rank)]
            )
        return factor


class Gates:
    """Holds channels of a module at zero wherever they are read.

    In the forward pass parameters are multiplied by masks, where they read a channel: so layers
    and normalizations that make it go on as they were, and it can come back. The module's own
    parameters, their names and its state stay as they are.

    Args:
        module: the module; its groups are those of the graph that torch.export makes of it.
        example_inputs: the arguments of its ``forward``.

    Attributes:
        graph: the module's graph.
        channels: its channels.
        first: of each free group the position of its first unit in the mask.
        mask: (units of free groups,), 1 for what stays and 0 for what is held at zero.

    Raises:
        UsageError: no channels can be removed, or parameters are used in a way that masks cannot
            follow.
    """

    def __init__(self, module: nn.Module, example_inputs: tuple[object, ...]) -> None:
        traced = trace_without_hooks(module, example_inputs)
        self.graph = traced.graph
        self.channels = channels(traced.graph)
        sizes = [group.width for group in self.channels.free]
        if not sizes:
            raise UsageError("has no channels that can be removed", where=type(module).__name__)
        self.first = np.cumsum([0, *sizes])[:-1].tolist()
        self.mask = torch.ones(sum(sizes))
        places = _Slots(module, traced, self.channels, sum(sizes))
        self._gated = places.gated()
        self._sources = places.sources()
        self._factors: list[Tensor | None] = []
        self._soft: Tensor | None = None
        self._substitution = Substitution(module, self._masked)
        self.set(self.mask)

    def saliences(self) -> Tensor:
        """(units,), how much each unit matters now: the largest of its channels (section 3.3).

        A channel's salience is the absolute factor of its batch normalization, or else the L2 norm
        of the weights that make it.
        """
        found = torch.zeros(len(self.mask) + 1)
        for parameter, axis, slots in self._sources:
            weights = parameter.detach().to(found).movedim(axis, 0).reshape(len(slots), -1)
            found.scatter_reduce_(0, slots, torch.linalg.vector_norm(weights, dim=1), "amax")
        return found[:-1]

    def set(self, mask: Tensor) -> None:
        """Hold at zero what the mask does not keep."""
        self.mask = mask.detach().clone()
        full = torch.cat([self.mask, self.mask.new_ones(1)])
        self._factors = [None] * len(self._gated)
        for i, gated in enumerate(self._gated):
            factor = gated.factor(full).to(gated.place.tensor)
            self._factors[i] = None if bool((factor == 1).all()) else factor

    @contextmanager
    def differentiable(self) -> Iterator[Tensor]:
        """The mask as a leaf of the forward passes inside, in which parameters are constants."""
        self._soft = self.mask.clone().requires_grad_()
        try:
            yield self._soft
        finally:
            self._soft = None

    def remove(self) -> None:
        """Leave the module without masks."""
        self._substitution.remove()

    def _masked(self) -> Iterator[tuple[ParameterPlace, Tensor]]:
        if self._soft is not None:
            full = torch.cat([self._soft, self._soft.new_ones(1)])
        for gated, factor in zip(self._gated, self._factors, strict=True):
            tensor = gated.place.tensor
            if self._soft is not None:
                yield gated.place, tensor.detach() * gated.factor(full).to(tensor)
            elif factor is not None:
                yield gated.place, tensor * factor


class _Slots:
    """Where units are in a module's parameters."""

    def __init__(self, module: nn.Module, traced: Traced, found: Channels, end: int) -> None:
        self._module = module
        self._graph = traced.graph
        self._channels = found
        self._end = end
        self._parameters = Parameters(traced)
        self._slots = np.full(found.units, end)
        first = 0
        for group in found.free:
            self._slots[group.units] = np.arange(first, first + group.width)
            first += group.width

    def gated(self) -> list[_Gated]:
        """The parameters that read channels, and which."""
        axes: dict[str, dict[int, Tensor]] = {}
        for place in _reading(self._graph, self._channels):
            for path, along, slots in self._along(place):
                before = axes.setdefault(path, {}).get(along)
                if before is not None:
                    slots = torch.where(before == self._end, slots, before)
                axes[path][along] = slots
        gated = []
        for path, masked in axes.items():
            home = ParameterPlace.of(self._module, path)
            if home.parameter is not None:
                gated.append(_Gated(home, home.tensor.ndim, tuple(sorted(masked.items()))))
        return gated

    def sources(self) -> list[tuple[nn.Parameter, int, Tensor]]:
        """The parameters that saliences are taken from, each with an axis and its slots."""
        found = []
        for group in self._channels.free:
            places = list(factors(self._graph, group)) or list(filters(self._graph, group))
            for place in places:
                for path, along, slots in self._along(place):
                    parameter = ParameterPlace.of(self._module, path).parameter
                    if parameter is not None:
                        found.append((parameter, along, slots))
        return found

    def _along(self, place: Place) -> Iterator[tuple[str, int, Tensor]]:
        value, axis = place
        own = self._slots[self._channels.axes[value][axis]]
        if not np.all(own == self._end):
            yield from self._parameters.along(value, axis, torch.from_numpy(own), self._end)


def _reading(graph: Graph, found: Channels) -> Iterator[Place]:
    """The axes of constants that have to be masked for what reads a channel to read zeros.

    That is where they are summed over with the channel. Cells read their own channels, so all of
    their parameters are masked; and where activations alone are summed over, what makes them is.
    """
    bare: set[int] = set()
    for node in drop_dead(graph).nodes:
        summed = _summed_over(node)
        operands = {index for index, _ in summed}
        constant = {index for index in operands if node.inputs[index] in graph.constants}
        for index, value in enumerate(node.inputs):
            for axis in range(value.type.rank) if value in graph.constants else ():
                if (index, axis) in summed or isinstance(node.op, Recurrent):
                    yield value, axis
        if not constant:
            for index, axis in summed:
                bare.update(found.axes[node.inputs[index]][axis].tolist())
    for group in found.free:
        if not bare.isdisjoint(group.units.tolist()):
            yield from (place for place in group.places if place[0] in graph.constants)


def _summed_over(node: Node) -> set[tuple[int, int]]:
    """The operands and their axes whose indices are in no output."""
    ties = Ties()
    inputs = [tuple(map(ties.fresh, value.type.shape)) for value in node.inputs]
    outputs = node.op.channels(ties, inputs, [value.type.shape for value in node.outputs])
    label = np.arange(ties.size)
    changed = True
    pairs = [np.broadcast_arrays(a, b) for a, b in (*ties.same, *ties.pairs)]
    while changed:
        changed = False
        for a, b in pairs:
            least = np.minimum(label[a], label[b])
            if np.any(label[a] != least) or np.any(label[b] != least):
                np.minimum.at(label, a, least)
                np.minimum.at(label, b, least)
                changed = True
    made: set[int] = set()
    for axes in outputs:
        for ids in axes:
            made.update(label[ids].tolist())
    for product in ties.products:  # an axis that is reshaped goes on in the output
        for ids in (product.whole, *product.parts):
            made.update(label[ids].tolist())
    return {
        (index, axis)
        for index, axes in enumerate(inputs)
        for axis, ids in enumerate(axes)
        if len(ids) and made.isdisjoint(label[ids].tolist())
    }
