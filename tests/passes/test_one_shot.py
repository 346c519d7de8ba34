"""Pruning from saliences alone, and the saliences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irprune
from irprune.budget import Budget
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.ops import Dense
from irprune.ir.types import Array, Bytes, DType, Macs, Quant
from irprune.passes.analysis.channels import channels
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.analysis.salience import Over, Salience, saliences
from irprune.passes.one_shot import PruneOptions, plan_for_budget, plan_for_ratio
from irprune.passes.rewrite.apply_widths import apply_widths
from tests.channel_nets import NETS

MOBILENET = "zoo:mobilenet_v2?classes=2&input=3x50x50"


def two_layers() -> tuple[Any, Graph]:
    """Two convolutions that are summed, with a batch normalization behind one of them."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head((self.norm(self.a(x)) + self.b(x)).mean((2, 3)))
            return y

    net: Any = Net().eval()
    with torch.no_grad():
        net.norm.weight.copy_(torch.tensor([0.5, -2.0, 0.1, 1.0]))
    return net, irprune.load(net, (torch.randn(1, 3, 8, 8),))


def test_saliences() -> None:
    net, graph = two_layers()
    group = next(g for g in channels(graph).free if g.name == "a")

    def found(kind: Salience, over: Over = Over.LARGEST) -> Array:
        return saliences(graph, group, kind, over)

    weights = [layer.weight.detach().numpy().reshape(4, -1) for layer in (net.a, net.b)]
    l1 = [np.abs(w).mean(1) for w in weights]
    l2 = [np.sqrt(np.square(w).mean(1)) for w in weights]
    np.testing.assert_allclose(found(Salience.BATCHNORM), [0.5, 2.0, 0.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(found(Salience.L1), np.maximum(*l1), rtol=1e-6)
    np.testing.assert_allclose(found(Salience.L2, Over.MEAN), np.mean(l2, 0), rtol=1e-6)
    assert not np.array_equal(
        saliences(graph, group, Salience.RANDOM, seed=1), found(Salience.RANDOM)
    )


def test_a_unit_of_several_channels_has_the_largest_or_the_mean() -> None:
    torch.manual_seed(0)
    net = NETS["grouped"].build().eval()
    graph = irprune.load(net, (torch.randn(1, 3, 8, 8),))
    group = next(g for g in channels(graph).free if g.name == "a")
    each = net.get_submodule("a").get_parameter("weight").detach().abs().mean((1, 2, 3)).numpy()
    pairs = np.stack([each[:3], each[3:]])
    assert group.indices.tolist() == [[0, 3], [1, 4], [2, 5]]
    np.testing.assert_allclose(saliences(graph, group, Salience.L1), pairs.max(0), rtol=1e-6)
    found = saliences(graph, group, Salience.L1, Over.MEAN)
    np.testing.assert_allclose(found, pairs.mean(0), rtol=1e-6)


def test_integers_count_as_what_they_stand_for() -> None:
    """Each channel's weights by its own scale."""
    b, rng = Builder("integers"), np.random.default_rng(0)
    x = b.input("x", (1, 3), DType.I8, Quant((0.1,), (0,)))
    real = rng.normal(size=(4, 3))
    scales = np.array([0.5, 0.01, 0.1, 0.02])
    stored = np.clip(np.rint(real / scales[:, None]), -127, 127).astype(np.int8)
    w = b.constant("w", stored, Quant(tuple(scales.tolist()), (0,) * 4, 0))
    v = b.constant("v", np.ones((2, 4), np.int8), Quant((0.1,), (0,)))
    y = b.add(Dense(), x, w, name="made", quant=Quant((0.1,), (0,)))
    graph = b.finish([b.add(Dense(), y, v, quant=Quant((0.1,), (0,)))])
    (group,) = channels(graph).free
    wanted = np.abs(stored * scales[:, None]).mean(1)
    np.testing.assert_allclose(saliences(graph, group, Salience.L1), wanted, rtol=1e-12)


def test_weights_that_are_no_numbers() -> None:
    net, _ = two_layers()
    with torch.no_grad():
        net.b.weight[0, 0, 0, 0] = float("nan")
    graph = irprune.load(net, (torch.randn(1, 3, 8, 8),))
    with pytest.raises(UsageError, match=r"'b\.weight' is not finite"):
        plan_for_ratio(graph, 0.5)


@pytest.mark.parametrize("ignored", [(), ("a", "b")])
def test_a_bottleneck_that_cannot_shrink_is_moved(ignored: tuple[str, ...]) -> None:
    """Two wide branches stay; where they meet in memory depends on what else is there."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 8, 1), nn.Conv2d(1, 8, 1)
            self.c, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.c(self.a(x) * self.b(x)).mean((2, 3)))
            return y

    graph = irprune.load(Net().eval(), (torch.randn(1, 1, 8, 8),))
    model = CostModel(graph)
    least = np.array([g.width if set(ignored) & set(g.layers) else 1 for g in model.groups])
    bound = int(model.peak(least))
    plan = plan_for_budget(graph, Budget(sram=Bytes(bound)), PruneOptions(ignored=ignored))
    assert irprune.analyze(apply_widths(graph, plan)).costs.peak_sram <= bound


@pytest.mark.parametrize(("ratio", "round_to"), [(0.0, 1), (0.5, 1), (0.5, 8), (0.99, 1), (0.3, 4)])
def test_ratio(ratio: float, round_to: int) -> None:
    """Every group keeps about its share, in multiples, and the most salient of it."""
    graph = irprune.load(MOBILENET)
    options = PruneOptions(Salience.L1, round_to=round_to)
    plan = plan_for_ratio(graph, ratio, options)
    for group in channels(graph).free:
        kept = plan.kept.get(group.name, tuple(range(group.width)))
        wanted = (1 - ratio) * group.width
        assert len(kept) == max(round_to, round_to * int(wanted / round_to + 0.5))
        order = np.argsort(saliences(graph, group, Salience.L1), kind="stable")
        assert set(kept) == set(order[group.width - len(kept) :].tolist())


@pytest.mark.parametrize("salience", list(Salience))
def test_budgets_are_met_and_not_by_much_more(salience: Salience) -> None:
    graph = irprune.load(MOBILENET)
    model = CostModel(graph)
    whole = {
        name: int(cost(model.widths))
        for name, cost in (("macs", model.macs), ("sram", model.peak), ("flash", model.model_size))
    }
    for resource, share in (("macs", 0.5), ("sram", 0.6), ("flash", 0.25)):
        bound = int(share * whole[resource])
        budget = {
            "macs": Budget(macs=Macs(bound)),
            "sram": Budget(sram=Bytes(bound)),
            "flash": Budget(flash=Bytes(bound)),
        }[resource]
        plan = plan_for_budget(graph, budget, PruneOptions(salience))
        costs = irprune.analyze(apply_widths(graph, plan)).costs
        found = {"macs": costs.macs, "sram": costs.peak_sram, "flash": costs.model_size}[resource]
        assert 0.95 * bound < found <= bound
    loose = Budget(Bytes(whole["sram"]), Bytes(whole["flash"]), Macs(whole["macs"]))
    assert not plan_for_budget(graph, loose).kept


def test_all_resources_at_once_and_multiples_of_four() -> None:
    graph = irprune.load(MOBILENET)
    budget = Budget(Bytes(40_000), Bytes(900_000), Macs(9_000_000))
    plan = plan_for_budget(graph, budget, PruneOptions(round_to=4))
    costs = irprune.analyze(apply_widths(graph, plan)).costs
    assert costs.peak_sram <= 40_000
    assert costs.model_size <= 900_000
    assert costs.macs <= 9_000_000
    assert all(len(kept) % 4 == 0 for kept in plan.kept.values())


def test_ignored_layers_stay_whole() -> None:
    graph = irprune.load("zoo:res8")
    plan = plan_for_ratio(graph, 0.5, PruneOptions(ignored=("features.0.conv",)))
    names = {group.name for group in channels(graph).free}
    assert plan.kept.keys() == names - {"features.0.conv"}
    member = "features.2.body.second.conv"  # in the same group, as they are summed
    assert plan_for_ratio(graph, 0.5, PruneOptions(ignored=(member,))).kept == plan.kept


def test_what_cannot_be_asked() -> None:
    graph = irprune.load("zoo:res8")
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="is not a share"):
            plan_for_ratio(graph, ratio)
    with pytest.raises(UsageError, match="no layer or channel group 'nope' to ignore"):
        plan_for_ratio(graph, 0.5, PruneOptions(ignored=("nope",)))
    with pytest.raises(UsageError, match="multiples of 0"):
        plan_for_ratio(graph, 0.5, PruneOptions(round_to=0))
    with pytest.raises(UsageError, match="has no batch normalization"):
        plan_for_ratio(irprune.deployed(graph), 0.5, PruneOptions(Salience.BATCHNORM))


def test_an_impossible_budget_says_how_low_it_goes() -> None:
    graph = irprune.load("zoo:res8")
    model = CostModel(graph)
    least = np.ones_like(model.widths)
    with pytest.raises(UsageError) as error:
        plan_for_budget(graph, Budget(Bytes(10), None, Macs(1000)))
    message = str(error.value)
    assert f"sram can fall to {model.peak(least):,} at the least, not to 10" in message
    assert f"macs can fall to {model.macs(least):,} at the least, not to 1,000" in message
    assert "'dense' (the model's output 'dense' has them)" in message
    with pytest.raises(UsageError, match=r"'features\.0\.conv' \(ignored\)"):
        plan_for_budget(graph, Budget(macs=Macs(1000)), PruneOptions(ignored=("features.0.conv",)))
