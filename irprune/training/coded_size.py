"""What the coded weights of a graph take, for a learner of sparsity to ask."""

from __future__ import annotations

from irprune.backends.vela.codec import encoded
from irprune.ir.graph import Graph
from irprune.passes.analysis.entropy import coded_weights
from irprune.passes.pipeline import deployed


def estimated_bytes(graph: Graph) -> float:
    """Bytes of an Ethos-U's streams of a float graph's weights, as irprune estimates them."""
    sizes = (tensor.estimated for tensor in coded_weights(deployed(graph)))
    return sum(size.bytes for size in sizes if size is not None)


def encoded_bytes(graph: Graph) -> float:
    """Bytes of an Ethos-U's streams of a float graph's weights, as Vela encodes them.

    Raises:
        UsageError: Vela is not installed.
    """
    sizes = map(encoded, coded_weights(deployed(graph)))
    return sum(size.bytes for size in sizes if size is not None)
