"""A small network whose weights are made zero while it is trained, and data for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import FixedSparsity, SparsityOptions
from irprune.training.sparsity_terms import SparsityTerm
from tests.stripes import batches

IMAGE = (torch.zeros(1, 1, 8, 8),)
FAST = SparsityOptions(rate=0.02)
SPARSE = ("stem.0.weight", "body.0.weight", "dense.weight", "head.weight")


class Net(nn.Module):
    """Convolutions, a depthwise one among them, a sum and dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.body = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.dense, self.head = nn.Linear(16, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = (y + self.body(self.depthwise(y))).mean((2, 3))
        z: Tensor = self.head(F.relu(self.dense(y)))
        return z


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def train(
    model: nn.Module,
    learner: SparsityLearner[Any],
    data: list[tuple[Tensor, Tensor]],
    optimizer: Any = None,
    also: Any = None,
) -> Any:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    model.train()
    for x, y in data:
        loss = F.cross_entropy(model(x), y) + learner.loss()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        learner.step()
        if also is not None:
            also.step()
    return optimizer


def learned(
    goal: FixedSparsity | Sequence[SparsityTerm], steps: int = 60, **kwargs: Any
) -> tuple[Net, SparsityLearner[Net]]:
    model = net()
    learner = SparsityLearner(model, IMAGE, goal, options=FAST, **kwargs)
    train(model, learner, batches(steps))
    return model, learner
