"""Building blocks that several architectures share."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

import torch
from torch import Tensor, nn

Shape: TypeAlias = tuple[int, ...]
"""The shape of one input, without the batch."""

Activation: TypeAlias = type[nn.Module]

# The standard deviation of a normal variable whose activated mean square is 1.
_GAINS: dict[Activation, float] = {
    nn.Identity: 1.0,
    nn.ReLU: 2**0.5,
    nn.ReLU6: 2**0.5,
    nn.SiLU: 1.559,
}


def keep_scale(layer: nn.Conv2d | nn.Linear, activation: Activation) -> None:
    """Draw the layer's weights so that activations keep their mean square through a deep network.

    He et al. (ICCV 2015), for each activation's own gain. With torch's default weights the
    signal of an untrained network dies on the way and its output is all bias, which would hide
    any mistake in running it.
    """
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=_GAINS[activation] / fan_in**0.5)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: Activation = nn.Identity,
) -> nn.Sequential:
    """A convolution with an odd square kernel, batch normalization, then the activation.

    Padding is symmetric and keeps the size at stride 1. The convolution has no bias: the
    normalization brings one, and both become one convolution with a bias when they are folded.
    """
    convolution = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    keep_scale(convolution, activation)
    return nn.Sequential(
        OrderedDict(conv=convolution, norm=nn.BatchNorm2d(outputs), activation=activation())
    )


def depthwise_bn(
    channels: int, kernel: int, *, stride: int = 1, activation: Activation = nn.Identity
) -> nn.Sequential:
    """`conv_bn` with one filter per channel."""
    return conv_bn(
        channels, channels, kernel, stride=stride, groups=channels, activation=activation
    )


def depthwise_separable(
    inputs: int, outputs: int, *, stride: int = 1, activation: Activation = nn.ReLU
) -> nn.Sequential:
    """A 3x3 depthwise then a 1x1 convolution, each normalized and activated."""
    return nn.Sequential(
        OrderedDict(
            depthwise=depthwise_bn(inputs, 3, stride=stride, activation=activation),
            pointwise=conv_bn(inputs, outputs, 1, activation=activation),
        )
    )


class Residual(nn.Module):
    """`activation(body(x) + shortcut(x))`; the shortcut is the identity unless given."""

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None = None,
        activation: Activation = nn.Identity,
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """The activated sum."""
        total: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return total


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the channel means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, squeezed: int, activation: Activation) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()
        keep_scale(self.reduce, activation)
        keep_scale(self.expand, nn.Identity)
        # Gates start nearly open: half closed, sixteen of them would extinguish the signal.
        self.expand.bias = nn.Parameter(torch.full((channels,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        """The input with its channels scaled."""
        scaled: Tensor = x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))
        return scaled


def classifier(features: nn.Module, channels: int, classes: int) -> nn.Sequential:
    """The features, global average pooling, and a dense layer that gives logits."""
    return nn.Sequential(
        OrderedDict(
            features=features,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dense=nn.Linear(channels, classes),
        )
    )


def scaled(channels: int, width: float) -> int:
    """Channels times the width multiplier, rounded to a multiple of 8, never losing over 10 %.

    The rule of MobileNetV2's authors (Sandler et al., CVPR 2018, reference implementation), which
    EfficientNet's took over. At `width` 1 it gives `channels`, which must be a multiple of 8.
    """
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


def image_channels(shape: Shape) -> int:
    """The channels of a (channels, height, width) input; ValueError for another rank."""
    if len(shape) != 3:
        raise ValueError(
            f"the input is an image, channels x height x width: got {'x'.join(map(str, shape))}"
        )
    return shape[0]
