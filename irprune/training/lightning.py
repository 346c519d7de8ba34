"""Widths learned in PyTorch Lightning's own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.utilities import move_data_to_device
from torch import nn
from torch.nn import functional as F

from irprune.budget import Budget
from irprune.ir.errors import UsageError
from irprune.training.fitting import Check
from irprune.training.width_pruner import Batch, Loss, WidthOptions, WidthPruner


class WidthPruning(lightning.Callback):
    """A callback that learns widths (``WidthPruner``) while a LightningModule is fitted.

    >>> pruning = WidthPruning(example_inputs, budget, held_out)
    >>> lightning.Trainer(callbacks=[pruning]).fit(module, loader)
    >>> small = pruning.pruner.finish()

    Its state is in the trainer's checkpoints.

    Args:
        example_inputs: the arguments of the module's ``forward``.
        budget: what the deployed model may take.
        validation: held-out batches of inputs and targets, which are kept; several inputs are a
            tuple.
        loss: the task's loss, of the module's outputs and the targets.
        options: how widths are learned.
        check: what a graph really takes on the device.

    """

    def __init__(
        self,
        example_inputs: tuple[object, ...],
        budget: Budget,
        validation: Sequence[Batch],
        *,
        loss: Loss = F.cross_entropy,
        options: WidthOptions = WidthOptions(),
        check: Check | None = None,
    ) -> None:
        self._example_inputs = example_inputs
        self._budget = budget
        self._validation = validation
        self._loss = loss
        self._options = options
        self._check = check
        self._state: Mapping[str, Any] = {}
        self._pruner: WidthPruner[nn.Module] | None = None
        self._seen = 0

    @property
    def pruner(self) -> WidthPruner[nn.Module]:
        """The pruner.

        Raises:
            UsageError: no fit has begun.
        """
        if self._pruner is None:
            raise UsageError("there is no pruner before a fit")
        return self._pruner

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Make the pruner, with the state of a checkpoint where there is one."""
        if self._pruner is not None:
            return
        device = pl_module.device
        self._pruner = WidthPruner(
            pl_module,
            move_data_to_device(self._example_inputs, device),
            self._budget,
            move_data_to_device(list(self._validation), device),
            loss=self._loss,
            options=self._options,
            check=self._check,
        )
        self._seen = trainer.global_step
        if self._state:
            self._pruner.load_state_dict(self._state)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let the pruner see each step of the optimizer."""
        if trainer.global_step > self._seen:
            self._seen = trainer.global_step
            self.pruner.step()
            pl_module.log("pruning/met", float(self.pruner.met))

    def state_dict(self) -> dict[str, Any]:
        """The pruner's state; nothing before a fit."""
        return {} if self._pruner is None else self._pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there once the fit begins."""
        self._state = state_dict
