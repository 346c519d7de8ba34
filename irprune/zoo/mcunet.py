"""MCUNet: inverted residual blocks from a list that a search has found."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from irprune.zoo.blocks import (
    Residual,
    Shape,
    classifier,
    conv_bn,
    depthwise_bn,
    image_channels,
)

_SPEC = re.compile(r"k(\d+)e(\d+)c(\d+)s(\d+)", re.ASCII)


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block: depthwise kernel, expansion, output channels, stride."""

    kernel: int
    expansion: int
    channels: int
    stride: int

    def __str__(self) -> str:
        return f"k{self.kernel}e{self.expansion}c{self.channels}s{self.stride}"


def parse_blocks(text: str) -> tuple[BlockSpec, ...]:
    """The blocks of a list such as `k3e1c8s1-k7e3c16s2`; ValueError where it is no such list."""
    matches = [(part, _SPEC.fullmatch(part)) for part in text.split("-")]
    bad = [part for part, match in matches if match is None]
    if bad:
        raise ValueError(f"blocks are written like k7e3c16s2 and joined by '-': got {bad[0]!r}")
    return tuple(BlockSpec(*map(int, match.groups())) for _, match in matches if match)


# Published by the authors as mcunet-256kB, mcunet-320kB and mcunet-512kB.
MCUNET_S = parse_blocks(
    "k3e1c8s1"
    "-k5e3c16s2-k7e6c16s1-k3e5c16s1-k5e5c16s1"
    "-k3e5c24s2-k7e6c24s1-k5e6c24s1"
    "-k7e4c40s2-k5e5c40s1"
    "-k3e5c48s1-k5e5c48s1-k3e4c48s1"
    "-k5e6c96s2-k5e4c96s1-k5e3c96s1-k3e4c96s1"
    "-k5e5c160s1"
)
MCUNET_M = parse_blocks(
    "k3e1c8s1"
    "-k7e3c16s2-k3e5c16s1-k7e5c16s1-k5e4c16s1"
    "-k5e5c24s2-k5e5c24s1-k5e5c24s1"
    "-k3e5c40s2-k7e6c40s1-k5e4c40s1"
    "-k5e5c48s1-k7e5c48s1-k3e5c48s1"
    "-k3e6c96s2-k7e5c96s1-k3e4c96s1"
    "-k7e5c160s1"
)
MCUNET_L = parse_blocks(
    "k3e1c16s1"
    "-k7e3c24s2-k3e5c24s1-k5e4c24s1"
    "-k7e5c40s2-k3e4c40s1-k7e4c40s1"
    "-k7e3c80s2-k3e3c80s1-k7e3c80s1"
    "-k3e4c96s1-k5e3c96s1-k5e3c96s1"
    "-k7e4c192s2-k7e3c192s1-k5e3c192s1"
    "-k5e4c320s1"
)


def mcunet(
    shape: Shape, *, classes: int = 1000, stem: int = 16, blocks: tuple[BlockSpec, ...] = MCUNET_S
) -> nn.Module:
    """MCUNet (Lin et al., NeurIPS 2020): a stride-2 stem of `stem` channels, then `blocks`.

    The block lists here are those of the models that the authors published for ImageNet. The
    default at 3x160x160 and `MCUNET_M` at 3x176x176 give the numbers printed for MCUNet-S and
    MCUNet-M in Liberis & Lane, table 3; `MCUNET_L` (stem 32) is the one they call full width.

    A block with expansion 1 has no expansion convolution, and one that keeps the shape has a
    shortcut. ValueError for an even depthwise kernel.
    """
    even = [block for block in blocks if block.kernel % 2 == 0]
    if even:
        raise ValueError(f"a depthwise kernel is odd: got {even[0]}")
    layers: list[nn.Module] = [
        conv_bn(image_channels(shape), stem, 3, stride=2, activation=nn.ReLU6)
    ]
    channels = stem
    for block in blocks:
        layers.append(_block(channels, block))
        channels = block.channels
    return classifier(nn.Sequential(*layers), channels, classes)


def _block(inputs: int, spec: BlockSpec) -> nn.Module:
    inner = inputs * spec.expansion
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.expansion != 1:
        layers["expand"] = conv_bn(inputs, inner, 1, activation=nn.ReLU6)
    layers["depthwise"] = depthwise_bn(inner, spec.kernel, stride=spec.stride, activation=nn.ReLU6)
    layers["project"] = conv_bn(inner, spec.channels, 1)
    body = nn.Sequential(layers)
    return Residual(body) if spec.stride == 1 and inputs == spec.channels else body
