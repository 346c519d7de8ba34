"""The autoencoder of MLPerf Tiny."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from irprune.zoo.blocks import Shape, keep_scale


def autoencoder(shape: Shape, *, hidden: int = 128, bottleneck: int = 8) -> nn.Module:
    """The anomaly detection model of MLPerf Tiny (Banbury et al., 2021): ten dense layers.

    Four layers of `hidden` units on each side of one of `bottleneck` units, all normalized and
    rectified, and a linear layer back to the input's size (640: five frames of 128 mel bands).
    ValueError where the input is not a vector.
    """
    if len(shape) != 1:
        raise ValueError(f"the input is a vector: got {'x'.join(map(str, shape))}")
    features = shape[0]
    widths = (features, *(hidden,) * 4, bottleneck, *(hidden,) * 4)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        dense = nn.Linear(inputs, outputs)
        keep_scale(dense, nn.ReLU)
        layers += [dense, nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], features))
