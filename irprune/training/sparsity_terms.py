"""What sparsity is learned for: terms of a loss of the densities of layers.

Sections and equations are of Retsinas et al., Weight Pruning via Adaptive Sparsity Loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor

from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes
from irprune.training.sparsity_options import LEAST_SPARSITY

BITS = 8
"""Of a weight that is not coded."""


class SparsityCost(Enum):
    """What a layer's density counts for, as a share of what the dense layers cost."""

    LAYERS = "layers"
    """Each layer the same: the mean density (Eq. 6)."""
    PARAMETERS = "parameters"
    """Each layer by its weights: the share of weights that are not zero (Eq. 8 and 9)."""
    MACS = "macs"
    """Each by its multiply-accumulates: the share of those by weights that are not zero."""
    COMPRESSED = "compressed"
    """By the bytes of coded weights: a mask, and those that are not zero (UDC, Eq. 4)."""


class Penalty(Enum):
    """What a cost beyond its bound adds to the loss."""

    SQUARED = "squared"
    """The square of the difference, on either side (Eq. 10)."""
    ONE_SIDED = "one-sided"
    """The difference, where the cost is above (Eq. 11)."""


@dataclass(frozen=True)
class LayerSizes:
    """The layers that lose weights.

    Attributes:
        paths: of the layers' weights.
        elements: (layers,), how many weights each has.
        macs: (layers,), the multiply-accumulates by them.
        copies: (layers,), how often each is stored: once for each form in which it is read.
        whole: how many weights other layers have, which stay.
        ratio: what coded weights really take, over what they are counted to take.
    """

    paths: tuple[str, ...]
    elements: Tensor
    macs: Tensor
    copies: Tensor
    whole: int = 0
    ratio: float = 1.0

    @property
    def raw_bytes(self) -> float:
        """Bytes of all weights as they are."""
        return (float((self.elements * self.copies).sum()) + self.whole) * BITS / 8

    def share(self, cost: SparsityCost, densities: Tensor) -> Tensor:
        """What layers of such densities cost, over what they cost dense.

        Eq. 8 is printed with another 1/N, with which a budget could not be reached.

        Args:
            cost: what counts.
            densities: (layers,), the shares of weights that stay, whose gradient it carries.
        """
        match cost:
            case SparsityCost.LAYERS:
                return densities.mean()
            case SparsityCost.PARAMETERS:
                return (self.elements * densities).sum() / self.elements.sum()
            case SparsityCost.MACS:
                return (self.macs * densities).sum() / self.macs.sum()
            case SparsityCost.COMPRESSED:
                return self.coded_bytes(densities) / self.raw_bytes

    def coded_bytes(self, densities: Tensor) -> Tensor:
        """Bytes of the coded weights of all layers, those that stay whole among them."""
        stored = self.elements * self.copies
        bits = (stored * coded_bits(densities)).sum() + self.whole * BITS
        return self.ratio * bits / 8

    def matching(self, pattern: str) -> Tensor:
        """The positions of the layers whose paths match a pattern, as file names do.

        Raises:
            UsageError: none does.
        """
        found = [i for i, path in enumerate(self.paths) if fnmatchcase(path, pattern)]
        if not found:
            raise UsageError(f"no layer matches '{pattern}'", hint=f"there are {_listed(self)}")
        return torch.tensor(found, device=self.elements.device)


def coded_bits(densities: Tensor) -> Tensor:
    """An upper bound of the entropy of a weight, in bits: s b + H2(s) (UDC, Eq. 4).

    ``passes.analysis.entropy.bits_per_weight`` for tensors; the printed form is looser.
    """
    kept = densities.clamp(1e-7, 1 - 1e-7)
    mask = -(kept * kept.log2() + (1 - kept) * (1 - kept).log2())
    return BITS * densities + mask


@dataclass(frozen=True)
class MinimizedCost:
    """As little of a cost as the task allows (Eq. 7).

    Attributes:
        cost: what counts.
        strength: what it is multiplied by (lambda).
    """

    cost: SparsityCost = SparsityCost.PARAMETERS
    strength: float = 1.0

    def expect_possible(self, layers: LayerSizes) -> None:
        """Raise UsageError where the term makes no sense for these layers."""
        _expect_strength(self.strength)

    def loss(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """The term, a scalar."""
        return self.strength * layers.share(self.cost, densities)


@dataclass(frozen=True)
class BoundedCost:
    """A budget of a cost, as a share of what the dense layers cost (Eq. 10 and 11).

    Attributes:
        cost: what counts.
        bound: the share, above 0 and at most 1; 0.15 of the parameters is 85 % sparsity.
        strength: what it is multiplied by (lambda).
        penalty: what being beyond it costs.
    """

    cost: SparsityCost
    bound: float
    strength: float = 50.0
    penalty: Penalty = Penalty.SQUARED

    def expect_possible(self, layers: LayerSizes) -> None:
        """Raise UsageError where the term makes no sense for these layers."""
        _expect_strength(self.strength)
        if not 0 < self.bound <= 1:
            raise UsageError(f"bound {self.bound} is not a share above 0 and at most 1")

    def expect_kept(self, layers: LayerSizes, densities: Tensor) -> None:
        """Raise UsageError where the least densities that there are do not keep the bound."""
        least = float(layers.share(self.cost, densities))
        if least > self.bound:
            raise UsageError(
                f"no thresholds meet the budget: {self.cost.value} can fall to {least:.4f} of "
                f"what is dense, not to {self.bound}"
            )

    def over(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """How far the cost is above the bound, as a share."""
        return layers.share(self.cost, densities) - self.bound

    def loss(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """The term, a scalar."""
        return self.strength * penalized(self.over(layers, densities), self.penalty)


@dataclass(frozen=True)
class BoundedBytes:
    """A budget of the coded weights of all layers, those that stay whole among them.

    Attributes:
        bound: the bytes.
        strength: what it is multiplied by.
        penalty: what being beyond it costs.
    """

    bound: Bytes
    strength: float = 10.0
    penalty: Penalty = Penalty.SQUARED

    def expect_possible(self, layers: LayerSizes) -> None:
        """Raise UsageError where the term makes no sense for these layers."""
        _expect_strength(self.strength)
        if not 0 < self.bound < math.inf:
            raise UsageError(f"bound {self.bound} is no finite number of bytes above 0")

    def expect_kept(self, layers: LayerSizes, densities: Tensor) -> None:
        """Raise UsageError where the least densities that there are do not keep the bound."""
        least = math.ceil(float(layers.coded_bytes(densities)))
        if least > self.bound:
            raise UsageError(
                f"no thresholds meet the budget: coded weights can fall to {least:,} bytes at the "
                f"least, not to {self.bound:,}",
                hint="remove channels first (WidthPruner)",
            )

    def over(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """How far the bytes are above the bound, over the bound."""
        return layers.coded_bytes(densities) / self.bound - 1

    def loss(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """The term, a scalar."""
        return self.strength * penalized(self.over(layers, densities), self.penalty)


@dataclass(frozen=True)
class LayerRange:
    """Layers whose sparsity is to be in a range (section 3.4.4).

    A wish that is weighed against the other terms, not kept to the letter: where ``freeze`` raises
    thresholds for a budget, those of these layers are raised, too.

    Attributes:
        layers: a pattern of paths of weights, such as ``stem.*``.
        least: the least sparsity.
        most: the greatest.
        strength: what the distance from the range is multiplied by, summed over the layers.
    """

    layers: str
    least: float = 0.0
    most: float = 1.0
    strength: float = 10.0

    def expect_possible(self, layers: LayerSizes) -> None:
        """Raise UsageError where there are no such layers, or no such sparsities."""
        _expect_strength(self.strength)
        _expect_ordered(self.least, self.most)
        if self.least == 1:
            raise UsageError("no layer can lose all of its weights", hint="least below 1")
        if self.most < LEAST_SPARSITY:
            raise UsageError(
                f"learned sparsity is {LEAST_SPARSITY} at the least, not {self.most}",
                hint="leave the layer whole (SparsityOptions.leave)",
            )
        layers.matching(self.layers)

    def loss(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """The term, a scalar."""
        sparsities = 1 - densities[layers.matching(self.layers)]
        below, above = (self.least - sparsities).relu(), (sparsities - self.most).relu()
        return self.strength * (below + above).sum()


@dataclass(frozen=True)
class LayerGap:
    """Layers that are to be either dense or very sparse, with nothing between (section 3.4.4).

    A wish that is weighed against the other terms, not kept to the letter, as ``LayerRange`` is.

    Attributes:
        layers: a pattern of paths of weights, ``*`` for all.
        dense: the greatest sparsity of a dense layer.
        sparse: the least of a sparse one.
        strength: what the distance from the nearer is multiplied by, summed over the layers.
    """

    layers: str
    dense: float
    sparse: float
    strength: float = 10.0

    def expect_possible(self, layers: LayerSizes) -> None:
        """Raise UsageError where there are no such layers, or no such sparsities."""
        _expect_strength(self.strength)
        _expect_ordered(self.dense, self.sparse)
        layers.matching(self.layers)

    def loss(self, layers: LayerSizes, densities: Tensor) -> Tensor:
        """The term, a scalar."""
        sparsities = 1 - densities[layers.matching(self.layers)]
        from_dense, from_sparse = (
            (sparsities - self.dense).relu(),
            (self.sparse - sparsities).relu(),
        )
        return self.strength * torch.minimum(from_dense, from_sparse).sum()


SparsityTerm: TypeAlias = MinimizedCost | BoundedCost | BoundedBytes | LayerRange | LayerGap


def total_loss(terms: Sequence[SparsityTerm], layers: LayerSizes, densities: Tensor) -> Tensor:
    """The sum of terms, a scalar that carries the densities' gradient."""
    return sum((term.loss(layers, densities) for term in terms), 0 * densities.sum())


def penalized(over: Tensor, penalty: Penalty) -> Tensor:
    """What a cost beyond its bound adds (Eq. 10 and 11), before its strength."""
    match penalty:
        case Penalty.SQUARED:
            return over.square()
        case Penalty.ONE_SIDED:
            return over.relu()


def _expect_strength(strength: float) -> None:
    if not 0 < strength < math.inf:
        raise UsageError(f"strength {strength} is not a finite number above 0")


def _expect_ordered(low: float, high: float) -> None:
    if not 0 <= low <= high <= 1:
        raise UsageError(f"sparsities {low} and {high} are not shares, the lesser one first")


def _listed(layers: LayerSizes) -> str:
    shown = ", ".join(layers.paths[:8])
    return shown if len(layers.paths) <= 8 else f"{shown} and {len(layers.paths) - 8} others"
