"""MobileNetV1 and MobileNetV2."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from irprune.zoo.blocks import (
    Residual,
    Shape,
    classifier,
    conv_bn,
    depthwise_bn,
    depthwise_separable,
    image_channels,
    scaled,
)

# Output channels and stride of each block: Howard et al., table 1.
_V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)

# Expansion, output channels, blocks and first stride of each stage: Sandler et al., table 2.
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v1(shape: Shape, *, classes: int = 2, width: float = 0.25) -> nn.Module:
    """MobileNetV1 (Howard et al., arXiv:1704.04861), ReLU as in MLPerf Tiny.

    With the defaults and a 3x96x96 input it is the visual wake words model of MLPerf Tiny
    (Banbury et al., 2021): same layers, same numbers. That model pads strided layers at the
    bottom and right only (TensorFlow's "same"); this one pads symmetrically, at the same cost.
    """
    channels = scaled(32, width)
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), channels, 3, stride=2, activation=nn.ReLU)
    ]
    for base, stride in _V1_BLOCKS:
        outputs = scaled(base, width)
        layers.append(depthwise_separable(channels, outputs, stride=stride))
        channels = outputs
    return classifier(nn.Sequential(*layers), channels, classes)


def mobilenet_v2(shape: Shape, *, classes: int = 2, width: float = 1.0) -> nn.Module:
    """MobileNetV2 (Sandler et al., CVPR 2018) as commonly written for CIFAR.

    It differs from the paper where the numbers of Liberis & Lane, table 3, say so: a stride-1
    block that changes its width has a 1x1 projection as its shortcut, the first block keeps its
    expansion convolution (expansion 1). The stem has stride 2, as in the paper. The default
    width with 2 classes is their unpruned model, at 3x50x50 and at 3x160x160.
    """
    channels = scaled(32, width)
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), channels, 3, stride=2, activation=nn.ReLU6)
    ]
    for expansion, base, blocks, first_stride in _V2_STAGES:
        outputs = scaled(base, width)
        for stride in (first_stride, *(1,) * (blocks - 1)):
            layers.append(_v2_block(channels, outputs, expansion, stride))
            channels = outputs
    head = scaled(1280, max(width, 1.0))
    layers.append(conv_bn(channels, head, 1, activation=nn.ReLU6))
    return classifier(nn.Sequential(*layers), head, classes)


def _v2_block(inputs: int, outputs: int, expansion: int, stride: int) -> nn.Module:
    inner = inputs * expansion
    body = nn.Sequential(
        OrderedDict(
            expand=conv_bn(inputs, inner, 1, activation=nn.ReLU6),
            depthwise=depthwise_bn(inner, 3, stride=stride, activation=nn.ReLU6),
            project=conv_bn(inner, outputs, 1),
        )
    )
    if stride != 1:
        return body
    return Residual(body, conv_bn(inputs, outputs, 1) if inputs != outputs else None)
