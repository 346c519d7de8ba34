"""Sparsity learned while a module is trained.

Sections and equations are of Retsinas et al., Weight Pruning via Adaptive Sparsity Loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from irprune.ir.errors import UsageError
from irprune.ir.plan import Plan, fingerprint, loads
from irprune.training.apply import apply_to_module
from irprune.training.learner_state import expect_same_learner
from irprune.training.mask_costs import MaskCosts, SizeCheck
from irprune.training.ranks import mean_of_ranks
from irprune.training.replay import trace_without_hooks
from irprune.training.sparse_layers import sparse_layers
from irprune.training.sparsity_options import (
    LEAST_SPARSITY,
    UNBOUNDED_START,
    Density,
    FixedSparsity,
    SparsityOptions,
    Threshold,
)
from irprune.training.sparsity_terms import (
    BoundedBytes,
    BoundedCost,
    SparsityTerm,
    total_loss,
)
from irprune.training.substitution import ParameterPlace, Substitution, substitutions
from irprune.training.thresholds import (
    gaussian_bound,
    gaussian_sparsity,
    searched_threshold,
    shrink,
)

M = TypeVar("M", bound=nn.Module)
_ROUNDS = 20
"""Bisections of the sparsity that thresholds start from."""

_STARTS = 6
"""The times that it is corrected by the check."""

_IDLE = 5
"""Steps without a forward pass after which the model is taken for no longer in use."""


class SparsityLearner(Generic[M]):
    """Makes weights of small magnitude zero, while a module is trained.

    >>> goal = [BoundedCost(SparsityCost.PARAMETERS, 0.15)]
    >>> learner = SparsityLearner(model, example_inputs, goal)
    >>> for x, y in loader:
    ...     loss = criterion(model(x), y) + learner.loss()
    ...     loss.backward(); optimizer.step(); optimizer.zero_grad()
    ...     learner.step()
    >>> sparse = learner.finish()

    In the forward pass the weights of each layer below its threshold are zero; backwards gradients
    go straight through, so that all weights learn and what was pruned can come back (section
    3.3.3). Thresholds are for a sparsity that is given, or learned (section 3.4): a goal of terms
    is added to the task's loss, against which each layer's threshold moves by stochastic gradient
    descent, as in the paper. There one optimizer has weights and thresholds; here thresholds have
    their own rate, because they are in deviations of the weights, and an optimizer that scales
    gradients or decays weights would shift the balance of the two losses. Gradients must not be
    scaled when ``step`` is called, as gradient scalers for float16 do.

    Works beside a ``WidthPruner`` and below a ``FakeQuantizer`` of the same module, whichever comes
    first; a pruned weight is exactly the zero of integers. With ``plan=lambda: pruner.plan`` all
    that is counted is of the channels that stay, and ``plan`` and ``finish`` have both; without it
    there can be no budget beside widths. The module that ``WidthPruner.shrink`` or ``finish``
    returns has no masks: it needs a new learner.

    Args:
        model: the module, trained as ever by its own optimizer, on the device where it stays.
        example_inputs: the arguments of its ``forward``.
        goal: a sparsity, or terms of the loss.
        options: how it is learned.
        check: the bytes that coded weights of a graph really take (``estimated_bytes``,
            ``encoded_bytes``, ``compiled_bytes``). It is asked every few steps and when widths
            change, and what is counted of compressed bytes is multiplied accordingly.
        plan: the channels that stay now, of a ``WidthPruner`` of the same module whose state is
            loaded before that of the learner.

    Attributes:
        whole: the weights that stay whole, by their paths, and why.

    Raises:
        UsageError: the module has no weights that can be made zero, those of a layer are all of
            one magnitude or zero, the goal or an option makes no sense, no thresholds meet the
            budget, or the check finds no number of bytes.
    """

    def __init__(
        self,
        model: M,
        example_inputs: tuple[object, ...],
        goal: FixedSparsity | Sequence[SparsityTerm],
        *,
        options: SparsityOptions = SparsityOptions(),
        check: SizeCheck | None = None,
        plan: Callable[[], Plan] | None = None,
    ) -> None:
        self._model = model
        self._example_inputs = example_inputs
        self._options = options
        self._traced = trace_without_hooks(model, example_inputs)
        found = sparse_layers(model, self._traced, options.leave, depthwise=options.depthwise)
        self.whole: Mapping[str, str] = found.whole
        self._layers = found.sparse
        self._fixed = goal if isinstance(goal, FixedSparsity) else None
        self._terms = () if isinstance(goal, FixedSparsity) else tuple(goal)
        self._costs = MaskCosts(model, self._traced, self._layers, self._terms, check, plan)
        self._expect_sensible()
        elements = self._costs.sizes.elements
        self._bounds = torch.zeros_like(elements)
        self._least = torch.full_like(elements, gaussian_bound(LEAST_SPARSITY))
        self._velocity = torch.zeros_like(elements)
        self._thresholds = torch.zeros_like(elements)
        self._densities = torch.ones_like(elements)
        self._gone: list[Tensor] = []
        self._steps = self._idle = 0
        self._frozen = self._asked = False
        self._costs.expect_reachable()
        self._set_out()
        self._bounds.requires_grad_(self._fixed is None)
        self._substitution = Substitution(model, self._pruned, first=True)

    @property
    def sparsity(self) -> float:
        """The share of the weights of all sparse layers that is pruned, as of the last step.

        Of channels that stay, where these are known; of layers left whole nothing is counted.
        """
        elements = self._costs.sizes.elements
        return 1 - float((elements * self._densities).sum() / elements.sum())

    @property
    def sparsities(self) -> Mapping[str, float]:
        """The same of each layer, by the path of its weights."""
        return dict(zip(self._costs.sizes.paths, (1 - self._densities).tolist(), strict=True))

    @property
    def coded_bytes(self) -> float:
        """Bytes of all coded weights, as counted and corrected by the last check."""
        return float(self._costs.sizes.coded_bytes(self._densities))

    @property
    def plan(self) -> Plan:
        """The weights that stay now, and the channels where these are known."""
        return self._costs.plan(self._gone)

    def loss(self) -> Tensor:
        """What is to be added to the task's loss, a scalar; 0 of a sparsity that is given."""
        self._asked = True
        if self._frozen or self._fixed:
            return torch.zeros_like(self._densities[0])
        densities = 1 - gaussian_sparsity(self._bounds)
        if self._options.density is Density.COUNTED:
            densities = densities + (self._densities - densities).detach()
        return total_loss(self._terms, self._costs.sizes, densities)

    def step(self) -> None:
        """To be called after each step of the optimizer.

        Raises:
            UsageError: the loss or weights are no numbers, ``loss`` has not been asked for, the
                model has not been run for some steps, there is a budget beside widths that are not
                known, or as ``freeze`` does for a check.
        """
        self._steps += 1
        self._idle += 1
        self._expect_run()
        self._expect_channels()
        if self._frozen:
            return
        if self._terms:
            self._move_thresholds()
        moved = self._costs.follow_widths()
        self._follow_weights()
        if moved or self._steps % self._options.every == 0:
            self._costs.measure(self._gone)

    def freeze(self) -> None:
        """Let the weights that are zero now stay zero, and the others not become it, from now on.

        Where costs are bounded and above it, all thresholds are first raised by one number of
        deviations, the least that meets the budget; by a check to one of 2,000 weights. Ranges and
        gaps of layers are not kept by this. Of several processes that train one model, all call
        this, as they do ``finish``: where there is a check, they wait for each other.

        Raises:
            UsageError: nothing meets the budget, or the check finds no number of bytes.
        """
        if self._costs.follow_widths() and not self._frozen:
            self._follow_weights()
        self._take(self._costs.met(self._gone, self._thresholds))
        self._frozen = True
        self._bounds.requires_grad_(False)

    def finish(self) -> M:
        """A copy of the module with zeros for weights that are pruned; the model is left as it is.

        It meets the budget, as after ``freeze``. Training it on makes it dense again: train the
        model, with its masks frozen, and finish then.

        Raises:
            UsageError: as ``freeze`` and ``apply_to_module`` do, or the model has not been run for
                some steps.
        """
        self._expect_run()
        self.freeze()
        self._substitution.remove()
        return apply_to_module(self._model, self.plan, self._example_inputs)

    def state_dict(self) -> dict[str, Any]:
        """All that a learner of the same model needs to go on as this one would."""
        return {
            "graph": fingerprint(self._traced.graph),
            "paths": self._costs.sizes.paths,
            "goal": self._goal(),
            "bounds": self._bounds.detach().clone(),
            "velocity": self._velocity.clone(),
            "thresholds": self._thresholds.clone(),
            "gone": [gone.clone() for gone in self._gone],
            "channels": None if self._costs.kept is None else self._costs.kept.dumps(),
            "ratio": self._costs.sizes.ratio,
            "steps": self._steps,
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UsageError: it is of another model, of other layers, for another goal, or no state.
        """
        expect_same_learner(state, self.state_dict(), "learner")
        if tuple(state["paths"]) != self._costs.sizes.paths:
            raise UsageError("the state is of a learner of other layers", hint="leave the same")
        if state["goal"] != self._goal():
            raise UsageError(
                "the state is of a learner with another goal", hint=f"it was {state['goal']}"
            )
        if (state["channels"] is None) == self._costs.knows_widths:
            raise UsageError("one of the learner and its state knows of channels, and one does not")
        like = self._thresholds
        self._bounds = state["bounds"].to(like).clone()
        self._velocity = state["velocity"].to(like).clone()
        self._thresholds = state["thresholds"].to(like).clone()
        self._costs.count_by(None if state["channels"] is None else loads(state["channels"]))
        self._costs.correct(state["ratio"])
        self._take([gone.to(like.device) for gone in state["gone"]])
        self._steps, self._frozen = state["steps"], state["frozen"]
        self._bounds.requires_grad_(self._fixed is None and not self._frozen)

    def _goal(self) -> str:
        return repr(self._fixed or (self._terms, self._options.density))

    def _set_out(self) -> None:
        """Thresholds to start from, those that meet the budget by the check where there is one."""
        before = None
        for _ in range(_STARTS):
            start = self._start()
            self._prune(start)
            if before is not None and abs(start - before) < LEAST_SPARSITY:
                break
            self._costs.measure(self._gone)
            before = start

    def _start(self) -> float:
        """The sparsity that thresholds are for before training."""
        if self._fixed:
            return self._fixed.sparsity
        if self._options.start is not None:
            return max(self._options.start, LEAST_SPARSITY)
        if not any(isinstance(term, BoundedCost | BoundedBytes) for term in self._terms):
            return UNBOUNDED_START
        low, high = LEAST_SPARSITY, 1 - LEAST_SPARSITY
        for _ in range(_ROUNDS):
            middle = (low + high) / 2
            self._prune(middle)
            over = self._costs.over(self._densities)
            low, high = (middle, high) if over else (low, middle)
        return high

    def _prune(self, sparsity: float) -> None:
        """By the thresholds for a sparsity of normally distributed weights."""
        self._bounds.fill_(gaussian_bound(sparsity))
        self._follow_weights()

    def _pruned(self) -> Iterator[tuple[ParameterPlace, Tensor]]:
        """What the module computes with."""
        self._idle = 0
        bounds = self._bounds.unbind() if self._bounds.requires_grad else [None] * len(self._gone)
        for layer, gone, bound in zip(self._layers, self._gone, bounds, strict=True):
            for place in layer.places:
                yield place, shrink(place.tensor, gone, bound)

    def _move_thresholds(self) -> None:
        """A step of gradient descent, between the least sparsity and one weight in a layer."""
        if not self._asked:
            raise UsageError("the learner's loss was not added", hint="loss + learner.loss()")
        self._asked = False
        gradient = self._bounds.grad
        if gradient is None:
            raise UsageError(
                "there is no gradient for the thresholds", hint="call backward() before step()"
            )
        gradient = mean_of_ranks(gradient)
        self._expect_finite(gradient)
        options = self._options
        with torch.no_grad():
            self._velocity.mul_(options.momentum).add_(gradient)
            self._bounds -= options.rate * self._velocity
            most = [gaussian_bound(1 - 1 / max(n, 2)) for n in self._costs.sizes.elements.tolist()]
            self._bounds.clamp_(self._least, self._bounds.new_tensor(most))
        self._bounds.grad = None

    def _follow_weights(self) -> None:
        """Thresholds and masks for the weights as they are now."""
        magnitudes = [layer.weights.abs() for layer in self._layers]
        deviations = self._costs.deviations()
        self._expect_finite(deviations)
        if self._fixed and self._fixed.threshold is Threshold.SEARCHED:
            guesses = self._thresholds.tolist()
            found = [
                searched_threshold(of_layer, self._fixed.sparsity, self._fixed.margin, guess)
                for of_layer, guess in zip(self._costs.live.of(magnitudes), guesses, strict=True)
            ]
            self._thresholds = torch.tensor(found, dtype=torch.float64).to(deviations)
        else:
            self._thresholds = self._bounds.detach() * deviations
        limits, greatest = self._thresholds.unbind(), self._costs.greatest(magnitudes)
        triples = zip(magnitudes, limits, greatest, strict=True)
        # What is zero by itself is gone, too, though no threshold is below it.
        self._take([(of < torch.minimum(limit, most)) | (of == 0) for of, limit, most in triples])

    def _take(self, gone: list[Tensor]) -> None:
        self._gone, self._densities = gone, self._costs.live.densities(gone)

    def _expect_sensible(self) -> None:
        where = type(self._model).__name__
        if not self._fixed and not self._terms:
            raise UsageError("there is no goal", where=where, hint="give a sparsity, or terms")
        try:
            self._options.expect_sensible()
            if self._fixed:
                self._fixed.expect_sensible()
        except UsageError as error:
            raise error.at(where) from None
        for term in self._terms:
            term.expect_possible(self._costs.sizes)

    def _expect_channels(self) -> None:
        others = [s for s in substitutions(self._model) if s is not self._substitution]
        bounded = any(isinstance(term, BoundedCost | BoundedBytes) for term in self._terms)
        if bounded and others and not self._costs.knows_widths:
            raise UsageError(
                "a budget beside widths is that of the channels that stay",
                where=type(self._model).__name__,
                hint="let the learner know them (plan=lambda: pruner.plan)",
            )

    def _expect_run(self) -> None:
        if self._idle > _IDLE:
            raise UsageError(
                f"the model has not been run in the last {_IDLE} steps",
                where=type(self._model).__name__,
                hint="a module with fewer channels needs a learner of its own",
            )

    def _expect_finite(self, tensor: Tensor) -> None:
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            path = self._costs.sizes.paths[int((~finite).nonzero()[0])]
            raise UsageError(
                f"the loss or the weights are no numbers at step {self._steps}",
                where=path,
                hint="go back to the last good checkpoint, and train at a lower rate",
            )
