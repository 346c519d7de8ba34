"""How small weights get where zeros and repeated values are coded away, as NPUs do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from irprune.ir.graph import Graph, Value
from irprune.passes.analysis.deployment import weights


def binary_entropy(p: float) -> float:
    """H2(p) in bits: -p log2(p) - (1 - p) log2(1 - p), and 0 at both ends."""
    return float(-sum(q * np.log2(q) for q in (p, 1 - p) if q > 0))


def bits_per_weight(bits: float, density: float) -> float:
    """An upper bound of the entropy of a weight, in bits: s b + H2(s).

    A mask is coded, and after it the weights that are not zero (Fedorov et al., UDC, Eq. 4; as
    printed there, b + H2(s), it is looser by (1 - s) b).

    Args:
        bits: the width b of a quantized weight.
        density: the share s of weights that are not pruned, from 0 to 1.
    """
    return density * bits + binary_entropy(density)


def compressed_size(
    graph: Graph, bits: float = 8, density: float | Mapping[Value, float] = 1.0
) -> float:
    """Bytes of the weights of convolutions, dense layers and cells, coded; biases are left out.

    Args:
        graph: the graph, in the form that would be deployed.
        bits: the width of a quantized weight.
        density: the share of weights that are not pruned: of all, or of each constant.
    """
    return float(sum(v.type.elements * coded_bytes(v, bits, density) for v in weights(graph)))


def coded_bytes(value: Value, bits: float, density: Any) -> float:
    """Bytes of one weight of a constant, by ``bits_per_weight``."""
    share = density[value] if isinstance(density, Mapping) else density
    return bits_per_weight(bits, share) / 8
