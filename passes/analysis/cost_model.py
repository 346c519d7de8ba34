"""What a graph costs as a function of its widths: for integers exact, for torch differentiable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from irprune.budget import Usage
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value, values
from irprune.ir.op import product
from irprune.ir.types import Array, Bytes, Macs
from irprune.passes.analysis.channels import Group, channels
from irprune.passes.analysis.deployment import (
    Precision,
    biases,
    default_precision,
    stored_type,
    weights,
)
from irprune.passes.analysis.entropy import Density, bytes_per_weight
from irprune.passes.analysis.liveness import buffers
from irprune.passes.analysis.peak_model import PeakModel
from irprune.passes.pipeline import deployed

_ROUNDING = 1e-9
"""How far below a whole number a product of a share and a width may be, over that width."""


def whole_widths(widths: Any, most: Array) -> Array:
    """How many units are kept where widths are no whole numbers: rounded down, and at least one.

    What is whole but for the rounding of doubles counts as whole.

    Args:
        widths: (groups,).
        most: (groups,), the widths of the whole graph.
    """
    real = np.asarray(widths.tolist(), np.float64)
    return np.maximum(np.floor(real + _ROUNDING * most), 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of an axis: what is fixed, and so many indices for each unit of some groups."""

    fixed: int
    each: tuple[tuple[int, int], ...] = ()

    def at(self, widths: Any) -> Any:
        return sum((count * widths[..., group] for group, count in self.each), self.fixed)


class CostModel:
    """Costs of the deployed form of a graph, for any widths of its channel groups.

    Every function takes widths in the order of ``groups`` along the last axis: a numpy array, of
    whole numbers or not, with any axes before that for many width vectors at once; or a torch
    tensor, whose gradient the result carries. For whole widths the result is what an analysis of
    the graph with so many channels gives (docs/design.md §4), whichever channels these are. Only
    an axis that is left with a single index may let a rewrite do more than these functions know: a
    transposition becomes a view, a scale is folded.

    Args:
        graph: the graph, as it was read.
        precision: how wide its numbers are; by default int8 for a float graph, its own types for
            a quantized one.
        exclude_inputs: count graph inputs as no memory at all.
        time_limit: seconds for the order of one width vector, after which the best so far counts.

    Attributes:
        groups: the channel groups that may lose channels.
        widths: (groups,), how many units each has in the graph as it is.
    """

    def __init__(
        self,
        graph: Graph,
        precision: Precision | None = None,
        *,
        exclude_inputs: bool = False,
        time_limit: float = 10.0,
    ) -> None:
        self.groups = channels(graph).free
        self.widths = np.array([group.width for group in self.groups], np.int64)
        self._graph = deployed(graph)
        self._sizes = _sizes(self._graph, graph, self.groups)
        precision = precision or default_precision(self._graph)
        as_bias = biases(self._graph)
        self._itemsize = {
            value: stored_type(value.type, precision, bias=value in as_bias).itemsize
            for value in self._sizes
        }
        self._peaks = PeakModel(
            self._graph, precision, exclude_inputs=exclude_inputs, time_limit=time_limit
        )
        left_out = frozenset(self._graph.inputs) if exclude_inputs else frozenset()
        self._buffers: dict[int, Value] = {}
        for value, buffer in buffers(self._graph).items():
            if value not in left_out:
                self._buffers.setdefault(buffer, value)

    def macs(self, widths: Any) -> Any:
        """Multiply-accumulates."""
        self._check(widths)
        total: Any = 0
        for node in self._graph.nodes:
            reads = [self._shape(value, widths) for value in node.inputs]
            makes = [self._shape(value, widths) for value in node.outputs]
            total = total + node.op.macs(reads, makes)
        return total

    def usage(self, widths: Array) -> Usage:
        """All that is bounded, for one vector of whole widths."""
        return Usage(
            Bytes(int(self.peak(widths))),
            Bytes(int(self.model_size(widths))),
            Macs(int(self.macs(widths))),
        )

    def model_size(self, widths: Any) -> Any:
        """Bytes of the constants."""
        self._check(widths)
        return sum(self._bytes(value, widths) for value in self._graph.constants)

    def compressed_size(self, widths: Any, bits: float = 8, density: Density = 1.0) -> Any:
        """Bytes of the weights, coded (``entropy.compressed_size``).

        Args:
            widths: the widths.
            bits: the width of a quantized weight.
            density: the share of weights that are not pruned: of all, or of each constant of the
                deployed graph.
        """
        self._check(widths)
        return sum(
            product(self._shape(value, widths)) * bytes_per_weight(value, bits, density)
            for value in weights(self._graph)
        )

    def peak(self, widths: Any) -> Any:
        """Bytes of SRAM in the order that is best for the widths rounded down.

        The gradient is that of the buffers in memory at that order's bottleneck.
        """
        self._check(widths)
        if widths.ndim > 1:
            if not isinstance(widths, np.ndarray):
                raise UsageError("the peak takes one vector of widths that are no numpy array")
            return np.array([self.peak(row) for row in widths])
        return self.memory(self.bottleneck(widths), widths)

    def bottleneck(self, widths: Any) -> tuple[Value, ...]:
        """What is in memory where the order that is best for the widths rounded down peaks.

        Of values that share a buffer it is the first.
        """
        whole = whole_widths(widths, self.widths)
        sizes = self._peaks.sizes.copy()
        for buffer, value in self._buffers.items():
            sizes[buffer] = self._bytes(value, whole)
        found = self._peaks.bottleneck(sizes)
        return tuple(self._buffers[buffer] for buffer in found if buffer in self._buffers)

    def imprecise_peak(self, widths: Any) -> Any:
        """Bytes of the largest inputs and outputs of one operator, at the widths rounded down.

        That is less than the peak wherever something waits elsewhere in the graph.
        """
        self._check(widths)
        whole = whole_widths(widths, self.widths)
        steps = [self._at_once(node) for node in self._graph.nodes if node.op.alias() is None]
        largest = max(steps, key=lambda step: int(self.memory(step, whole)), default=())
        return self.memory(largest, widths)

    def _at_once(self, node: Node) -> tuple[Value, ...]:
        """What an operator reads and makes, each buffer once."""
        index = buffers(self._graph)
        found = {index[v] for v in (*node.inputs, *node.outputs) if v in index}
        return tuple(self._buffers[buffer] for buffer in sorted(found) if buffer in self._buffers)

    def memory(self, together: Iterable[Value], widths: Any) -> Any:
        """Bytes that these values of the deployed graph take, each with a buffer of its own."""
        self._check(widths)
        return sum(self._bytes(value, widths) for value in together)

    def _shape(self, value: Value, widths: Any) -> list[Any]:
        return [size.at(widths) for size in self._sizes[value]]

    def _bytes(self, value: Value, widths: Any) -> Any:
        return product(self._shape(value, widths)) * self._itemsize[value]

    def _check(self, widths: Any) -> None:
        if not widths.ndim or widths.shape[-1] != len(self.groups):
            raise UsageError(f"wants {len(self.groups)} widths, one a channel group")


def _sizes(
    graph: Graph, source: Graph, groups: Sequence[Group]
) -> Mapping[Value, tuple[_Size, ...]]:
    """How large each axis of a graph is, by the groups of the one that it was made from.

    Both have values in common, through which the units of one are those of the other.
    """
    ours, theirs = channels(graph), channels(source)
    of_unit = np.full(theirs.units, -1)
    for number, group in enumerate(groups):
        of_unit[group.units] = number
    group_of = np.full(ours.units, -1)
    for value, axes in ours.axes.items():
        for units, others in zip(axes, theirs.axes.get(value, ()), strict=False):
            group_of[units] = of_unit[others]
    return {
        value: tuple(_size(group_of[units], groups) for units in ours.axes[value])
        for value in values(graph)
    }


def _size(group_of: Array, groups: Sequence[Group]) -> _Size:
    """The size of an axis whose indices belong to these groups; -1 is none."""
    numbers, counts = np.unique(group_of, return_counts=True)
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    fixed = found.pop(-1, 0)
    return _Size(fixed, tuple((g, count // groups[g].width) for g, count in found.items()))
