"""ResNet-18 for small images and the ResNet-8 of MLPerf Tiny."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from irprune.zoo.blocks import Residual, Shape, classifier, conv_bn, image_channels


def resnet18(shape: Shape, *, classes: int = 10, width: float = 1.0) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016) as commonly written for CIFAR.

    The stem is a 3x3 convolution of stride 1 without pooling, and a shortcut that changes its
    shape is a 1x1 convolution. With the defaults and a 3x32x32 input it has the numbers of
    Liberis & Lane's ResNet-18.
    """
    return _resnet(shape, classes, width, stages=(64, 128, 256, 512), blocks=2)


def resnet8(shape: Shape, *, classes: int = 10, width: float = 1.0) -> nn.Module:
    """The image classification model of MLPerf Tiny (Banbury et al., 2021): three residual blocks.

    With the defaults and a 3x32x32 input it has the layers of the reference model, save that
    shortcut convolutions are normalized, which folds into the bias they have there, and that
    strided layers are padded symmetrically.
    """
    return _resnet(shape, classes, width, stages=(16, 32, 64), blocks=1)


def _resnet(
    shape: Shape, classes: int, width: float, *, stages: tuple[int, ...], blocks: int
) -> nn.Module:
    channels = max(1, round(stages[0] * width))
    layers: list[nn.Module] = [conv_bn(image_channels(shape), channels, 3, activation=nn.ReLU)]
    for stage, base in enumerate(stages):
        outputs = max(1, round(base * width))
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(_basic_block(channels, outputs, stride))
            channels = outputs
    return classifier(nn.Sequential(*layers), channels, classes)


def _basic_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(
        OrderedDict(
            first=conv_bn(inputs, outputs, 3, stride=stride, activation=nn.ReLU),
            second=conv_bn(outputs, outputs, 3),
        )
    )
    same = stride == 1 and inputs == outputs
    shortcut = None if same else conv_bn(inputs, outputs, 1, stride=stride)
    return Residual(body, shortcut, activation=nn.ReLU)
