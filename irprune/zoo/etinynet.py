"""EtinyNet."""

from __future__ import annotations

from torch import Tensor, nn

from irprune.zoo.blocks import Shape, classifier, conv_bn, depthwise_bn, image_channels

# Output channels of the blocks, first stride, and whether the blocks are dense, of each stage:
# Xu et al., table 1, without the pooling after the stem.
_STEM = 32
_STAGES = (
    ((32, 32, 32, 32), 1, False),
    ((128, 128, 128, 128), 2, False),
    ((192, 192, 192), 2, True),
    ((256, 256, 512), 2, True),
)


def etinynet(shape: Shape, *, classes: int = 1000, width: float = 1.0) -> nn.Module:
    """EtinyNet (Xu et al., AAAI 2022) for an input that is already small (3x112x112).

    The pooling after the stem is left out: Liberis & Lane give the network the downsampled image
    instead. The widths are those of the authors' implementation (32, four times 32, four times
    128, three times 192, then 256, 256 and 512), times `width`; with the further shortcut of
    `DenseLinearBlock` they give the numbers of Liberis & Lane, table 3, at x1.0 and x0.75.
    """
    channels = max(1, int(_STEM * width))
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), channels, 3, stride=2, activation=nn.ReLU)
    ]
    for widths, first_stride, dense in _STAGES:
        for index, base in enumerate(widths):
            outputs = max(1, int(base * width))
            stride = first_stride if index == 0 else 1
            block = DenseLinearBlock if dense else LinearBlock
            layers.append(block(channels, outputs, stride))
            channels = outputs
    return classifier(nn.Sequential(*layers), channels, classes)


class LinearBlock(nn.Module):
    """The linear depthwise block: a linear depthwise, a 1x1 and a depthwise convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.linear = depthwise_bn(inputs, 3, stride=stride)
        self.pointwise = conv_bn(inputs, outputs, 1, activation=nn.ReLU)
        self.depthwise = depthwise_bn(outputs, 3, activation=nn.ReLU)
        self.keeps_shape = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of `outputs` channels."""
        out: Tensor = self.depthwise(self.pointwise(self.linear(x)))
        return out


class DenseLinearBlock(LinearBlock):
    """The dense linear depthwise block: a linear depthwise block with shortcuts.

    One goes around the second depthwise convolution. In a block that keeps the shape there is
    one around the first two convolutions too, and one from the block's input to its output.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of `outputs` channels."""
        inner: Tensor = self.pointwise(self.linear(x))
        if not self.keeps_shape:
            plain: Tensor = self.depthwise(inner) + inner
            return plain
        inner = inner + x
        dense: Tensor = self.depthwise(inner) + inner + x
        return dense
