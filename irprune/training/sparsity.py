"""Sparsity learned while a module is trained.

Sections and equations are of Retsinas et al., Weight Pruning via Adaptive Sparsity Loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint
from irprune.passes.analysis.deployment import weights
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.training.apply import apply_to_module
from irprune.training.masks import current_graph, masks_of
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
    LayerSizes,
    SparsityTerm,
    total_loss,
)
from irprune.training.substitution import ParameterPlace, Substitution
from irprune.training.thresholds import (
    gaussian_bound,
    gaussian_sparsity,
    searched_threshold,
    shrink,
)

M = TypeVar("M", bound=nn.Module)
SizeCheck = Callable[[Graph], float]
"""The bytes that a graph's coded weights really take."""

_ROUNDS = 20
"""Bisections of the factor that thresholds are raised by."""

_HIGHEST = 2.0**20
"""The factor at which no layer can lose another weight."""

_CHECKS = 10
"""The times that a check may find more than the budget has, once thresholds are raised."""


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
    first; a pruned weight is exactly the zero of integers. One plan for ``apply_to_module`` has
    both: ``dataclasses.replace(pruner.plan, masks=learner.plan.masks)``.

    Args:
        model: the module, trained as ever by its own optimizer, on the device where it stays.
        example_inputs: the arguments of its ``forward``.
        goal: a sparsity, or terms of the loss.
        options: how it is learned.
        check: the bytes that coded weights of a graph really take (``estimated_bytes``,
            ``encoded_bytes``). It is asked every few steps, and what is counted of compressed
            bytes is multiplied accordingly.

    Attributes:
        whole: the weights that stay whole, by their paths, and why.

    Raises:
        UsageError: the module has no weights that can be made zero, those of a layer are all of
            one magnitude or zero, the sparsity is not from 0 to less than 1, or no thresholds meet
            the budget.
    """

    def __init__(
        self,
        model: M,
        example_inputs: tuple[object, ...],
        goal: FixedSparsity | Sequence[SparsityTerm],
        *,
        options: SparsityOptions = SparsityOptions(),
        check: SizeCheck | None = None,
    ) -> None:
        self._model = model
        self._example_inputs = example_inputs
        self._options = options
        self._check = check
        self._traced = trace_without_hooks(model, example_inputs)
        found = sparse_layers(model, self._traced, options.leave, depthwise=options.depthwise)
        self.whole: Mapping[str, str] = found.whole
        self._layers = found.sparse
        self._fixed = goal if isinstance(goal, FixedSparsity) else None
        self._terms = () if isinstance(goal, FixedSparsity) else tuple(goal)
        like = self._layers[0].weights
        like = like.to(torch.promote_types(like.dtype, torch.float32))
        elements = like.new_tensor([layer.weights.numel() for layer in self._layers])
        self._sizes = LayerSizes(
            tuple(layer.path for layer in self._layers),
            elements,
            like.new_tensor([layer.macs for layer in self._layers]),
            sum(v.type.elements for v in weights(self._traced.graph)) - int(elements.sum()),
        )
        self._expect_possible()
        self._bounds = torch.full_like(elements, gaussian_bound(self._start()))
        self._bounds.requires_grad_(self._fixed is None)
        self._least = torch.full_like(elements, gaussian_bound(LEAST_SPARSITY))
        self._most = like.new_tensor([gaussian_bound(1 - 1 / n) for n in elements.tolist()])
        self._velocity = torch.zeros_like(elements)
        self._thresholds = torch.zeros_like(elements)
        self._densities = torch.ones_like(elements)
        self._gone: list[Tensor] = []
        self._steps = 0
        self._frozen = self._asked = False
        self._follow_weights()
        self._measure()
        self._substitution = Substitution(model, self._pruned, first=True)

    @property
    def sparsity(self) -> float:
        """The share of the weights of all sparse layers that is zero now."""
        elements = self._sizes.elements
        return 1 - float((elements * self._densities).sum() / elements.sum())

    @property
    def sparsities(self) -> Mapping[str, float]:
        """The share of each layer's weights that is zero now, by the path of the weights."""
        return dict(zip(self._sizes.paths, (1 - self._densities).tolist(), strict=True))

    @property
    def coded_bytes(self) -> float:
        """Bytes of all coded weights, as counted and corrected by the last check."""
        return float(self._sizes.coded_bytes(self._densities))

    @property
    def plan(self) -> Plan:
        """The weights that stay now."""
        gone = {layer.path: gone for layer, gone in zip(self._layers, self._gone, strict=True)}
        graph = self._traced.graph
        return Plan(fingerprint(graph), masks=masks_of(self._traced, gone))

    def loss(self) -> Tensor:
        """What is to be added to the task's loss, a scalar; 0 of a sparsity that is given."""
        self._asked = True
        if self._frozen or self._fixed:
            return torch.zeros_like(self._densities[0])
        densities = 1 - gaussian_sparsity(self._bounds)
        if self._options.density is Density.COUNTED:
            densities = densities + (self._densities - densities).detach()
        return total_loss(self._terms, self._sizes, densities)

    def step(self) -> None:
        """To be called after each step of the optimizer.

        Raises:
            UsageError: the loss or weights are no numbers, or ``loss`` has not been asked for.
        """
        self._steps += 1
        if self._frozen:
            return
        if self._terms:
            self._move_thresholds()
        self._follow_weights()
        if self._steps % self._options.every == 0:
            self._measure()

    def freeze(self) -> None:
        """Let the weights that are zero now stay zero, and the others not become it, from now on.

        Where costs are bounded and above it, all thresholds are raised by one factor first, the
        least that meets the budget.

        Raises:
            UsageError: the check goes on finding more than the budget has.
        """
        self._meet_bounds()
        self._frozen = True
        self._bounds.requires_grad_(False)

    def finish(self) -> M:
        """A copy of the module with zeros for weights that are pruned; the model is left as it is.

        It meets the budget, as after ``freeze``. Training it on makes it dense again: train the
        model, with its masks frozen, and finish then.

        Raises:
            UsageError: as ``freeze`` and ``apply_to_module`` do.
        """
        self.freeze()
        self._substitution.remove()
        return apply_to_module(self._model, self.plan, self._example_inputs)

    def state_dict(self) -> dict[str, Any]:
        """All that a learner of the same model needs to go on as this one would."""
        return {
            "graph": fingerprint(self._traced.graph),
            "paths": self._sizes.paths,
            "bounds": self._bounds.detach().clone(),
            "velocity": self._velocity.clone(),
            "thresholds": self._thresholds.clone(),
            "gone": [gone.clone() for gone in self._gone],
            "ratio": self._sizes.ratio,
            "steps": self._steps,
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            UsageError: it is of another model, or of other layers.
        """
        if state.get("graph") != fingerprint(self._traced.graph):
            raise UsageError("the state is of a learner of another model")
        if tuple(state["paths"]) != self._sizes.paths:
            raise UsageError("the state is of a learner of other layers", hint="leave the same")
        like = self._thresholds
        self._bounds = state["bounds"].to(like).clone()
        self._velocity = state["velocity"].to(like).clone()
        self._thresholds = state["thresholds"].to(like).clone()
        self._take([gone.to(like.device) for gone in state["gone"]])
        self._sizes = replace(self._sizes, ratio=state["ratio"])
        self._steps, self._frozen = state["steps"], state["frozen"]
        self._bounds.requires_grad_(self._fixed is None and not self._frozen)

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
            over = self._over(torch.full_like(self._sizes.elements, 1 - middle))
            low, high = (middle, high) if over else (low, middle)
        return high

    def _pruned(self) -> Iterator[tuple[ParameterPlace, Tensor]]:
        """What the module computes with."""
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
            self._bounds.clamp_(self._least, self._most)
        self._bounds.grad = None

    def _follow_weights(self) -> None:
        """Thresholds and masks for the weights as they are now."""
        magnitudes = [layer.weights.abs() for layer in self._layers]
        deviations = torch.stack([layer.weights.std() for layer in self._layers])
        self._expect_finite(deviations)
        if self._fixed and self._fixed.threshold is Threshold.SEARCHED:
            guesses = self._thresholds.tolist()
            found = [
                searched_threshold(of_layer, self._fixed.sparsity, self._fixed.margin, guess)
                for of_layer, guess in zip(magnitudes, guesses, strict=True)
            ]
            self._thresholds = torch.tensor(found, dtype=torch.float64).to(deviations)
        else:
            self._thresholds = self._bounds.detach() * deviations
        self._take(self._below(magnitudes, 1.0))

    def _below(self, magnitudes: Sequence[Tensor], factor: float) -> list[Tensor]:
        """The weights below a multiple of their thresholds; the greatest of a layer stays."""
        limits = (self._thresholds * factor).unbind()
        pairs = zip(magnitudes, limits, strict=True)
        return [of_layer < torch.minimum(limit, of_layer.max()) for of_layer, limit in pairs]

    def _take(self, gone: list[Tensor]) -> None:
        self._gone = gone
        self._densities = 1 - torch.stack([g.sum() for g in gone]) / self._sizes.elements

    def _meet_bounds(self) -> None:
        """Raise thresholds until costs are within their bounds, by the check where there is one."""
        self._measure()
        for _ in range(_CHECKS):
            if not self._over(self._densities):
                return
            self._raise_thresholds()
            self._measure()
        raise UsageError(
            f"coded weights take {self.coded_bytes:,.0f} bytes, which no threshold helps",
            where=type(self._model).__name__,
            hint="give more bytes, or remove channels first (WidthPruner)",
        )

    def _raise_thresholds(self) -> None:
        """By the least factor, the same for all, that meets the budget as it is counted."""
        magnitudes = [layer.weights.abs() for layer in self._layers]
        before = self._gone

        def take(factor: float) -> bool:
            below = self._below(magnitudes, factor)
            self._take([a | b for a, b in zip(before, below, strict=True)])
            return not self._over(self._densities)

        low, high = 0.0, 2.0
        while not take(high) and high < _HIGHEST:
            low, high = high, 2 * high
        for _ in range(_ROUNDS):
            middle = (low + high) / 2
            low, high = (low, middle) if take(middle) else (middle, high)
        take(high)
        self._thresholds = self._thresholds * high
        self._bounds = (self._bounds.detach() * high).requires_grad_(self._bounds.requires_grad)

    def _over(self, densities: Tensor) -> bool:
        """Whether a cost is beyond its bound."""
        bounded = (t for t in self._terms if isinstance(t, BoundedCost | BoundedBytes))
        return any(float(term.over(self._sizes, densities)) > 0 for term in bounded)

    def _measure(self) -> None:
        """Ask the check what coded weights really take."""
        if self._check is None:
            return
        graph = apply_sparsity(current_graph(self._traced, self._model), self.plan)
        counted = float(replace(self._sizes, ratio=1.0).coded_bytes(self._densities))
        self._sizes = replace(self._sizes, ratio=self._check(graph) / counted)

    def _expect_possible(self) -> None:
        where = type(self._model).__name__
        if self._fixed and not 0 <= self._fixed.sparsity < 1:
            what = f"sparsity {self._fixed.sparsity} is not a share from 0 to less than 1"
            raise UsageError(what, where=where)
        if not self._fixed and not self._terms:
            raise UsageError("there is no goal", where=where, hint="give a sparsity, or terms")
        if not 0 <= (self._options.start or 0) < 1:
            what = f"start {self._options.start} is not a share from 0 to less than 1"
            raise UsageError(what, where=where)
        for term in self._terms:
            term.expect_possible(self._sizes)

    def _expect_finite(self, tensor: Tensor) -> None:
        finite = torch.isfinite(tensor)
        if not bool(finite.all()):
            path = self._sizes.paths[int((~finite).nonzero()[0])]
            raise UsageError(
                f"the loss or the weights are no numbers at step {self._steps}",
                where=path,
                hint="go back to the last good checkpoint, and train at a lower rate",
            )
