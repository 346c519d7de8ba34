"""VGG-16 for small images."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from irprune.zoo.blocks import Shape, conv_bn, image_channels

# Output channels of the convolutions between two poolings: Simonyan & Zisserman, configuration D.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(shape: Shape, *, classes: int = 10, width: float = 1.0) -> nn.Module:
    """VGG-16 (Simonyan & Zisserman, ICLR 2015) with batch normalization and one dense layer.

    The 4096-wide hidden dense layers are left out, as is usual for CIFAR; so are they in the
    model of Liberis & Lane, table 3, which the defaults with a 3x32x32 input give. ValueError
    for an image smaller than 32x32, which five poolings would leave empty.
    """
    channels = image_channels(shape)
    rows, columns = shape[1] // 32, shape[2] // 32
    if rows == 0 or columns == 0:
        raise ValueError(
            f"VGG-16 halves its input five times: {shape[1]}x{shape[2]} is below 32x32"
        )
    layers: list[nn.Module] = []
    for stage in _STAGES:
        for base in stage:
            outputs = max(1, round(base * width))
            layers.append(conv_bn(channels, outputs, 3, activation=nn.ReLU))
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            flatten=nn.Flatten(),
            dense=nn.Linear(channels * rows * columns, classes),
        )
    )
