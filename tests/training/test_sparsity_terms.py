"""Terms of a loss of densities, beside the papers' formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes
from irprune.passes.analysis.entropy import bits_per_weight
from irprune.training.sparsity_terms import (
    BoundedBytes,
    BoundedCost,
    LayerGap,
    LayerRange,
    LayerSizes,
    MinimizedCost,
    Penalty,
    SparsityCost,
    SparsityTerm,
    coded_bits,
    total_loss,
)
from irprune.training.thresholds import gaussian_sparsity


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def sizes(*elements: float, macs: tuple[float, ...] = ()) -> LayerSizes:
    paths = tuple(f"layer.{i}" for i in range(len(elements)))
    once = tensor(*(1 for _ in elements))
    return LayerSizes(paths, tensor(*elements), tensor(*(macs or elements)), once)


THREE = sizes(100, 300, 600, macs=(500, 300, 200))


def formulas(shared: Path, name: str) -> Any:
    return json.loads((shared / "cases/formulas.json").read_text())[name]


def test_the_losses(shared: Path) -> None:
    """Eq. 6, 8 (without the 1/N that is printed), 10 and 11, and the gradient by the bounds."""
    case = formulas(shared, "retsinas_losses")
    layers = sizes(*case["numel"])
    bounds = tensor(*case["b"]).requires_grad_()
    densities = 1 - gaussian_sparsity(bounds / tensor(*case["sigma"]))
    assert (1 - densities).tolist() == pytest.approx(case["s_i"], rel=1e-6)

    def value(term: SparsityTerm) -> float:
        return float(term.loss(layers, densities).detach())

    average = MinimizedCost(SparsityCost.LAYERS)
    weighted = MinimizedCost(SparsityCost.PARAMETERS)
    assert value(average) == pytest.approx(case["Ls_eq6"], rel=1e-6)
    assert value(weighted) == pytest.approx(case["Ls_eq8_without_1_over_N"], rel=1e-6)
    assert value(weighted) == pytest.approx(case["density_true"], rel=1e-6)
    for penalty, wanted in ((Penalty.SQUARED, "eq10_term"), (Penalty.ONE_SIDED, "eq11_term")):
        term = BoundedCost(SparsityCost.PARAMETERS, case["Bp"], case["lambda_p"], penalty)
        assert value(term) == pytest.approx(case[wanted], rel=1e-6)
    (gradient,) = torch.autograd.grad(weighted.loss(layers, densities), bounds)
    assert gradient.tolist() == pytest.approx(case["dLs8_db"], rel=1e-6)


def test_above_the_bound_both_penalties_count() -> None:
    densities = tensor(0.5, 0.5, 0.5)
    for penalty, wanted in ((Penalty.SQUARED, 4 * 0.3**2), (Penalty.ONE_SIDED, 4 * 0.3)):
        term = BoundedCost(SparsityCost.PARAMETERS, 0.2, 4.0, penalty)
        assert float(term.loss(THREE, densities)) == pytest.approx(wanted)


def test_shares_of_each_cost() -> None:
    densities = tensor(0.1, 0.2, 0.4)
    assert float(THREE.share(SparsityCost.LAYERS, densities)) == pytest.approx(0.7 / 3)
    assert float(THREE.share(SparsityCost.PARAMETERS, densities)) == pytest.approx(0.31)
    assert float(THREE.share(SparsityCost.MACS, densities)) == pytest.approx(0.19)


def test_coded_bits(shared: Path) -> None:
    """UDC's bound without its misprint, and as the analysis has it."""
    cases = [c for c in formulas(shared, "udc_eq4_rhs_bits_per_weight") if c["b"] == 8]
    assert cases
    for case in cases:
        found = float(coded_bits(tensor(case["s"])))
        assert found == pytest.approx(case["rhs_value_plus_mask"], rel=1e-6)
    for density in (0.01, 0.3, 0.77):
        assert float(coded_bits(tensor(density))) == pytest.approx(bits_per_weight(8, density))


def test_coded_bytes() -> None:
    """Of layers that stay whole, too; as often as stored, and corrected by a check."""
    layers = LayerSizes(("a",), tensor(400), tensor(1), tensor(2), whole=100, ratio=1.5)
    wanted = 1.5 * (800 * bits_per_weight(8, 0.25) / 8 + 100)
    assert float(layers.coded_bytes(tensor(0.25))) == pytest.approx(wanted)
    share = float(layers.share(SparsityCost.COMPRESSED, tensor(0.25)))
    assert share == pytest.approx(wanted / 900)
    term = BoundedBytes(Bytes(360), 10.0)
    assert float(term.loss(layers, tensor(0.25))) == pytest.approx(10 * (wanted / 360 - 1) ** 2)


def test_ranges_and_gaps() -> None:
    densities = tensor(0.9, 0.5, 0.1).requires_grad_()
    outside = LayerRange("layer.[02]", 0.3, 0.8, strength=2.0)
    assert float(outside.loss(THREE, densities).detach()) == pytest.approx(2 * (0.2 + 0.1))
    gap = LayerGap("*", 0.2, 0.9, strength=3.0)
    found = gap.loss(THREE, densities)
    assert float(found.detach()) == pytest.approx(3 * 0.3)
    (gradient,) = torch.autograd.grad(found, densities)
    assert gradient.tolist() == [0, -3, 0]  # the middle layer is nearer to a dense one
    both = total_loss((outside, gap), THREE, densities)
    assert float(both.detach()) == pytest.approx(2 * 0.3 + 3 * 0.3)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (BoundedCost(SparsityCost.MACS, 0.0), "bound 0.0 is not a share"),
        (BoundedCost(SparsityCost.MACS, 1.01), "bound 1.01 is not a share"),
        (BoundedCost(SparsityCost.MACS, math.nan), "bound nan is not a share"),
        (BoundedBytes(Bytes(0)), "bound 0 is no finite number of bytes above 0"),
        (MinimizedCost(strength=0), "strength 0 is not a finite number above 0"),
        (LayerRange("stem.*"), r"no layer matches 'stem.\*' \(there are layer.0"),
        (LayerRange("*", 0.5, 0.4), "are not shares, the lesser one first"),
        (LayerRange("*", least=1.0), "no layer can lose all of its weights"),
        (LayerRange("*", most=0.005), r"learned sparsity is 0\.01 at the least, not 0\.005"),
        (LayerGap("*", -0.1, 0.4), "are not shares"),
    ],
)
def test_what_makes_no_sense(term: SparsityTerm, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        term.expect_possible(THREE)


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_bounds_that_are_no_bytes(bound: Any) -> None:
    with pytest.raises(UsageError, match=f"bound {bound} is no finite number of bytes above 0"):
        BoundedBytes(bound).expect_possible(THREE)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (BoundedCost(SparsityCost.PARAMETERS, 0.001), r"parameters can fall to 0\.0030"),
        (BoundedBytes(Bytes(3)), "coded weights can fall to 7 bytes at the least, not to 3"),
    ],
)
def test_what_no_densities_keep(term: BoundedCost | BoundedBytes, said: str) -> None:
    """With one weight in each layer, which is the least."""
    term.expect_possible(THREE)
    with pytest.raises(UsageError, match=said):
        term.expect_kept(THREE, 1 / THREE.elements)
