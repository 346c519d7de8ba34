"""Settings of small training runs, and a module with models and data of a person's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from irprune.training.config import TrainConfig, parse_config
from irprune.training.history import Row
from irprune.training.loop import Loop
from irprune.training.outcome import Outcome, write_outcome

BUDGET = "sram=1700 flash=6500 macs=40k"
SETTINGS: dict[str, Any] = {
    "model": "zoo:ds_cnn?input=1x8x8&classes=10&widths=16-24-24",
    "budget": BUDGET,
    "data": {"source": "digits"},
    "training": {"epochs": 9, "batch": 64, "learning_rate": 0.02, "checkpoint_every": 7},
    "pruning": {"every": 4, "rate": 4.0},
    "quantization": {"epochs": 2, "start": 4},
}


CONFIG = """
model = "zoo:ds_cnn?input=1x8x8&classes=10&widths=16-24-24"
budget = "sram=1700 flash=6500 macs=40k"
data.source = "digits"
training = {epochs = 9, batch = 64, learning_rate = 0.02, checkpoint_every = 7}
pruning = {every = 4, rate = 4.0}
quantization = {epochs = 2, start = 4}
"""
"""The same, as a file."""


def config(**changes: Any) -> TrainConfig:
    return parse_config({**SETTINGS, **changes})


def trained(folder: Path, settings: TrainConfig) -> tuple[Loop, Outcome]:
    folder.mkdir()
    loop = Loop(settings, folder, ignored)
    loop.run()
    return loop, write_outcome(loop, folder)


def ignored(step: int, total: int, row: Row | None) -> None:
    pass


MODULE = """
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

def model():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(144, 3))

def dropping():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
                         nn.Flatten(), nn.Linear(288, 3))

class Noisy(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.randn(1) + random.gauss() + float(np.random.randn()), y

def noisy():
    train, test = data()
    return Noisy(*train.tensors), Noisy(*test.tensors)

class Interrupted(TensorDataset):
    count = 0

    def __getitem__(self, index):
        Interrupted.count += 1
        if Interrupted.count == 100:
            raise KeyboardInterrupt
        return super().__getitem__(index)

def interrupted():
    train, test = data()
    return Interrupted(*train.tensors), test

def four_images():
    return model(), (torch.zeros(4, 1, 8, 8),)

def five_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

def no_layers():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def wide_images():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))

def images():
    return nn.Conv2d(1, 4, 3)

def data():
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = (images.mean((1, 2, 3)) > 0).long()
    return TensorDataset(images, labels), TensorDataset(images[:8], labels[:8])

def broken():
    images = torch.full((64, 1, 8, 8), float("nan"))
    return TensorDataset(images, torch.zeros(64).long()), TensorDataset(images, torch.zeros(64))

def one():
    return TensorDataset(torch.zeros(1, 1, 8, 8), torch.zeros(1)), []

def unequal():
    return [(torch.zeros(1, 8, 8 + i), 0) for i in range(64)], [(torch.zeros(1, 8, 8), 0)]

def three():
    return TensorDataset(*[torch.zeros(64, 1, 8, 8)] * 3), TensorDataset(torch.zeros(1))

def reals():
    return TensorDataset(torch.zeros(64, 1, 8, 8), torch.zeros(64)), TensorDataset(torch.zeros(1))

def negative():
    labels = torch.full((64,), -1)
    return TensorDataset(torch.zeros(64, 1, 8, 8), labels), TensorDataset(torch.zeros(1))

def nothing():
    return 3
"""
