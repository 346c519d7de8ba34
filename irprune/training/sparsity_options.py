"""How sparsity is learned: the choices of a ``SparsityLearner``.

Sections and equations are of Retsinas et al., Weight Pruning via Adaptive Sparsity Loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from irprune.ir.errors import UsageError

LEAST_SPARSITY = 0.01
"""Of a learned threshold, which is above 0; below, a mask takes more than it saves."""

UNBOUNDED_START = 0.5
"""The sparsity that thresholds start from where nothing is bounded."""


class Threshold(Enum):
    """Where a threshold for a given sparsity comes from."""

    SEARCHED = "searched"
    """From bisection, which is exact (fixed-BS, Eq. 2)."""
    GAUSSIAN = "gaussian"
    """From the deviation, as if weights were normally distributed (fixed-GA, Eq. 3)."""


class Density(Enum):
    """What the loss takes for the density of a layer; its gradient is the Gaussian's (Eq. 19)."""

    COUNTED = "counted"
    """What it is, so that budgets are met however weights are distributed."""
    GAUSSIAN = "gaussian"
    """What it would be of normally distributed weights, as the paper has it (Eq. 5)."""


@dataclass(frozen=True)
class FixedSparsity:
    """The same sparsity in each layer (section 3.3).

    Attributes:
        sparsity: the share of weights that are zero, from 0 to less than 1.
        threshold: where thresholds come from.
        margin: how far from it the sparsity of a layer may be, where thresholds are searched.
    """

    sparsity: float
    threshold: Threshold = Threshold.SEARCHED
    margin: float = 1e-3

    def expect_sensible(self) -> None:
        """Raise UsageError where no layer can be so sparse."""
        _expect_share("sparsity", self.sparsity)
        _expect_share("margin", self.margin)


@dataclass(frozen=True)
class SparsityOptions:
    """How sparsity is learned.

    Attributes:
        leave: patterns of the paths of weights that stay whole, such as ``stem.*``.
        depthwise: whether depthwise convolutions lose weights, too.
        start: the sparsity that learned thresholds start from; None for the least that meets the
            budget in all layers, or a half where nothing is bounded.
        rate: how far a learned threshold moves against its gradient, in deviations of the weights.
        momentum: how much of the last step is in the next.
        density: what the loss takes for the density of a layer.
        every: the steps between two checks, where widths stay.
    """

    leave: tuple[str, ...] = ()
    depthwise: bool = False
    start: float | None = None
    rate: float = 0.005
    momentum: float = 0.9
    density: Density = Density.COUNTED
    every: int = 100

    def expect_sensible(self) -> None:
        """Raise UsageError where a number is none that can be learned with."""
        if self.start is not None:
            _expect_share("start", self.start)
        _expect_share("momentum", self.momentum)
        if not 0 < self.rate < math.inf:
            raise UsageError(f"rate {self.rate} is not a finite number above 0")
        if self.every < 1:
            raise UsageError(f"the check cannot be asked every {self.every} steps")


def _expect_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise UsageError(f"{name} {share} is not a share from 0 to less than 1")
