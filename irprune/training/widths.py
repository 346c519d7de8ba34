"""How a task's loss depends on widths: a soft threshold of saliences (Liberis & Lane, section 3.3).

A channel is kept where its salience s is above a threshold s0. Backwards that step is taken for
M(s, s0) = s / (s + s0) (Eq. 5), whose mean over the channels is the width multiplier (Eq. 6).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROUNDS = 200
"""Bisections of an interval of exponents, until it is narrower than a double's precision."""


def soft_threshold(saliences: Tensor, multiplier: float) -> float:
    """The s0 for which the mean of M(s, s0) is the width multiplier (Eq. 6).

    Args:
        saliences: (channels,), not negative; where they are 0, so is M.
        multiplier: above 0, and below the share of saliences that are not 0: there is a root then.

    Returns:
        The root; infinite or 0 where the multiplier is beyond what thresholds can give.
    """
    given = saliences.detach().double()
    positive = given[given > 0]
    most = len(positive) / len(given) if len(given) else 0.0
    if multiplier >= most:
        return 0.0
    if multiplier <= 0:
        return math.inf
    # M falls with s0; at s0 = s (1/pi - 1) for the least and the largest s it is on either side.
    scale = most / multiplier - 1
    low, high = (math.log(float(s)) + math.log(scale) for s in (positive.min(), positive.max()))
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        mean = float((positive / (positive + math.exp(middle))).sum()) / len(given)
        low, high = (middle, high) if mean > multiplier else (low, middle)
    return math.exp((low + high) / 2)


def width_gradient(saliences: Tensor, multiplier: float, by_mask: Tensor) -> float:
    """The derivative of a loss by a width multiplier (Eq. 9).

    It is the number of channels times a mean of the loss's derivatives by the masks, weighed by how
    much each mask moves with the threshold. Where no threshold exists, near a multiplier of 1,
    the limit is taken, in which weak channels weigh most.

    Args:
        saliences: (channels,), not negative.
        multiplier: the share of channels that is kept.
        by_mask: (channels,), the derivatives of the loss by each channel's mask.
    """
    s, given = saliences.detach().double(), by_mask.detach().double()
    s0 = soft_threshold(s, multiplier)
    if s0 == 0:
        weights = torch.where(s > 0, 1 / s.clamp_min(torch.finfo(s.dtype).tiny), 0.0)
    elif s0 == math.inf:
        weights = s
    else:
        weights = s / (s + s0).square()
    total = weights.sum()
    if not torch.isfinite(total):  # a salience so small that it outweighs all others
        weights, total = (s == s[s > 0].min()).double(), (s == s[s > 0].min()).double().sum()
    if total == 0:  # no salience at all: each channel is as good as another
        return float(given.mean()) * len(given)
    return float((given * weights).sum() / total) * len(given)


def clipped_gradient(by_resources: Tensor, by_task: Tensor, alphas: tuple[float, float]) -> Tensor:
    """The step that multipliers are moved against (appendix A): clipped, they only ever shrink.

    Args:
        by_resources: (groups,), the derivatives of the resource loss.
        by_task: (groups,), those of the task loss.
        alphas: what they are weighed with.
    """
    return (alphas[0] * by_resources + alphas[1] * by_task).clamp(0.0, MOST)


MOST = 0.025
"""The largest gradient that is taken (appendix A)."""
