"""What Vela's own encoder of weights makes of a tensor."""

from __future__ import annotations

import numpy as np

from irprune.backends.vela.package import importing
from irprune.passes.analysis.entropy import CodedWeights, Exact
from irprune.passes.analysis.weight_coding import BRICK, WINDOW, reads_part_kernels

BLOCK = 16
"""Output channels that are computed at once; others that Vela schedules give about the same."""


def encoded(tensor: CodedWeights) -> Exact | None:
    """Bytes of a tensor in one stream, as ``mlw_codec`` encodes it; None of 16-bit weights.

    Vela's compiler, which has another encoder of the same codes and may cut a tensor into several
    streams, takes a few percent more or less, and up to 15 of depthwise layers.

    Raises:
        UsageError: Vela is not installed.
    """
    if tensor.bits > 8:
        return None
    with importing():
        from ethosu import mlw_codec
    weights = tensor.integers
    bits = tensor.input_bits
    parts = not tensor.depthwise and reads_part_kernels(weights, bits)
    stream, _ = mlw_codec.reorder_encode(
        BRICK,
        BRICK,
        np.ascontiguousarray(weights, np.int16),
        BLOCK,
        tensor.depthwise,
        parts,
        bits,
        WINDOW,
        WINDOW,
    )
    return Exact(len(stream))
