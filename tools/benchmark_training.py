"""Time steps of training with a learner beside plain ones, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from irprune import zoo
from irprune.ir.types import Bytes
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import FixedSparsity, Threshold
from irprune.training.sparsity_terms import BoundedBytes, BoundedCost, SparsityCost
from tools.benchmark import check

MODEL = "resnet8"
BATCH = 32
SPARSITY_BOUND = 1.10

Step = Callable[[], None]


class Learner(Protocol):
    """What is added to a loop: to its loss, and after each step."""

    def loss(self) -> Tensor:
        """What is added to the loss."""

    def step(self) -> None:
        """What is done after a step."""


class Nothing:
    """The loop as it is."""

    def loss(self) -> Tensor:
        """Nothing."""
        return torch.zeros(())

    def step(self) -> None:
        """Nothing."""


def sparsity(goal: Any) -> Callable[[nn.Module, tuple[Tensor, ...]], Learner]:
    return lambda module, inputs: SparsityLearner(module, inputs, goal)


LEARNERS = {
    "sparsity, searched": (sparsity(FixedSparsity(0.85)), SPARSITY_BOUND),
    "sparsity, Gaussian": (sparsity(FixedSparsity(0.85, Threshold.GAUSSIAN)), SPARSITY_BOUND),
    "sparsity, budget of weights": (
        sparsity([BoundedCost(SparsityCost.PARAMETERS, 0.15)]),
        SPARSITY_BOUND,
    ),
    "sparsity, budget of bytes": (sparsity([BoundedBytes(Bytes(20_000))]), SPARSITY_BOUND),
}
"""What is measured, and how much longer a step may take with it."""


def measure_training(runs: int = 60) -> list[bool]:
    """A step of ResNet-8 with each learner over one without, on one core."""
    torch.set_num_threads(1)
    met = []
    for label, (learner, bound) in LEARNERS.items():
        plain, learned = stepper(lambda *_: Nothing()), stepper(learner)
        pairs = [(seconds(learned), seconds(plain)) for _ in range(runs)]
        with_learner, without = (statistics.median(side) for side in zip(*pairs, strict=True))
        note = f"a step of {MODEL}, {BATCH} images: {1e3 * without:.0f} ms without"
        met.append(check(label, with_learner / without, bound, "x", note))
    return met


def stepper(made: Callable[[nn.Module, tuple[Tensor, ...]], Learner]) -> Step:
    """A whole step of training on one batch, after some to warm up."""
    module, inputs = zoo.from_spec(MODEL)
    module.train()
    learner = made(module, inputs)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, *inputs[0].shape[1:], generator=generator)
    y = torch.randint(0, 10, (BATCH,), generator=generator)

    def step() -> None:
        loss = functional.cross_entropy(module(x), y) + learner.loss()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        learner.step()

    for _ in range(5):
        step()
    return step


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
