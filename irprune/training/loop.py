"""An optional loop of training, which a killed process goes on with as if nothing had been."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from irprune.backends.files import write_atomically
from irprune.backends.usage import compiled_usage
from irprune.frontends.load import load, load_module
from irprune.frontends.torch_export import foreign_code
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint, loads
from irprune.passes.analysis.cost_model import CostModel
from irprune.training.apply import apply_to_module, apply_to_optimizer
from irprune.training.config import Method, TrainConfig, differences
from irprune.training.data import Batch, Batches, Samples, splits
from irprune.training.fake_quantizer import FakeQuantizer
from irprune.training.fitting import (
    expect_reachable_on_device,
    one_shot_plan,
    uniform_plan,
)
from irprune.training.history import Row, Stage
from irprune.training.inputs import classes_of, example_inputs_of
from irprune.training.state import damaged, encoded_state, read_state
from irprune.training.stepper import Stepper, seed_all
from irprune.training.width_pruner import Feedback, WidthOptions, WidthPruner

CHECKPOINT = "checkpoint.safetensors"
STATE = (
    *("graph", "config", "step", "plan", "module"),
    *("optimizer", "pruner", "quantizer", "rows"),
)
"""What is in it."""
ROWS_EVERY = 20
"""The steps between two rows of the history."""
FROZEN = 0.75
"""The share of quantization-aware training after which ranges and statistics stay."""
OBSERVED = 20
"""The steps of quantization-aware training that only observe ranges, where none are given."""
EVALUATED = 256
"""Samples that are run at once without training."""

Watch = Callable[[int, int, Row | None], None]
"""Told after each step how many steps have been taken, of how many, and the new row if any."""


class Loop:
    """Trains the model of a configuration, within its budget.

    What is random in a step depends on the seed and the step alone, so that a run that goes on from
    a checkpoint ends with the weights, bit for bit, of one that was not interrupted.

    Args:
        config: what to train, and how.
        folder: where checkpoints go.
        watch: told of each step.

    Attributes:
        config: what to train, and how.
        module: the module, smaller once it has been pruned.
        example_inputs: the arguments of its ``forward``.
        data: what it is trained and tested on.
        quantizer: the module on the grid of integers, once that is trained for.
        plan: the channels that it has kept; None while it has all.
        rows: what has happened.
        graph: that of the module before it is pruned.

    Raises:
        UsageError, InvalidModel, UnsupportedOp: the model, data or budget cannot be used.
    """

    def __init__(self, config: TrainConfig, folder: Path, watch: Watch) -> None:
        self.config, self._folder, self._watch = config, folder, watch
        training = config.training
        self._stepper = Stepper(training, config.seed)
        seed_all(config.seed)
        module, example_inputs = load_module(config.model)
        self.data = splits(config.data.source, config.data.path, config.data.held_out, config.seed)
        self.module = module.to(self._stepper.device)
        examples = example_inputs_of(example_inputs, self.data.held_out, config)
        self.example_inputs = tuple(
            self._placed(x) if isinstance(x, Tensor) else x for x in examples
        )
        self._batches = Batches(
            self.data.train,
            training.batch,
            training.accumulate,
            config.seed,
            self._stepper.rank,
            self._stepper.ranks,
            classes_of(self.module, self.example_inputs, self.data.held_out, config),
        )
        self._per_epoch = self._batches.per_epoch
        self.graph = load(self.module, self.example_inputs)
        model = CostModel(self.graph)
        self._usage = model.usage(model.widths)
        self._total = training.epochs * self._per_epoch
        self._on_integers = (training.epochs - config.quantization.epochs) * self._per_epoch
        self._frozen = self._on_integers + round(FROZEN * (self._total - self._on_integers))
        self._observing = self._steps_observing()
        self._step = 0
        self._begun = False
        self._held: bytes | None = None
        self.plan: Plan | None = None
        self.quantizer: FakeQuantizer | None = None
        self.rows: list[Row] = []
        self._pruner: WidthPruner[nn.Module] | None = None
        self._optimizer = self._stepper.new_optimizer(self.module)
        self._stepper.train(self.module, self._optimizer)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one of several that writes and tells."""
        return self._stepper.rank == 0

    @property
    def checkpoint(self) -> Path:
        """The file with the state."""
        return self._folder / CHECKPOINT

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            UsageError: there is none, it is damaged, or of another run.
        """
        state, where = read_state(self.checkpoint), str(self.checkpoint)
        lacking = [key for key in STATE if key not in state]
        if lacking:
            raise damaged(f"its state lacks {', '.join(lacking)}", self.checkpoint)
        if state["graph"] != fingerprint(self.graph):
            raise UsageError("is of another model", where=where, hint="use another folder")
        changed = ", ".join(differences(state["config"], self.config.model_dump(mode="json")))
        if changed:
            raise UsageError(
                f"is of a run with other settings: {changed}",
                where=where,
                hint="use another folder, or the settings of before",
            )
        if state["plan"] is not None:
            self._shrink(loads(state["plan"]))
        self._step, self._begun = state["step"], True
        self._load(self.module, state["module"])
        try:
            self._optimizer.load_state_dict(state["optimizer"])
            self.rows = [Row(**{**row, "stage": Stage(row["stage"])}) for row in state["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(str(error), self.checkpoint) from None
        if state["pruner"] is not None:
            self._start_pruning()
            assert self._pruner is not None
            self._pruner.load_state_dict(state["pruner"])
        if state["quantizer"] is not None:
            self._start_quantization()
            assert self.quantizer is not None
            self._load(self.quantizer, state["quantizer"])
        self._count()

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # errors tell of it
    def run(self) -> None:
        """Train to the end, with checkpoints on the way.

        Raises:
            UsageError: a loss is no number, or the budget is not met in time; the error names the
                last checkpoint.
        """
        if not self._begun:
            self._begin()
            self._hold()
        try:
            while self._step < self._total:
                epoch, first = divmod(self._step, self._per_epoch)
                batches = self._batches.of(epoch, first)
                for _ in range(first, self._per_epoch):
                    self._advance(batches)
            if self._pruner is not None:
                self._finish_pruning()
            self._expect_finite()
            self._hold()
            self._save()
        except UsageError as error:
            hints = [error.hint] if error.hint else []
            if self.checkpoint.exists():
                hints.append(f"the last good checkpoint is {self.checkpoint}")
            raise UsageError(error.what, where=error.where, hint="; ".join(hints)) from None

    def accuracy(self, network: nn.Module, samples: Samples) -> float:
        """The share of samples whose class a network finds.

        What is random in the samples is the same each time.
        """
        seed_all(self.config.seed)
        network.eval()
        right = 0
        with torch.no_grad(), foreign_code("the data cannot be read"):
            for x, y in DataLoader(samples, EVALUATED):
                found = network(self._placed(x)).argmax(1)
                right += int((found.cpu() == y).sum())
        return right / len(samples)

    def _begin(self) -> None:
        """What comes before the first step."""
        if self.config.method is Method.ONE_SHOT:
            expect_reachable_on_device(self.graph, self.config.limits, compiled_usage)
        if self.config.method is Method.UNIFORM:
            self._shrink(uniform_plan(self.graph, self.config.limits, compiled_usage))
        if self.config.method is Method.WIDTHS:
            self._start_pruning()

    def _advance(self, batches: Iterator[list[Batch]]) -> None:
        """One step, and what comes between it and the next."""
        self._stepper.seed(self._step)
        self._change_stage()
        loss = self._stepper.step(next(batches), self._step, self._total)
        if not math.isfinite(loss):
            raise UsageError(f"the loss is {loss} at step {self._step}", hint="lower learning_rate")
        self._save()
        self._step += 1
        if self._pruner is not None:
            self._pruner.step()
            if self._pruner.met and self.config.pruning.early_termination:
                self._finish_pruning()
        whole = self._step % self._per_epoch == 0
        row = self._row(loss, whole) if whole or self._step % ROWS_EVERY == 0 else None
        if whole or self._step % self.config.training.checkpoint_every == 0:
            self._hold()
        if self.is_main:
            self._watch(self._step, self._total, row)

    def _change_stage(self) -> None:
        """What is due before a step."""
        if self.config.method is Method.ONE_SHOT and self._step == self._on_integers // 2:
            self._shrink(one_shot_plan(self._now(), self.config.limits, compiled_usage))
        if self._step == self._on_integers:
            if self._pruner is not None:
                self._finish_pruning()
            self._start_quantization()
        if self.quantizer is not None and self._step == self._frozen:
            self.quantizer.freeze()

    def _steps_observing(self) -> int:
        """The steps on integers that only observe ranges.

        Raises:
            UsageError: in none of those before ranges stay anything would be rounded.
        """
        before, given = self._frozen - self._on_integers, self.config.quantization.start
        if given is None:
            return min(OBSERVED, before // 2)
        if before and given >= before:
            raise UsageError(
                f"quantization.start is {given}, and ranges stay after {before} steps",
                hint="lower it, or raise quantization.epochs",
            )
        return given

    def _start_pruning(self) -> None:
        config = self.config.pruning
        options = WidthOptions(
            every=config.every,
            balance=config.balance,
            alphas=config.alphas,
            rate=config.rate,
            start=config.start,
            feedback=config.feedback,
            scalarization=config.scalarization,
            peak=config.peak,
            seed=self.config.seed,
        )
        seed_all(self.config.seed)
        size = self.config.training.batch
        loader = DataLoader(self.data.held_out, min(size, len(self.data.held_out)))
        with foreign_code("the data cannot be read", where=self.config.data.source):
            held_out = [batch for _, batch in zip(range(config.batches), loader, strict=False)]
        self._pruner = WidthPruner(
            self.module,
            self.example_inputs,
            self.config.limits,
            [(self._placed(x), self._placed(y)) for x, y in held_out],
            options=options,
            check=compiled_usage,
        )

    def _finish_pruning(self) -> None:
        """Go on with the small module."""
        pruner = self._pruner
        assert pruner is not None
        if not pruner.met and pruner.excess and self.config.pruning.feedback is not Feedback.TASK:
            raise UsageError(
                f"the budget is not met after {self._step} steps of pruning: {pruner.excess}",
                hint="raise pruning.rate, lower pruning.balance, or train for more epochs",
            )
        self._pruner = None
        plan = pruner.plan
        pruner.finish()
        self._shrink(plan)

    def _shrink(self, plan: Plan) -> None:
        """Put the module that a plan makes, and its optimizer, in the place of the whole one."""
        smaller = apply_to_module(self.module, plan, self.example_inputs)
        self._optimizer = apply_to_optimizer(
            self._optimizer, self.module, smaller, plan, self.example_inputs
        )
        self.module, self.plan = smaller, plan
        self._count()
        self._stepper.train(self.module, self._optimizer)

    def _start_quantization(self) -> None:
        passes = self._observing * self.config.training.accumulate
        quantizer = FakeQuantizer(self.module, self.example_inputs, start=passes)
        self.quantizer = quantizer.to(self._stepper.device)
        self._stepper.train(self.quantizer, self._optimizer)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._stepper.device)

    def _now(self) -> Graph:
        return load(self.module, self.example_inputs)

    def _count(self) -> None:
        model = CostModel(self._now())
        self._usage = model.usage(model.widths)

    def _row(self, loss: float, whole: bool) -> Row:
        """What is to be told of the step that has been taken."""
        usage = self._usage if self._pruner is None else self._pruner.usage
        network = self.module if self.quantizer is None else self.quantizer
        row = Row(
            step=self._step,
            epoch=self._step / self._per_epoch,
            stage=self._stage(),
            loss=loss,
            learning_rate=self._optimizer.param_groups[0]["lr"],
            accuracy=self.accuracy(network, self.data.held_out) if whole else None,
            sram=usage.sram,
            flash=usage.flash,
            macs=usage.macs,
        )
        self.rows.append(row)
        return row

    def _stage(self) -> Stage:
        if self.quantizer is not None:
            return Stage.QUANTIZE
        return Stage.TRAIN if self._pruner is None or self._pruner.met else Stage.PRUNE

    def _hold(self) -> None:
        """Take down the state, to be saved once it turns out to be good: its loss is a number."""
        if not self.is_main:
            return
        self._held = encoded_state(
            {
                "graph": fingerprint(self.graph),
                "config": self.config.model_dump(mode="json"),
                "step": self._step,
                "plan": None if self.plan is None else self.plan.dumps(),
                "module": self.module.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "pruner": None if self._pruner is None else self._pruner.state_dict(),
                "quantizer": None if self.quantizer is None else self.quantizer.state_dict(),
                "rows": [asdict(row) for row in self.rows],
            }
        )

    def _save(self) -> None:
        if self._held is not None:
            write_atomically(self.checkpoint, self._held)
            self._held = None

    def _expect_finite(self) -> None:
        for name, tensor in self.module.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise UsageError(
                    f"'{name}' is not finite after the last step", hint="lower learning_rate"
                )

    def _load(self, module: nn.Module, state: dict[str, Any]) -> None:
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            what = str(error).splitlines()[0]
            raise UsageError(
                f"does not fit the model: {what}", where=str(self.checkpoint)
            ) from None
