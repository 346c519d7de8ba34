"""How far quantization takes each layer from what it computes on reals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irprune.ir.graph import Graph
from irprune.ir.ops.quant import as_reals, as_stored
from irprune.ir.types import Array
from irprune.passes.analysis.calibration import activations


@dataclass(frozen=True)
class LayerError:
    """The error of what one node makes, over all samples.

    Attributes:
        name: the value's name.
        kind: the operator that makes it; Input for an input.
        sqnr: the signal to quantization noise ratio, in dB; infinite without an error.
        largest: the largest absolute error, of the reals that integers stand for.
    """

    name: str
    kind: str
    sqnr: float
    largest: float


def quantization_error(
    graph: Graph, quantized: Graph, samples: Sequence[Sequence[Array]]
) -> tuple[LayerError, ...]:
    """The error of every real activation that the quantized graph has under the same name.

    Errors of earlier layers are in those of later ones, as they are on the device.

    Args:
        graph: the graph on reals.
        quantized: the same graph on integers (``quantize``), its interface on reals or integers.
        samples: arrays for the graph's inputs, a sample at a time.
    """
    kinds = {v: type(n.op).__name__ for n in graph.nodes for v in n.outputs}
    totals: dict[str, _Total] = {}
    for sample in samples:
        given = [
            as_stored(array, value.type)
            for array, value in zip(sample, quantized.inputs, strict=True)
        ]
        found = {v.name: as_reals(array, v.type) for v, array in activations(quantized, given)}
        for value, wanted in activations(graph, sample):
            if value.type.dtype.is_float and value.name in found:
                kind = kinds.get(value, "Input")
                total = totals.setdefault(value.name, _Total(kind))
                total.add(wanted, found[value.name])
    return tuple(
        LayerError(name, total.kind, total.sqnr, total.largest) for name, total in totals.items()
    )


@dataclass
class _Total:
    """Sums of squares over samples."""

    kind: str
    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0

    def add(self, wanted: Array, found: Array) -> None:
        finite = np.isfinite(wanted)
        real = wanted[finite].astype(np.float64)
        error = np.abs(real - found[finite])
        self.signal += float(np.square(real).sum())
        self.noise += float(np.square(error).sum())
        self.largest = max(self.largest, float(error.max(initial=0.0)))

    @property
    def sqnr(self) -> float:
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf
