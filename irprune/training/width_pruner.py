"""Widths learned while a module is trained (Liberis & Lane, Differentiable Network Pruning)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from enum import Enum
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irprune.budget import Budget, Usage
from irprune.frontends.torch_export import foreign_code
from irprune.ir.errors import InvalidModel, UsageError
from irprune.ir.plan import Plan, fingerprint
from irprune.ir.types import Array
from irprune.passes.analysis.cost_model import CostModel, whole_widths
from irprune.passes.analysis.deployment import Precision
from irprune.passes.one_shot import expect_reachable
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.training.apply import apply_to_module, apply_to_optimizer
from irprune.training.fitting import Check, expect_reachable_on_device
from irprune.training.gates import Gates
from irprune.training.learner_state import expect_same_learner
from irprune.training.ranks import mean_of_ranks
from irprune.training.resources import Peak, ResourceLoss, Scalarization
from irprune.training.widths import clipped_gradient, width_gradient

M = TypeVar("M", bound=nn.Module)
Opt = TypeVar("Opt", bound=torch.optim.Optimizer)
Loss = Callable[[Any, Tensor], Tensor]
Batch = tuple[Any, Tensor]

_CHECKED = 5
"""The updates of widths after which what is counted is corrected by the check."""


class Feedback(Enum):
    """Which losses move the widths; one alone is for comparison (section 4.1)."""

    BOTH = "both"
    TASK = "task"
    RESOURCES = "resources"


@dataclass(frozen=True)
class WidthOptions:
    """How widths are learned.

    Attributes:
        every: the steps of training between two updates.
        rate: how far a multiplier moves against a clipped gradient, which is 0.025 at most.
        start: the steps before the first update.
        balance: the first task loss over the first resource loss, once both are weighed (r).
        alphas: the weights of resource loss and task loss, instead of the balance.
        feedback: which losses move the widths.
        scalarization: how resources become one loss.
        peak: which peak of memory counts.
        precision: how wide numbers are that the budget counts; by default as deployed.
        seed: of the resources that are drawn.
    """

    every: int = 20
    rate: float = 1.0
    start: int = 0
    balance: float = 2 / 3
    alphas: tuple[float, float] | None = None
    feedback: Feedback = Feedback.BOTH
    scalarization: Scalarization = Scalarization.RANDOM
    peak: Peak = Peak.PRECISE
    precision: Precision | None = None
    seed: int = 0

    def expect_sensible(self) -> None:
        """Raise UsageError where a number is none that can be learned with."""
        if self.every < 1:
            raise UsageError(f"widths cannot be updated every {self.every} steps")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"rate {self.rate} is not a finite number above 0")
        for name, number in (("start", self.start), ("balance", self.balance)):
            if not 0 <= number < math.inf:
                raise UsageError(f"{name} {number} is not a finite number from 0 on")
        if self.alphas is not None and not all(0 <= alpha < math.inf for alpha in self.alphas):
            raise UsageError(f"alphas {self.alphas} are not two finite numbers from 0 on")


class WidthPruner(Generic[M]):
    """Learns how many channels each group keeps, while a module is trained.

    >>> pruner = WidthPruner(model, example_inputs, Budget.parse("sram=64KB macs=3M"), held_out)
    >>> for x, y in loader:
    ...     loss = criterion(model(x), y); loss.backward(); optimizer.step(); optimizer.zero_grad()
    ...     pruner.step()
    >>> small = pruner.finish()

    Every few steps the multipliers of the widths move against the gradient of a resource loss and
    of the task's loss on held-out data, by masks that keep the most salient channels; they only
    ever shrink, and stop when the budget is met. Masks go on following the saliences until
    ``freeze``.

    Args:
        model: the module, trained as ever by its own optimizer.
        example_inputs: the arguments of its ``forward``.
        budget: what the deployed model may take.
        validation: held-out batches of inputs and targets, which are kept; several inputs are a
            tuple.
        loss: the task's loss, of the module's outputs and the targets.
        options: how widths are learned.
        check: what a graph really takes (``backends.usage.compiled_usage``). It is asked every few
            updates, by which what is counted is corrected, and whether the budget is met.

    Attributes:
        multipliers: (groups,), the share of channels that each group keeps.
        met: whether the budget is met.

    Raises:
        UsageError: the module has no channels to remove, no widths meet the budget, the
            validation batches do not fit, or an option makes no sense.
    """

    def __init__(
        self,
        model: M,
        example_inputs: tuple[object, ...],
        budget: Budget,
        validation: Iterable[Batch],
        *,
        loss: Loss = F.cross_entropy,
        options: WidthOptions = WidthOptions(),
        check: Check | None = None,
    ) -> None:
        options.expect_sensible()
        self._model = model
        self._example_inputs = example_inputs
        self._validation = list(validation)
        self._loss = loss
        self._options = options
        self._gates = Gates(model, example_inputs)
        costs = CostModel(self._gates.graph, options.precision)
        self._most = costs.widths
        self._budget = budget
        self._check = check
        self._resources = ResourceLoss(costs, budget, options.scalarization, options.peak)
        with ExitStack() as unless_sensible:
            unless_sensible.callback(self._gates.remove)
            if check is None:
                expect_reachable(self._gates.graph, costs, np.ones_like(costs.widths), budget)
            else:
                expect_reachable_on_device(self._gates.graph, budget, check)
            self._expect_validation()
            unless_sensible.pop_all()
        self._logs = torch.zeros(len(costs.widths), dtype=torch.float64)
        self._alphas = options.alphas
        self._generator = torch.Generator().manual_seed(options.seed)
        self._steps = self._updates = 0
        self._frozen = False
        self.met = self._fits()

    @property
    def multipliers(self) -> Tensor:
        """(groups,), the share of channels that each group keeps, from 0 to 1."""
        return self._logs.exp()

    @property
    def widths(self) -> Array:
        """(groups,), how many units each group keeps."""
        return whole_widths(self.multipliers * torch.from_numpy(self._most), self._most)

    @property
    def usage(self) -> Usage:
        """What a model of these widths takes, as irprune counts it."""
        return self._resources.costs.usage(self.widths)

    @property
    def excess(self) -> str:
        """What the model takes beyond the budget, by the check where there is one; else empty."""
        taken = self.usage if self._check is None else self._taken(self._check)
        return ", ".join(
            f"{name}={getattr(taken, name):,} of {getattr(self._budget, name):,}"
            for name in taken.beyond(self._budget)
        )

    @property
    def plan(self) -> Plan:
        """The channels that the masks keep."""
        kept = {}
        for group, first in zip(self._gates.channels.free, self._gates.first, strict=True):
            stays = self._gates.mask[first : first + group.width].bool().numpy()
            if not stays.all():
                kept[group.name] = tuple(sorted(group.indices[stays].ravel().tolist()))
        return Plan(fingerprint(self._gates.graph), kept)

    def step(self) -> None:
        """To be called after each step of the optimizer.

        Raises:
            UsageError: the loss on held-out data is no number.
        """
        self._steps += 1
        if self._frozen or self._steps <= self._options.start:
            return
        if (self._steps - self._options.start) % self._options.every == 0:
            if not self.met:
                self._update_widths()
            self._update_masks()
            self.met = self.met or self._fits()

    def freeze(self) -> None:
        """Let the masks stay as they are from now on."""
        self._frozen = True

    def finish(self) -> M:
        """The smaller module, to be trained on or deployed; the model is left without masks.

        It has the widths of now, whether the budget is ``met`` or not.
        """
        self._gates.remove()
        return apply_to_module(self._model, self.plan, self._example_inputs)

    def shrink(self, optimizer: Opt) -> tuple[M, Opt]:
        """The smaller module, and an optimizer that goes on with it where the one given is.

        A scheduler of rates goes on with the optimizer that it was made for: make another.
        """
        smaller = self.finish()
        moved = apply_to_optimizer(optimizer, self._model, smaller, self.plan, self._example_inputs)
        return smaller, moved

    def state_dict(self) -> dict[str, Any]:
        """All that a pruner of the same model needs to go on as this one would."""
        return {
            "graph": fingerprint(self._gates.graph),
            "budget": astuple(self._budget),
            "bounds": astuple(self._resources.budget),
            "logs": self._logs.clone(),
            "mask": self._gates.mask.clone(),
            "alphas": self._alphas,
            "generator": self._generator.get_state(),
            "steps": self._steps,
            "updates": self._updates,
            "frozen": self._frozen,
            "met": self.met,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UsageError: it is of another model, for another budget, or no state.
        """
        expect_same_learner(state, self.state_dict(), "pruner")
        if state["budget"] != astuple(self._budget):
            raise UsageError("the state is of a pruner with another budget")
        self._resources = replace(self._resources, budget=Budget(*state["bounds"]))
        self._logs = state["logs"].clone()
        self._gates.set(state["mask"])
        self._alphas = state["alphas"]
        self._generator.set_state(state["generator"])
        self._steps, self._updates = state["steps"], state["updates"]
        self._frozen, self.met = state["frozen"], state["met"]

    def _update_widths(self) -> None:
        """WIDTHUPDATE of Algorithm 1, in logarithms of the multipliers."""
        if self._check and self._updates % _CHECKED == 0:
            self._correct(self._taken(self._check))
        by_resources = self._resource_gradient()
        by_task, loss = self._task_gradient()
        if self._alphas is None:
            over = self._resources.largest(self.widths)
            self._alphas = (1.0, self._options.balance * over / loss if loss > 0 else 0.0)
        match self._options.feedback:
            case Feedback.TASK:
                by_resources = torch.zeros_like(by_resources)
            case Feedback.RESOURCES:
                by_task = torch.zeros_like(by_task)
        gradient = clipped_gradient(by_resources, by_task, self._alphas)
        if self._options.feedback is not Feedback.TASK:
            gradient[by_resources <= 0] = 0  # the focus on what is violated
        self._logs -= self._options.rate * gradient * self.multipliers
        self._logs.clamp_min_(
            -torch.from_numpy(self._most).double().log()
        )  # of one unit there is no less
        self._updates += 1

    def _resource_gradient(self) -> Tensor:
        """The derivatives of the resource loss by the multipliers."""
        multipliers = self.multipliers.requires_grad_()
        loss = self._resources(multipliers * torch.from_numpy(self._most), self._generator)
        (gradient,) = torch.autograd.grad(loss, multipliers)
        return gradient

    def _task_gradient(self) -> tuple[Tensor, float]:
        """The derivatives of the loss on held-out data by the multipliers (Eq. 9), and the loss."""
        x, y = self._validation[self._updates % len(self._validation)]
        was_training = self._model.training
        self._model.eval()
        with self._gates.differentiable() as mask:
            loss = self._loss(self._output(x), y)
            (by_mask,) = torch.autograd.grad(loss, mask)
        self._model.train(was_training)
        by_mask = mean_of_ranks(by_mask)
        value = float(mean_of_ranks(loss.detach().double()))
        if not math.isfinite(value) or not bool(torch.isfinite(by_mask).all()):
            raise UsageError(
                f"the loss on held-out data is {value} at update {self._updates}",
                hint="go back to the last good checkpoint, and train at a lower rate",
            )
        saliences = self._gates.saliences()
        found = [
            width_gradient(saliences[at : at + most], share, by_mask[at : at + most])
            for at, most, share in zip(
                self._gates.first, self._most.tolist(), self.multipliers.tolist(), strict=True
            )
        ]
        return torch.tensor(found, dtype=torch.float64), value

    def _update_masks(self) -> None:
        """MASK of Algorithm 1: the most salient channels of each group stay."""
        saliences, mask = self._gates.saliences(), torch.zeros_like(self._gates.mask)
        for at, most, count in zip(
            self._gates.first, self._most.tolist(), self.widths.tolist(), strict=True
        ):
            order = torch.argsort(saliences[at : at + most], descending=True, stable=True)
            mask[at + order[:count]] = 1
        self._gates.set(mask)

    def _taken(self, check: Check) -> Usage:
        return check(apply_widths(self._gates.graph, self.plan))

    def _fits(self) -> bool:
        """Whether the budget is met; where the count meets it, that is corrected by the check."""
        if replace(self._resources, budget=self._budget).violated(self.widths):
            return False
        if self._check is None:
            return True
        taken, budget = self._taken(self._check), self._budget
        self._correct(taken)
        if self._options.peak is not Peak.PRECISE:
            budget = replace(budget, sram=None)
        return not taken.beyond(budget)

    def _correct(self, taken: Usage) -> None:
        self._resources = self._resources.corrected(self.widths, taken, self._budget)

    def _expect_validation(self) -> None:
        if not self._validation:
            raise UsageError("there are no validation batches", hint="hold some data out")
        where = type(self._model).__name__
        was_training = self._model.training
        self._model.eval()
        try:
            for number, batch in enumerate(self._validation):
                with torch.no_grad(), foreign_code(f"does not take validation batch {number}"):
                    x, y = batch
                    loss = float(self._loss(self._output(x), y))
                if not math.isfinite(loss):
                    what = f"the loss on validation batch {number} is {loss}"
                    raise UsageError(what, where=where, hint="is it empty?")
        except InvalidModel as error:
            raise UsageError(error.what, where=where, hint="give (inputs, targets)") from error
        finally:
            self._model.train(was_training)

    def _output(self, x: Any) -> Any:
        """What the model makes of a batch: of one input, or of a tuple of several."""
        return self._model(*x) if isinstance(x, tuple) else self._model(x)
