"""Wide residual networks, on which weight pruning is compared."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from irprune.zoo.blocks import Shape, classifier, image_channels, keep_scale

STEM = 16
STAGES = (16, 32, 64)


def wide_resnet(
    shape: Shape, *, classes: int = 10, depth: int = 16, width: float = 1.0
) -> nn.Module:
    """WRN-depth-width (Zagoruyko & Komodakis, BMVC 2016): residual blocks that normalize first.

    Convolutions have biases, as in the network of Retsinas et al.: `depth` 16, `width` 8 and 100
    classes have its 11.012 million parameters. Widths are rounded down, as in their Eq. 12. The
    depth is 4 more than a multiple of 6.
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth is 4 more than a multiple of 6: got {depth}")
    layers: list[nn.Module] = [_conv(image_channels(shape), STEM, 3, 1)]
    channels = STEM
    for stage, base in enumerate(STAGES):
        outputs = max(1, int(base * width))
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(WideBlock(channels, outputs, stride))
            channels = outputs
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return classifier(nn.Sequential(*layers), channels, classes)


class WideBlock(nn.Module):
    """Two normalized, activated 3x3 convolutions, and what comes in added to them.

    Where the shape changes, a 1x1 convolution of what is normalized and activated is added instead.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.body = nn.Sequential(
            OrderedDict(
                first=_conv(inputs, outputs, 3, stride),
                norm=nn.BatchNorm2d(outputs),
                activation=nn.ReLU(),
                second=_conv(outputs, outputs, 3, 1),
            )
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        y = self.before(x)
        total: Tensor = self.body(y) + (x if self.shortcut is None else self.shortcut(y))
        return total


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
    keep_scale(convolution, nn.ReLU)
    return convolution
