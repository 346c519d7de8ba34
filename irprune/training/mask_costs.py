"""What masks of a module's weights cost, and the masks of least sparsity that keep a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from irprune.frontends.torch_export import Traced
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.training.live_weights import live_weights
from irprune.training.masks import current_graph, masks_of
from irprune.training.ranks import mean_of_ranks
from irprune.training.sparse_layers import SparseLayer
from irprune.training.sparsity_terms import BoundedBytes, BoundedCost, LayerSizes, SparsityTerm

SizeCheck = Callable[[Graph], float]
"""The bytes that a graph's coded weights really take."""

_CHECKS = 12
"""The times that a check is asked which masks are enough."""


class MaskCosts:
    """Counts what weights cost that are left by masks, and by a plan of channels.

    Args:
        model: the module.
        traced: what was traced of it.
        layers: those that lose weights.
        terms: among which are the budgets.
        check: the bytes that coded weights of a graph really take.
        widths: the channels that stay now; None where all do.

    Attributes:
        kept: the channels that are counted by; None for all.
        live: what is there of the layers.
        sizes: of the layers, by that, and corrected by the last check.
        knows_widths: whether it is told what channels stay.
    """

    def __init__(
        self,
        model: nn.Module,
        traced: Traced,
        layers: Sequence[SparseLayer],
        terms: Sequence[SparsityTerm],
        check: SizeCheck | None,
        widths: Callable[[], Plan] | None,
    ) -> None:
        self._model = model
        self._traced = traced
        self._layers = layers
        self._bounded = [t for t in terms if isinstance(t, BoundedCost | BoundedBytes)]
        self._check = check
        self._widths = widths
        self.knows_widths = widths is not None
        self.kept = None if widths is None else widths()
        self.live = live_weights(traced, layers, self.kept)
        self.sizes: LayerSizes = self.live.sizes

    def follow_widths(self) -> bool:
        """Count by the channels that stay now; whether these are others than before."""
        if self._widths is None:
            return False
        plan, before = self._widths(), self.kept
        if before is not None and plan.kept == before.kept:
            return False
        self.count_by(plan)
        return True

    def count_by(self, plan: Plan | None) -> None:
        """Count by the channels that a plan keeps; None for all."""
        self.kept, self.live = plan, live_weights(self._traced, self._layers, plan)
        self.correct(self.sizes.ratio)

    def correct(self, ratio: float) -> None:
        """Count with what coded weights take, over what they are counted to take."""
        self.sizes = replace(self.live.sizes, ratio=ratio)

    def plan(self, gone: Sequence[Tensor]) -> Plan:
        """The weights that stay, and the channels."""
        by_path = {layer.path: of_layer for layer, of_layer in zip(self._layers, gone, strict=True)}
        kept = {} if self.kept is None else self.kept.kept
        masks = masks_of(self._traced, by_path)
        return Plan(fingerprint(self._traced.graph), kept, masks=masks)

    def measure(self, gone: Sequence[Tensor]) -> None:
        """Ask the check what coded weights really take; in several processes, the mean of theirs.

        Raises:
            UsageError: it finds no number of bytes.
        """
        if self._check is None:
            return
        plan = self.plan(gone)
        graph = apply_sparsity(current_graph(self._traced, self._model), plan)
        own = self._check(apply_widths(graph, plan))
        found = float(mean_of_ranks(torch.tensor(own, dtype=torch.float64)))
        if not 0 < found < math.inf:
            raise UsageError(
                f"the check found {found} bytes of coded weights, not a finite number above 0",
                where=type(self._model).__name__,
            )
        self.correct(1.0)
        self.correct(found / float(self.sizes.coded_bytes(self.live.densities(gone))))

    def over(self, densities: Tensor) -> bool:
        """Whether a cost is beyond its bound."""
        return any(float(term.over(self.sizes, densities)) > 0 for term in self._bounded)

    def expect_reachable(self) -> None:
        """Raise UsageError where a budget is not kept with one weight in each layer."""
        if not self._bounded:
            return
        gone = []
        magnitudes = [layer.weights.abs() for layer in self._layers]
        for of_layer, greatest in zip(magnitudes, self.greatest(magnitudes), strict=True):
            last = torch.ones_like(of_layer, dtype=torch.bool)
            last.view(-1)[(of_layer == greatest).flatten().int().argmax()] = False
            gone.append(last)
        self.measure(gone)
        self._expect_kept(gone)
        self.correct(1.0)

    def met(self, gone: list[Tensor], thresholds: Tensor) -> list[Tensor]:
        """Masks that keep all budgets: those given, or those of thresholds that are raised alike.

        They rise by one number of deviations of their layers, the least that is enough, by the
        check to one of 2,000 weights. Weights go in the order in which that takes them; the
        greatest of a layer stays.

        Args:
            gone: of each layer, the weights that are gone already.
            thresholds: (layers,), what rises.

        Raises:
            UsageError: nothing is enough, or the check finds no number of bytes.
        """
        self.measure(gone)
        if not self.over(self.live.densities(gone)):
            return gone
        distances = self._distances(gone, thresholds)
        order = torch.cat([of_layer.flatten() for of_layer in self.live.of(distances)])
        order = order[order.isfinite()].sort().values

        def without(count: int) -> list[Tensor]:
            if count == 0:
                return gone
            pairs = zip(gone, distances, strict=True)
            found = [before | (of_layer <= order[count - 1]) for before, of_layer in pairs]
            self.measure(found)
            return found

        low, high, asked = 0, len(order), 1
        best = without(high)
        self._expect_kept(best)
        sizes = self.sizes
        while high - low > 1 and (self._check is None or asked < _CHECKS):
            middle = (low + high) // 2
            found = without(middle)
            if self.over(self.live.densities(found)):
                low = middle
            else:
                high, best, sizes = middle, found, self.sizes
            asked += 1
        self.sizes = sizes
        return best

    def greatest(self, magnitudes: Sequence[Tensor]) -> list[Tensor]:
        """Of each layer, the greatest magnitude that is there."""
        return [of_layer.max() for of_layer in self.live.of(magnitudes)]

    def deviations(self) -> Tensor:
        """(layers,), the deviations of the weights that are there."""
        live = self.live.of([layer.weights for layer in self._layers])
        return torch.stack([of.std(correction=int(of.numel() > 1)) for of in live])

    def _distances(self, gone: Sequence[Tensor], thresholds: Tensor) -> list[Tensor]:
        """Of each weight the deviations to its threshold; infinite where it does not go."""
        magnitudes = [layer.weights.abs() for layer in self._layers]
        limits, deviations = thresholds.unbind(), self.deviations().unbind()
        found = []
        for of_layer, before, limit, deviation, most in zip(
            magnitudes, gone, limits, deviations, self.greatest(magnitudes), strict=True
        ):
            stays = before | (of_layer >= most)
            found.append(((of_layer - limit) / deviation).masked_fill(stays, math.inf))
        return found

    def _expect_kept(self, gone: Sequence[Tensor]) -> None:
        for term in self._bounded:
            term.expect_kept(self.sizes, self.live.densities(gone))
