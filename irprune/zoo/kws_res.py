"""RES-8 and RES-15, the residual networks for keyword spotting."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from irprune.zoo.blocks import Residual, Shape, classifier, conv_bn, image_channels


def res8(shape: Shape, *, classes: int = 12, channels: int = 45) -> nn.Module:
    """RES-8 (Tang & Lin, ICASSP 2018): stem, 4x3 average pooling, three residual blocks.

    All layers have 45 channels, as in the paper; this and a pooling that drops the rest of the
    division give the numbers of Liberis & Lane, table 3, with a 1x49x10 input. Each convolution
    is followed by its normalization, which can be folded into it, where the paper's order is
    convolution, ReLU, normalization. ValueError for an input that the pooling leaves empty.
    """
    inputs = image_channels(shape)
    if shape[1] < 4 or shape[2] < 3:
        raise ValueError(f"RES-8 pools 4x3 windows: {shape[1]}x{shape[2]} is smaller")
    layers: list[nn.Module] = [
        conv_bn(inputs, channels, 3, activation=nn.ReLU),
        nn.AvgPool2d((4, 3)),
        *(_block(channels, (1, 1)) for _ in range(3)),
    ]
    return classifier(nn.Sequential(*layers), channels, classes)


def res15(shape: Shape, *, classes: int = 12, channels: int = 45) -> nn.Module:
    """RES-15 (Tang & Lin, ICASSP 2018): stem, six residual blocks, one more convolution.

    All layers have 45 channels and nothing is pooled before the end, which gives the numbers of
    Liberis & Lane, table 3, with a 1x49x10 input. The dilation doubles every three convolutions
    as in the paper (it costs nothing). The order of layers is that of `res8`.
    """
    dilations = [2 ** (index // 3) for index in range(13)]
    blocks = [
        _block(channels, (dilations[index], dilations[index + 1])) for index in range(0, 12, 2)
    ]
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), channels, 3, activation=nn.ReLU),
        *blocks,
        conv_bn(channels, channels, 3, dilation=dilations[12], activation=nn.ReLU),
    ]
    return classifier(nn.Sequential(*layers), channels, classes)


def _block(channels: int, dilations: tuple[int, int]) -> nn.Module:
    first, second = dilations
    body = nn.Sequential(
        OrderedDict(
            first=conv_bn(channels, channels, 3, dilation=first, activation=nn.ReLU),
            second=conv_bn(channels, channels, 3, dilation=second, activation=nn.ReLU),
        )
    )
    return Residual(body)
