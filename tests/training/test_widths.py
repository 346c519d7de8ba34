"""Formulas of learned widths, against values computed to 40 digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irprune.passes.analysis.cost_model import whole_widths
from irprune.training.widths import clipped_gradient, soft_threshold, width_gradient


def cases(shared: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared / "cases/formulas.json").read_text())[name]
    assert found
    return found


def test_thresholds_and_gradients(shared: Path) -> None:
    for case in cases(shared, "liberis_eq5_9"):
        s = torch.tensor(case["s"], dtype=torch.float64)
        assert soft_threshold(s, case["pi"]) == pytest.approx(case["s0"], rel=1e-9)
        found = width_gradient(s, case["pi"], torch.tensor(case["dP_dM"]).double())
        assert found == pytest.approx(case["dP_dpi"], rel=1e-6)


def test_updates(shared: Path) -> None:
    case: Any = json.loads((shared / "cases/formulas.json").read_text())["liberis_appA_update"]
    by_resources, by_task = (torch.tensor(case[name]).double() for name in ("dPres", "dPtsk"))
    clipped = clipped_gradient(by_resources, by_task, (case["alpha_res"], case["alpha_tsk"]))
    assert clipped.tolist() == pytest.approx(case["clipped"], rel=1e-6)
    after = torch.tensor(case["pi"]).double() - case["eta"] * clipped
    assert after.tolist() == pytest.approx(case["pi_new"], rel=1e-6)


def test_channels_are_not_lost_to_rounding(shared: Path) -> None:
    for case in cases(shared, "liberis_floor"):
        most = np.array([case["C"]])
        assert whole_widths(case["pi"] * most, most) == [case["exact_floor"]]
    assert whole_widths(np.array([0.32]), np.array([32])) == [1]


saliences = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


@given(saliences, st.floats(0.01, 0.99))
def test_the_threshold_is_a_root(values: list[float], multiplier: float) -> None:
    s = torch.tensor(values).double()
    s0 = soft_threshold(s, multiplier)
    assert float((s / (s + s0)).mean()) == pytest.approx(multiplier, rel=1e-9)


@given(saliences, st.floats(0.01, 0.99), st.floats(0.1, 10))
def test_gradients_are_finite_differences(
    values: list[float], multiplier: float, factor: float
) -> None:
    """Of a loss that is linear in the soft masks; and scaling all saliences changes nothing."""
    s = torch.tensor(values).double()
    by_mask = torch.linspace(-1, 2, len(values)).double()

    def loss(at: float) -> float:
        return float((s / (s + soft_threshold(s, at)) * by_mask).sum())

    step = 1e-4 * min(multiplier, 1 - multiplier)
    slope = (loss(multiplier + step) - loss(multiplier - step)) / (2 * step)
    found = width_gradient(s, multiplier, by_mask)
    assert found == pytest.approx(slope, rel=1e-3, abs=1e-5 * len(values))
    assert width_gradient(factor * s, multiplier, by_mask) == pytest.approx(
        found, rel=1e-6, abs=1e-9
    )


@given(st.lists(st.sampled_from([0.0, 1e-300, 1.0, 1e300]), min_size=1), st.floats(0, 1))
def test_gradients_are_always_means_of_those_by_masks(
    values: list[float], multiplier: float
) -> None:
    """Near 1, without salience, with ties: between the least and the largest, times channels."""
    by_mask = torch.linspace(-1, 2, len(values)).double()
    found = width_gradient(torch.tensor(values).double(), multiplier, by_mask) / len(values)
    assert by_mask.min() - 1e-9 <= found <= by_mask.max() + 1e-9
