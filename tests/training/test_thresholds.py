"""Thresholds of magnitudes, and gradients through them, beside the paper's formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from irprune.training.thresholds import (
    gaussian_bound,
    gaussian_sparsity,
    searched_threshold,
    shrink,
)


def formulas(shared: Path, name: str) -> Any:
    return json.loads((shared / "cases/formulas.json").read_text())[name]


def test_bounds_for_a_sparsity(shared: Path) -> None:
    for case in formulas(shared, "retsinas_eq3"):
        found = case["sigma"] * gaussian_bound(case["s"])
        assert found == pytest.approx(case["b"], rel=1e-6)
    assert gaussian_bound(0.0) == 0


def test_sparsities_of_bounds_and_their_gradients(shared: Path) -> None:
    for case in formulas(shared, "retsinas_eq5"):
        bound = torch.tensor(case["b"], dtype=torch.float64, requires_grad=True)
        sparsity = gaussian_sparsity(bound / case["sigma"])
        assert float(sparsity.detach()) == pytest.approx(case["s"], rel=1e-6)
        (gradient,) = torch.autograd.grad(1 - sparsity, bound)
        assert float(gradient) == pytest.approx(case["dLs_db"], rel=1e-6)


def test_both_thresholds_of_a_normal_distribution(shared: Path) -> None:
    for case in formulas(shared, "retsinas_gaussian_vs_exact"):
        n, s = case["n"], case["s"]
        shares = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        weights = case["sigma"] * torch.special.ndtri(shares)
        gaussian = float(weights.std()) * gaussian_bound(s)
        assert gaussian == pytest.approx(case["b_sample"], rel=1e-6)
        assert float((weights.abs() < gaussian).double().mean()) == case["attained_sample"]
        low, high = case["exact_interval"]
        assert low < searched_threshold(weights.abs(), s, 0.0) <= high


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.floats(0, 0.99),
    st.floats(0, 0.2),
    st.floats(0, 60),
)
def test_searching_comes_as_near_as_sorting(
    numbers: list[int], sparsity: float, margin: float, guess: float
) -> None:
    """Within the margin wherever any threshold that leaves the greatest is."""
    magnitudes = torch.tensor(numbers, dtype=torch.float64)
    found = searched_threshold(magnitudes, sparsity, margin, guess)
    wanted, near = sparsity * len(numbers), max(margin * len(numbers), 0.5)
    reachable = [sum(x < edge for x in numbers) for edge in {*numbers, 0}]
    error = abs(sum(x < found for x in numbers) - wanted)
    if min(abs(count - wanted) for count in reachable) <= near:
        assert error <= near
    assert sum(x < found for x in numbers) < len(numbers)


def test_equal_magnitudes_are_searched_no_longer_than_they_differ() -> None:
    """Two values have three counts below them, whatever share is asked for."""
    asked = []

    class Counted(TorchFunctionMode):
        """Notes what magnitudes are compared with."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in (Tensor.lt, Tensor.__lt__) and args[0].ndim:
                asked.append(args[1])
            return func(*args, **(kwargs or {}))

    magnitudes = torch.tensor([1.0] * 60 + [2.0] * 40)
    with Counted():
        assert 1 < searched_threshold(magnitudes, 0.5, 1e-3) <= 2
    assert 1 <= len(asked) <= 3


def test_a_good_guess_is_taken() -> None:
    magnitudes = torch.arange(1, 101, dtype=torch.float64)
    assert searched_threshold(magnitudes, 0.5, 0.02, 51.75) == 51.75


def test_the_straight_through_gradient(shared: Path) -> None:
    case = formulas(shared, "retsinas_ste")
    weights = torch.tensor(case["w"], dtype=torch.float64, requires_grad=True)
    bound = torch.tensor(case["b"], dtype=torch.float64, requires_grad=True)
    gone = weights.abs() < case["threshold"]
    pruned = shrink(weights, gone, bound)
    assert pruned.tolist() == pytest.approx(case["w_pruned"], rel=1e-6)
    by_pruned = torch.tensor(case["dL_dwp"], dtype=torch.float64)
    by_weights, by_bound = torch.autograd.grad(pruned, (weights, bound), by_pruned)
    assert by_weights.tolist() == pytest.approx(case["dL_dw"], rel=1e-6)
    assert float(by_bound) == pytest.approx(case["dL_db"], rel=1e-6)


def test_pruned_weights_are_zeros_without_a_sign() -> None:
    found = shrink(torch.tensor([-0.1, -2.0]), torch.tensor([True, False]))
    assert np.array_equal(np.signbit(found.numpy()), [False, True])


def test_gradients_beside_finite_differences_of_the_surrogate() -> None:
    """Of b sigma T(w / (b sigma)) with T as its tangent of slope 1, in a network (Eq. 15 to 18)."""
    torch.manual_seed(0)
    layer, head = nn.Conv2d(2, 3, 3).double(), nn.Linear(3 * 16, 2).double()
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    weights, start, sigma = layer.weight.detach(), 0.9, float(layer.weight.detach().std())
    gone = weights.abs() < start * sigma

    def loss(kernel: Tensor) -> Tensor:
        y = torch.conv2d(x, kernel, layer.bias)
        out: Tensor = head(y.relu().flatten(1))
        return out.square().sum()

    def surrogate(bound: float, moved: Tensor) -> float:
        at = weights / (start * sigma)
        tangent = at.masked_fill(gone, 0.0) + (moved / (bound * sigma) - at)
        return float(loss(bound * sigma * tangent).detach())

    given_weights = weights.clone().requires_grad_()
    given_bound = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    value = loss(shrink(given_weights, gone, given_bound))
    by_weights, by_bound = torch.autograd.grad(value, (given_weights, given_bound))
    step = 1e-6
    slope = (surrogate(start + step, weights) - surrogate(start - step, weights)) / (2 * step)
    assert float(by_bound) == pytest.approx(slope, rel=1e-6)
    for at in (0, 7, 20, 53):
        moved = torch.zeros(weights.numel(), dtype=torch.float64)
        moved[at] = step
        moved = moved.reshape(weights.shape)
        slope = (surrogate(start, weights + moved) - surrogate(start, weights - moved)) / (2 * step)
        assert float(by_weights.flatten()[at]) == pytest.approx(slope, rel=1e-5)
