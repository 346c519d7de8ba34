"""DS-CNN, the depthwise separable network for keyword spotting, at any widths."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import nn

from irprune.zoo.blocks import Shape, classifier, depthwise_separable, image_channels, keep_scale

LARGE = (276,) * 8
MEDIUM = (276,) * 6
MICRONET_KWS_S = (84, 112, 84, 84, 84, 196)
MICRONET_KWS_M = (140, 140, 140, 140, 112, 196)
MICRONET_KWS_L = (276, 248, 276, 276, 248, 248, 248, 248)


def ds_cnn(shape: Shape, *, classes: int = 12, widths: tuple[int, ...] = LARGE) -> nn.Module:
    """DS-CNN (Zhang et al., arXiv:1711.07128): a 10x4 stem and depthwise separable blocks.

    `widths` are the output channels of the stem and of each block. The stem keeps the size, with
    "same" padding, and the first block halves it, as the peak memory of Liberis & Lane's models
    (input 1x49x10, table 3) implies: `LARGE` is their DS-CNN (MN-L), `MEDIUM` their DS-CNN
    (MN-M). The MicroNets of the same table (Banbury et al., MLSys 2021) are the three other
    lists. S is given with its numbers; M and L are the lists that agree with all three printed
    numbers of their rows (117 K, 86.1 KB, 15.58 M and 512 K, 170 KB, 65.75 M).
    """
    convolution = nn.Conv2d(image_channels(shape), widths[0], (10, 4), bias=False)
    keep_scale(convolution, nn.ReLU)
    stem = nn.Sequential(
        OrderedDict(
            # "Same" padding by hand: an even kernel needs one row and column more behind.
            pad=nn.ZeroPad2d((1, 2, 4, 5)),
            conv=convolution,
            norm=nn.BatchNorm2d(widths[0]),
            activation=nn.ReLU(),
        )
    )
    blocks = [
        depthwise_separable(inputs, outputs, stride=2 if index == 0 else 1)
        for index, (inputs, outputs) in enumerate(pairwise(widths))
    ]
    return classifier(nn.Sequential(stem, *blocks), widths[-1], classes)
