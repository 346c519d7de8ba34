"""EfficientNet-B0."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from irprune.zoo.blocks import (
    Residual,
    Shape,
    SqueezeExcite,
    classifier,
    conv_bn,
    depthwise_bn,
    image_channels,
    scaled,
)

# Expansion, kernel, output channels, blocks and first stride of each stage: Tan & Le, table 1.
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


def efficientnet_b0(
    shape: Shape, *, classes: int = 2, width: float = 1.0, stem_stride: int = 2
) -> nn.Module:
    """EfficientNet-B0 (Tan & Le, ICML 2019) without its 320-to-1280 head.

    The numbers of Liberis & Lane, table 3, imply that head's absence, a first block without an
    expansion convolution, and a squeeze to a quarter of the block's input channels. Their
    160x160 model has the paper's stem stride 2, their 50x50 model a `stem_stride` of 1 (its row
    prints size and MACs a tenth of what they are).
    """
    channels = scaled(32, width)
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), channels, 3, stride=stem_stride, activation=nn.SiLU)
    ]
    for expansion, kernel, base, blocks, first_stride in _STAGES:
        outputs = scaled(base, width)
        for stride in (first_stride, *(1,) * (blocks - 1)):
            layers.append(_block(channels, outputs, expansion, kernel, stride))
            channels = outputs
    return classifier(nn.Sequential(*layers), channels, classes)


def _block(inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> nn.Module:
    inner = inputs * expansion
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if expansion != 1:
        layers["expand"] = conv_bn(inputs, inner, 1, activation=nn.SiLU)
    layers["depthwise"] = depthwise_bn(inner, kernel, stride=stride, activation=nn.SiLU)
    layers["excite"] = SqueezeExcite(inner, inputs // 4, nn.SiLU)
    layers["project"] = conv_bn(inner, outputs, 1)
    body = nn.Sequential(layers)
    return Residual(body) if stride == 1 and inputs == outputs else body
