"""Magnitudes below which weights are zero.

Equations are of Retsinas et al., Weight Pruning via Adaptive Sparsity Loss. A threshold is the
bound b times the deviation sigma of a layer's weights, as the paper's footnote 2 and appendix have
it. Weights whose magnitude is less are zero, those that equal it stay (Eq. 1).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Given = Any
"""What autograd keeps for the way back, which torch does not type."""


def gaussian_bound(sparsity: float) -> float:
    """The b below which that share of normally distributed weights is (Eq. 3): sqrt(2) erfinv(s).

    Args:
        sparsity: from 0 to less than 1.
    """
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(sparsity, dtype=torch.float64)))


def gaussian_sparsity(bounds: Tensor) -> Tensor:
    """The share of normally distributed weights that is below b (Eq. 5): erf(b / sqrt(2)).

    Its gradient is that of Eq. 19, without its sign and in units of sigma.
    """
    return torch.erf(bounds / math.sqrt(2))


def searched_threshold(
    magnitudes: Tensor, sparsity: float, margin: float, guess: float = 0.0
) -> float:
    """A threshold below which a share of weights is, by bisection (Eq. 2).

    Args:
        magnitudes: of the weights, at least one.
        sparsity: the share.
        margin: how far off it may be (epsilon); the half of a weight always is.
        guess: where to look first, such as the threshold of the last step.

    Returns:
        The threshold; where equal magnitudes keep any from being within the margin, the nearest of
        those that the bisection has come to.
    """
    count = magnitudes.numel()
    wanted, near = sparsity * count, max(margin * count, 0.5)
    best, best_error, below_all = 0.0, wanted, 0
    between, threshold = magnitudes, magnitudes.new_tensor(guess)
    least, most = torch.aminmax(between)
    while bool(least < most):
        if not bool((least < threshold) & (threshold <= most)):
            middle = (least + most) / 2
            threshold = middle if bool(least < middle) else most
        under = between < threshold
        below = below_all + int(under.sum())
        if abs(below - wanted) < best_error:
            best, best_error = float(threshold), abs(below - wanted)
        if best_error <= near:
            break
        if below < wanted:
            below_all, between = below, between[~under]
        else:
            between = between[under]
        least, most = torch.aminmax(between)
    return best


class Shrink(torch.autograd.Function):
    """Weights, zero where they are pruned; gradients go straight through.

    Backwards, weights get the gradient as it is (Eq. 16), the pruned ones too, and the bound gets
    the sum of (pruned - weight) / b times the gradient (Eq. 17 and 18), in which sigma is a
    constant.
    """

    @staticmethod
    def forward(given: Given, weights: Tensor, gone: Tensor, bound: Tensor | None) -> Tensor:
        """The weights, with zeros where they are gone.

        Args:
            given: what autograd keeps.
            weights: of any shape.
            gone: of that shape, True where a weight is pruned.
            bound: b, a scalar; None where it is not learned.
        """
        if bound is not None:
            given.save_for_backward(weights, gone, bound)
        return weights.masked_fill(gone, 0.0)

    @staticmethod
    def backward(given: Given, *gradients: Tensor) -> tuple[Tensor, None, Tensor | None]:
        """The gradients of the weights and of the bound."""
        (gradient,) = gradients
        if not given.needs_input_grad[2]:
            return gradient, None, None
        weights, gone, bound = given.saved_tensors
        by_bound = -(gradient * weights).mul_(gone).sum().to(bound) / bound
        return gradient, None, by_bound


def shrink(weights: Tensor, gone: Tensor, bound: Tensor | None = None) -> Tensor:
    """``Shrink``, typed."""
    apply: Given = Shrink.apply
    pruned: Tensor = apply(weights, gone, bound)
    return pruned
