"""The least peak memory of a graph as a function of the sizes of its buffers, differentiable."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Array, Bytes
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.liveness import memory_model, timeline
from irprune.passes.analysis.ordering.moves import Sized
from irprune.passes.analysis.ordering.structure import structure_of
from irprune.passes.analysis.schedule import improved


class Vector(Protocol):
    """A vector of numbers: a numpy array or a torch tensor."""

    def tolist(self) -> Any:
        """Its elements as Python numbers."""

    def __getitem__(self, index: int, /) -> Any:
        """One of its elements."""


class PeakModel:
    """Peak memory of the best order, for any sizes of the buffers of a graph.

    What depends on the structure alone is computed once, and the last best order is the first that
    is tried, so that a call for sizes like the last takes little time. ``CostModel`` gives the
    sizes for widths.

    Args:
        graph: the graph, in the form that would be deployed.
        precision: how wide its numbers are; by default int8 for a float graph, its own types for
            a quantized one.
        exclude_inputs: count graph inputs as no memory at all.
        time_limit: seconds for one call, after which the best order so far counts.

    Attributes:
        sizes: (buffers,), the bytes of each buffer (``liveness.buffers``) of the graph as it is.
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
        self.sizes = np.asarray(self._model.sizes, np.int64)

    def peak(self, sizes: Vector) -> Any:
        """Bytes of SRAM that the best order needs.

        Args:
            sizes: (buffers,), the bytes of each buffer. The order is the best for the nearest whole
                numbers; the value is the sum of the buffers that are in memory at that order's
                bottleneck, whose gradient a torch tensor carries.

        Returns:
            A number of the kind that the sizes are made of.

        Raises:
            UsageError: the sizes are not one a buffer, or negative.
        """
        return sum(sizes[buffer] for buffer in self.bottleneck(sizes))

    def gradient(self, sizes: Vector) -> Array:
        """(buffers,), the derivative of ``peak`` by each size: 1 at the bottleneck, 0 elsewhere."""
        found = np.zeros(len(self.sizes))
        found[list(self.bottleneck(sizes))] = 1
        return found

    def bottleneck(self, sizes: Vector) -> tuple[int, ...]:
        """The buffers in memory at the first step that reaches the peak of the best order."""
        given = np.asarray(sizes.tolist(), np.float64)
        whole = np.rint(np.nan_to_num(given, nan=-1, posinf=-1)).astype(np.int64)
        if whole.shape != self.sizes.shape or min(whole, default=0) < 0:
            raise UsageError(f"wants {len(self.sizes)} sizes, one a buffer, none negative")
        as_bytes = tuple(map(Bytes, whole.tolist()))
        sized = Sized(self._structure, as_bytes)
        best = improved(sized, as_bytes, self._order, time_limit=self._time_limit)
        self._order = best.order
        found = timeline(replace(self._model, sizes=as_bytes), best.order)
        if not found.live:  # without steps the inputs are all there is
            return tuple(sorted(self._model.inputs))
        return tuple(sorted(found.live[found.bottleneck]))
