"""The least peak memory of a graph as a function of its widths, differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.ops import Transpose
from irprune.ir.ops.conv import channel_axis
from irprune.ir.types import Array, Bytes
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.liveness import buffers, memory_model, timeline
from irprune.passes.analysis.ordering.moves import Sized
from irprune.passes.analysis.ordering.structure import structure_of
from irprune.passes.analysis.schedule import improved


class Widths(Protocol):
    """A vector of numbers: a numpy array or a torch tensor."""

    def tolist(self) -> Any:
        """Its elements as Python numbers."""

    def __getitem__(self, index: int, /) -> Any:
        """One of its elements."""


class PeakModel:
    """Peak memory of the best order, for any widths of a graph of fixed structure.

    The width of a buffer is its number of channels: its bytes are in proportion to that. What
    depends on the structure alone is computed once, and the last best order is the first that is
    tried, so that a call for widths like the last takes little time.

    Args:
        graph: the graph, in the form that would be deployed.
        precision: how wide its numbers are; by default int8 for a float graph, its own types for
            a quantized one.
        exclude_inputs: count graph inputs as no memory at all.
        time_limit: seconds for one call, after which the best order so far counts.

    Attributes:
        widths: (buffers,), the channels of each buffer (``liveness.buffers``) in the graph as it
            is.
        bytes_per_channel: (buffers,), what one channel of each takes.
    """

    def __init__(
        self,
        graph: Graph,
        precision: Precision | None = None,
        *,
        exclude_inputs: bool = False,
        time_limit: float = 10.0,
    ) -> None:
        precision = precision or default_precision(graph)
        self._model = memory_model(graph, precision, exclude_inputs=exclude_inputs)
        self._structure = structure_of(self._model)
        self._order = tuple(range(len(graph.nodes)))
        self._time_limit = time_limit
        self.widths = _channels(graph)
        self.bytes_per_channel = np.asarray(self._model.sizes, np.int64) // self.widths

    def peak(self, widths: Widths) -> Any:
        """Bytes of SRAM that the best order needs.

        Args:
            widths: (buffers,), the channels of each buffer. The order is the best for the nearest
                whole numbers; the value is linear in the widths of the buffers that are in memory
                at that order's bottleneck, whose gradient a torch tensor carries.

        Returns:
            A number of the kind that the widths are made of.

        Raises:
            UsageError: the widths are not one a buffer, or not positive.
        """
        return sum(self.bytes_per_channel[b].item() * widths[b] for b in self.bottleneck(widths))

    def gradient(self, widths: Widths) -> Array:
        """(buffers,), the derivative of ``peak`` by each width, in bytes a channel."""
        found = np.zeros(len(self.widths))
        at = list(self.bottleneck(widths))
        found[at] = self.bytes_per_channel[at]
        return found

    def bottleneck(self, widths: Widths) -> tuple[int, ...]:
        """The buffers in memory at the first step that reaches the peak of the best order."""
        given = np.asarray(widths.tolist(), np.float64)
        whole = np.rint(np.nan_to_num(given, posinf=0)).astype(np.int64)
        if whole.shape != self.widths.shape or min(whole, default=1) < 1:
            raise UsageError(f"wants {len(self.widths)} positive widths, one a buffer")
        sizes = tuple(map(Bytes, (self.bytes_per_channel * whole).tolist()))
        sized = Sized(self._structure, sizes)
        best = improved(sized, sizes, self._order, time_limit=self._time_limit)
        self._order = best.order
        found = timeline(replace(self._model, sizes=sizes), best.order)
        if not found.live:  # without steps the inputs are all there is
            return tuple(sorted(self._model.inputs))
        return tuple(sorted(found.live[found.bottleneck]))


def _channels(graph: Graph) -> Array:
    """Channels of each buffer: the size of the channel axis of the value it is made for.

    That axis is the one that the layout of an operator names; operators without a layout keep
    that of their first operand; where the rank changes it is the last.
    """
    axes: dict[Value, int] = {}
    layouts = [node.op.layout for node in graph.nodes if hasattr(node.op, "layout")]
    for value in graph.inputs:
        spatial = value.type.rank == 4 and bool(layouts)
        axes[value] = channel_axis(layouts[0]) if spatial else value.type.rank - 1
    for node in graph.nodes:
        for value in node.outputs:
            axes[value] = _axis(node.op, node.inputs, axes, value)
    index = buffers(graph)
    widths = np.ones(max(index.values(), default=-1) + 1, np.int64)
    for value in reversed([v for v in index if v.type.rank > 0]):
        widths[index[value]] = max(value.type.shape[axes[value]], 1)
    return widths


def _axis(op: Any, operands: Sequence[Value], axes: dict[Value, int], made: Value) -> int:
    if hasattr(op, "layout") and made.type.rank == 4:
        return channel_axis(op.layout)
    first = next((v for v in operands if v in axes), None)
    if first is None or first.type.rank != made.type.rank:
        return made.type.rank - 1
    if isinstance(op, Transpose) and made.type.rank > 0:
        return op.perm.index(axes[first])
    return axes[first]
