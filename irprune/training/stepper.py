"""Steps of an optimizer, on whatever device, in whatever precision, in however many processes."""

from __future__ import annotations

import contextlib
import math
import random

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from irprune.training.config import MixedPrecision, Optimizer, Training
from irprune.training.data import Batch

WARM_UP = 0.05
"""The share of the steps in which the learning rate rises."""


def seed_all(number: int) -> None:
    """Let all that torch, numpy and Python draw from here on depend on a number alone."""
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


class Stepper:
    """Takes steps; what is random in one depends on the seed and its number alone.

    Args:
        training: how weights are trained.
        seed: of all that is random.
    """

    def __init__(self, training: Training, seed: int) -> None:
        self._training = training
        self._seed = seed
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())

    @property
    def _is_mixed(self) -> bool:
        return self._training.mixed_precision is MixedPrecision.BF16

    @property
    def rank(self) -> int:
        """Which process this is."""
        return int(self._accelerator.process_index)

    @property
    def ranks(self) -> int:
        """How many processes there are."""
        return int(self._accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """Where tensors are."""
        found: torch.device = self._accelerator.device
        return found

    def new_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of a module's parameters."""
        decay = self._training.weight_decay
        if self._training.optimizer is Optimizer.SGD:
            return torch.optim.SGD(module.parameters(), 1.0, 0.9, weight_decay=decay, nesterov=True)
        return torch.optim.AdamW(module.parameters(), weight_decay=decay)

    def train(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Let the steps that follow be of a network, by an optimizer of its parameters."""
        self._accelerator.free_memory()
        self._optimizer = optimizer
        self._network, self._prepared = self._accelerator.prepare(network, optimizer)

    def seed(self, step: int) -> None:
        """Let what is random from here on depend on a step alone."""
        seed_all((self._seed * 1_000_003 + step) * 1009 + self.rank)

    def step(self, parts: list[Batch], step: int, total: int) -> float:
        """One step on the parts of a batch.

        Returns:
            The mean loss, over all processes.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step, total)
        self._network.train()
        loss = torch.zeros((), device=self.device)
        for at, (x, y) in enumerate(parts):
            last = at == len(parts) - 1
            with contextlib.nullcontext() if last else self._accelerator.no_sync(self._network):
                # Not by accelerate, whose way stays on the module for whoever traces it.
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_mixed):
                    found = self._network(x.to(self.device))
                part = F.cross_entropy(found.float(), y.to(self.device)) / len(parts)
                self._accelerator.backward(part)
            loss += part.detach()
        self._prepared.step()
        self._prepared.zero_grad()
        return float(self._accelerator.reduce(loss, "mean"))

    def _learning_rate(self, step: int, total: int) -> float:
        """It rises in proportion to the steps, then falls as a cosine does."""
        start = max(1, round(WARM_UP * total))
        if step < start:
            return self._training.learning_rate * (step + 1) / start
        share = (step - start) / max(1, total - start)
        return self._training.learning_rate * (1 + math.cos(math.pi * share)) / 2
