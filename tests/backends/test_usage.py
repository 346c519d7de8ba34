"""What a trained model takes, as it is said of one that is not trained yet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irprune
from irprune.backends.compile import CompileOptions, compile_tflite
from irprune.backends.usage import compiled_usage, usage_of
from irprune.ir.types import Array

IMAGE = torch.zeros(1, 1, 8, 8)


class Scale(nn.Module):
    """A factor and a shift for each channel, which are 1 and 0 before training."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(8, 1, 1))
        self.shift = nn.Parameter(torch.zeros(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * self.factor + self.shift


class Masked(nn.Module):
    """Attention that does not look ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mask = nn.Buffer(torch.full((8, 8), -100.0).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        found: Tensor = self.attention(rows, rows, rows, attn_mask=self.mask)[0]
        return found


def over_images(layer: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), layer(), nn.Conv2d(8, 8, 3, padding=1), layer()),
        *(nn.Conv2d(8, 8, 3, padding=1), layer(), nn.Flatten(), nn.Linear(512, 4)),
    )


def dense() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 12), nn.LayerNorm(12), nn.ReLU()),
        *(nn.Linear(12, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 4)),
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: over_images(lambda: nn.PReLU(8)),
        lambda: over_images(nn.PReLU),
        lambda: over_images(Scale),
        lambda: over_images(lambda: nn.GroupNorm(2, 8)),
        lambda: over_images(lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())),
        dense,
        Masked,
    ],
    ids=["PReLU", "one PReLU", "scale", "GroupNorm", "BatchNorm", "LayerNorm", "mask"],
)
def test_what_training_makes_different_is_counted(make: Callable[[], nn.Module]) -> None:
    """A file has equal constants once; trained ones are not equal."""
    torch.manual_seed(0)
    module = make().eval()
    said = compiled_usage(irprune.load(module, (IMAGE,)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.add_(torch.rand_like(buffer))
    graph = irprune.load(module, (IMAGE,))
    options = CompileOptions(plan=True)
    taken = usage_of(compile_tflite(graph, [samples()], options))
    assert (said.sram, said.macs) == (taken.sram, taken.macs)
    assert taken.flash <= said.flash <= 1.06 * taken.flash


def samples() -> list[Array]:
    return [np.random.default_rng(1).standard_normal(IMAGE.shape).astype(np.float32)]
