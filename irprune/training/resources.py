"""How far a model is beyond its budget, as a loss of widths (Liberis & Lane, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from irprune.budget import Budget, Usage
from irprune.ir.types import Array
from irprune.passes.analysis.cost_model import CostModel


class Scalarization(Enum):
    """How the resources become one loss."""

    RANDOM = "random"
    """One at a time decides, drawn with more weight the more it is violated (Eq. 2)."""
    SUM = "sum"
    """The sum of what is taken of each, by its bound."""


class Peak(Enum):
    """Which peak of memory counts."""

    PRECISE = "precise"
    """That of the best order."""
    IMPRECISE = "imprecise"
    """The largest inputs and outputs of one operator, as earlier work has it."""
    NONE = "none"
    """None: SRAM is left to chance."""


@dataclass(frozen=True)
class ResourceLoss:
    """The resource loss of a model's widths.

    Attributes:
        costs: what the model costs.
        budget: what it may cost.
        scalarization: how the resources become one loss.
        peak: which peak counts.
    """

    costs: CostModel
    budget: Budget
    scalarization: Scalarization = Scalarization.RANDOM
    peak: Peak = Peak.PRECISE

    def corrected(self, widths: Array, taken: Usage, budget: Budget) -> ResourceLoss:
        """The same with bounds that these widths keep where they keep a budget in truth.

        The bound of a peak that is not the precise one stays.

        Args:
            widths: (groups,) whole widths.
            taken: what they really take.
            budget: what they may take.
        """
        bounds = budget.as_counted(self.costs.usage(widths), taken)
        if self.peak is not Peak.PRECISE:
            bounds = replace(bounds, sram=self.budget.sram)
        return replace(self, budget=bounds)

    def ratios(self, widths: Any) -> dict[str, Any]:
        """What is taken of each resource that is bounded, over its bound."""
        peak = self.costs.imprecise_peak if self.peak is Peak.IMPRECISE else self.costs.peak
        measures = {
            "sram": (peak, self.budget.sram if self.peak is not Peak.NONE else None),
            "flash": (self.costs.model_size, self.budget.flash),
            "macs": (self.costs.macs, self.budget.macs),
        }
        return {
            name: measure(widths) / max(bound, 1)
            for name, (measure, bound) in measures.items()
            if bound is not None
        }

    def violated(self, widths: Array) -> dict[str, float]:
        """The resources of which whole widths take more than the budget has, and their ratios."""
        return {name: float(r) for name, r in self.ratios(widths).items() if r > 1}

    def largest(self, widths: Array) -> float:
        """The loss where the resource decides that is violated most."""
        return max([r - 1 for r in self.violated(widths).values()], default=0.0)

    def __call__(self, widths: Tensor, generator: torch.Generator) -> Tensor:
        """The loss, 0 where the budget is met.

        Args:
            widths: (groups,) real widths, whose gradient it carries.
            generator: of the weights of the resources, each the inverse of a uniform number.
        """
        ratios = self.ratios(widths)
        weights = 1 / (1 - torch.rand(len(ratios), generator=generator, dtype=torch.float64))
        return scalarized(ratios, weights.tolist(), self.scalarization, widths)


def scalarized(
    ratios: Mapping[str, Any], weights: list[float], how: Scalarization, like: Tensor
) -> Tensor:
    """One loss of what is taken of each resource, over its bound.

    The weights choose among the resources, and scale nothing (Eq. 2, and the text below it).
    """
    nothing = 0 * like.sum()
    values = list(ratios.values())
    taken = [torch.as_tensor(value).detach().item() for value in values]
    if all(share <= 1 for share in taken):
        return nothing
    if how is Scalarization.SUM:
        return sum(values, nothing)
    chosen = max(range(len(values)), key=lambda i: taken[i] * weights[i])
    return nothing + values[chosen] - 1 if taken[chosen] > 1 else nothing
