"""Time steps of training with a learner beside plain ones, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

import irprune
from irprune import zoo
from irprune.budget import Budget
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.cost_model import CostModel
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import FixedSparsity, Threshold
from irprune.training.sparsity_terms import BoundedBytes, BoundedCost, SparsityCost
from irprune.training.width_pruner import WidthOptions, WidthPruner
from tools.benchmark import check

BATCH = 32
WIDTHS_EVERY = 20
"""Steps between two updates of widths, as in the paper; what is timed has one update in it."""

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


class Widths(Nothing):
    """Widths that are learned, for half of every resource."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        model = CostModel(irprune.load(module, inputs))
        whole = model.usage(model.widths)
        budget = Budget(Bytes(whole.sram // 2), Bytes(whole.flash // 2), Macs(whole.macs // 2))
        options = WidthOptions(every=WIDTHS_EVERY)
        held_out = batch_for(inputs, seed=1)
        self.pruner = WidthPruner(module, inputs, budget, [held_out], options=options)

    def step(self) -> None:
        """Let the pruner see a step."""
        self.pruner.step()


Made = Callable[[nn.Module, tuple[Tensor, ...]], Learner]


@dataclass(frozen=True)
class Case:
    """What is measured: a learner on a model, in blocks of so many steps."""

    label: str
    model: str
    learner: Made
    steps: int = 1
    runs: int = 60
    bound: float = 1.10


def sparsity(goal: Any) -> Made:
    return lambda module, inputs: SparsityLearner(module, inputs, goal)


CASES = (
    Case("sparsity, searched", "resnet8", sparsity(FixedSparsity(0.85))),
    Case("sparsity, Gaussian", "resnet8", sparsity(FixedSparsity(0.85, Threshold.GAUSSIAN))),
    Case(
        "sparsity, budget of weights",
        "resnet8",
        sparsity([BoundedCost(SparsityCost.PARAMETERS, 0.15)]),
    ),
    Case("sparsity, budget of bytes", "resnet8", sparsity([BoundedBytes(Bytes(20_000))])),
    Case("widths", "resnet8", Widths, WIDTHS_EVERY, runs=9),
    Case("widths", "mobilenet_v2?classes=10", Widths, WIDTHS_EVERY, runs=5),
)


def measure_training() -> list[bool]:
    """Steps with each learner over steps without, in turn, on one core."""
    torch.set_num_threads(1)
    met = []
    for case in CASES:
        plain = stepper(case.model, lambda *_: Nothing())
        learned = stepper(case.model, case.learner)
        took: dict[Step, list[float]] = {plain: [], learned: []}
        for run in range(case.runs):
            for step in (plain, learned) if run % 2 else (learned, plain):
                took[step].append(seconds(step, case.steps))
        ratios = [a / b for a, b in zip(took[learned], took[plain], strict=True)]
        each = 1e3 * statistics.median(took[plain]) / case.steps
        note = f"a step of {case.model}, {BATCH} images: {each:.0f} ms without"
        met.append(check(case.label, statistics.median(ratios), case.bound, "x", note))
    return [*met, time_early_termination()]


def time_early_termination(steps: int = 400) -> bool:
    """A whole training that goes on with the small network once a quarter of all is met."""
    module, inputs = zoo.from_spec("resnet8")
    model = CostModel(irprune.load(module, inputs))
    whole = model.usage(model.widths)
    budget = Budget(Bytes(whole.sram // 2), Bytes(whole.flash // 4), Macs(whole.macs // 4))
    pruned = seconds(lambda: train_and_shrink(budget, steps))
    plain = seconds(stepper("resnet8", lambda *_: Nothing()), steps)
    note = f"{steps} steps of resnet8: {plain:.0f} s without"
    return check("widths, early termination", pruned / plain, 1.0, "x", note)


def train_and_shrink(budget: Budget, steps: int) -> None:
    """Training with a pruner, and without it on what comes out."""
    module, inputs = zoo.from_spec("resnet8")
    module.train()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    x, y = batch_for(inputs, seed=0)
    options = WidthOptions(every=WIDTHS_EVERY, rate=8.0)
    pruner = WidthPruner(module, inputs, budget, [batch_for(inputs, seed=1)], options=options)
    pruning = True
    for _ in range(steps):
        torch.autograd.backward(functional.cross_entropy(module(x), y))
        optimizer.step()
        optimizer.zero_grad()
        if pruning:
            pruner.step()
        if pruning and pruner.met:
            module, optimizer = pruner.shrink(optimizer)
            pruning = False


def batch_for(inputs: tuple[Tensor, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Noise of a batch, in ten classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, *inputs[0].shape[1:], generator=generator)
    return x, torch.randint(0, 10, (BATCH,), generator=generator)


def stepper(model: str, made: Made) -> Step:
    """A whole step of training on one batch, after some to warm up."""
    module, inputs = zoo.from_spec(model)
    module.train()
    learner = made(module, inputs)
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    x, y = batch_for(inputs, seed=0)

    def step() -> None:
        loss = functional.cross_entropy(module(x), y) + learner.loss()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        learner.step()

    for _ in range(5):
        step()
    return step


def seconds(step: Step, count: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - start
