"""Quantization-aware training of layers that the compiler takes apart, or that read sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from irprune.ir.errors import UsageError
from irprune.training.fake_quantizer import FakeQuantizer
from tests.quantized_training import IMAGE, SEQUENCE, compiled, results, samples, trained


class Attention(nn.Module):
    """Its three projections are one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.attention(x, x, x)[0].mean(1))
        return found


class Recurrent(nn.Module):
    """A recurrent layer, of which the last output counts."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.layer(x)[0][:, -1])
        return found


class Product(nn.Module):
    """A parameter that has its outputs last."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 12) / 3)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head((x.mean(1) @ self.weight).relu())
        return found


def over_images(layer: nn.Module) -> nn.Module:
    """A layer behind a convolution."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    module(samples(2))
    return module


def rows(*layers: nn.Module) -> nn.Module:
    """Dense layers over the last of two axes, and normalization over the first."""
    return nn.Sequential(nn.Linear(8, 12), *layers, nn.ReLU(), nn.Linear(12, 3), nn.Flatten())


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor], float]] = {
    "GroupNorm": (lambda: over_images(nn.GroupNorm(2, 8)), IMAGE, 0.02),
    "InstanceNorm": (lambda: over_images(nn.InstanceNorm2d(8)), IMAGE, 0.02),
    "ConvTranspose": (lambda: over_images(nn.ConvTranspose2d(8, 5, 3)), IMAGE, 0.02),
    "rows": (rows, SEQUENCE, 0.1),
    "attention": (Attention, SEQUENCE, 0.1),
    "product": (Product, SEQUENCE, 0.1),
    "RNN": (lambda: Recurrent(nn.RNN(8, 8, batch_first=True)), SEQUENCE, 0.1),
    "LSTM": (lambda: Recurrent(nn.LSTM(8, 8, batch_first=True)), SEQUENCE, 0.1),
    # What is between their operators is rounded in the compiled form alone.
    "GRU": (lambda: Recurrent(nn.GRU(8, 8, batch_first=True)), SEQUENCE, 0.4),
    "norm over rows": (lambda: rows(nn.BatchNorm1d(8)), SEQUENCE, 0.4),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_runtime_gives_the_numbers_that_training_saw(name: str) -> None:
    torch.manual_seed(0)
    made, example, share = MODULES[name]
    quantizer = trained(FakeQuantizer(made(), example), example=example)
    x = samples(64, 99, example)
    with torch.no_grad():
        seen, real = quantizer(x).numpy(), quantizer.module.eval()(x).numpy()
    assert not np.allclose(seen, real, atol=1e-3)
    found = results(compiled(quantizer, example=example), x)
    assert np.abs(found - seen).mean() < share * np.abs(found - real).mean()


class Grown(nn.Module):
    """It does more to batches than to a single sample."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(x)
        return found if len(x) > 1 else found.relu()


def test_a_module_that_does_other_things_to_batches() -> None:
    """Some of what is to be rounded would never be seen."""
    quantizer = FakeQuantizer(Grown(), (torch.zeros(1, 8),)).train()
    with pytest.raises(UsageError, match="'relu' is not computed of inputs of shape 4x8"):
        quantizer(torch.zeros(4, 8))
