"""Widths learned in training: budgets, resumption, and what is said where that cannot be."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irprune
from irprune import zoo
from irprune.budget import Budget, Usage
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.training.apply import kept_slices
from irprune.training.resources import Peak, Scalarization, scalarized
from irprune.training.width_pruner import Feedback, WidthOptions, WidthPruner
from tests.stripes import batches

IMAGE = (torch.zeros(1, 1, 8, 8),)
FAST = WidthOptions(every=2, rate=8.0)


def net() -> nn.Module:
    """A small network with a sum, and layers with and without normalization."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()
            )
            self.body = nn.Sequential(
                nn.Conv2d(12, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
            )
            self.back = nn.Sequential(nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12))
            self.dense, self.head = nn.Linear(12, 10), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.stem(x)
            y = F.relu(y + self.back(self.body(y))).mean((2, 3))
            z: Tensor = self.head(F.relu(self.dense(y)))
            return z

    torch.manual_seed(0)
    return Net()


def half() -> Budget:
    model = CostModel(irprune.load(net(), IMAGE))
    costs = (model.peak, model.model_size, model.macs)
    sram, flash, macs = (int(cost(model.widths)) // 2 for cost in costs)
    return Budget(Bytes(sram), Bytes(flash), Macs(macs))


def train(
    model: nn.Module, pruner: Any, data: list[tuple[Tensor, Tensor]], optimizer: Any = None
) -> Any:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    model.train()
    for x, y in data:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(x), y))
        optimizer.step()
        pruner.step()
    return optimizer


def test_all_of_a_budget_is_met() -> None:
    """By the module that comes out, which computes what the masked one did."""
    model, budget = net(), half()
    pruner = WidthPruner(model, IMAGE, budget, batches(4, 1), options=FAST)
    before = pruner.multipliers
    for _ in range(8):
        train(model, pruner, batches(5))
        assert torch.all(pruner.multipliers <= before)
        before = pruner.multipliers
    assert pruner.met
    model.eval()
    x = batches(1, 2)[0][0]
    with torch.no_grad():
        masked = model(x)
        small = pruner.finish()
        torch.testing.assert_close(small.eval()(x), masked, rtol=0, atol=1e-5)
    costs = irprune.analyze(irprune.load(small, IMAGE)).costs
    assert costs.peak_sram <= (budget.sram or 0)
    assert costs.model_size <= (budget.flash or 0)
    assert costs.macs <= (budget.macs or 0)
    assert type(small) is type(model)


def test_widths_stop_and_masks_go_on_until_they_are_frozen() -> None:
    model = net()
    pruner = WidthPruner(model, IMAGE, half(), batches(4, 1), options=replace(FAST, rate=30.0))
    train(model, pruner, batches(30))
    assert pruner.met
    widths, plan = pruner.widths.tolist(), pruner.plan
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "body.1.weight":  # what mattered least matters most now
                parameter.copy_(1 / (parameter.abs() + 0.1))
    train(model, pruner, batches(2))
    assert pruner.widths.tolist() == widths
    assert pruner.plan != plan
    pruner.freeze()
    plan = pruner.plan
    with torch.no_grad():
        model.get_parameter("body.1.weight").mul_(-1).add_(5)
    train(model, pruner, batches(4))
    assert pruner.plan == plan


def test_a_pruner_goes_on_from_its_state() -> None:
    """Weights and widths are bit for bit those of the unbroken run."""
    data, held = batches(24), batches(3, 1)
    model, other = net(), net()
    pruner = WidthPruner(model, IMAGE, half(), held, options=FAST)
    train(model, pruner, data)
    first = WidthPruner(other, IMAGE, half(), held, options=FAST)
    optimizer = train(other, first, data[:13])
    state = copy.deepcopy((other.state_dict(), optimizer.state_dict(), first.state_dict()))
    resumed = net()
    second = WidthPruner(resumed, IMAGE, half(), held, options=FAST)
    again = torch.optim.SGD(resumed.parameters(), 0.05, momentum=0.9)
    resumed.load_state_dict(state[0])
    again.load_state_dict(state[1])
    second.load_state_dict(state[2])
    train(resumed, second, data[13:], again)
    assert torch.equal(second.multipliers, pruner.multipliers)
    assert second.plan == pruner.plan
    for name, tensor in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)


def test_shrinking_in_mid_training_goes_on_where_it_was() -> None:
    """The small module's gradients are those of what stays in the masked one, and its state too."""
    model = net()
    pruner = WidthPruner(model, IMAGE, half(), batches(4, 1), options=replace(FAST, rate=30.0))
    optimizer = train(model, pruner, batches(30))
    pruner.freeze()
    ((x, y),) = batches(1, 5)
    optimizer.zero_grad()
    torch.autograd.backward(F.cross_entropy(model(x), y))
    small, moved = pruner.shrink(optimizer)
    kept = kept_slices(model, pruner.plan, IMAGE)
    torch.autograd.backward(F.cross_entropy(small.train()(x), y))
    for name, parameter in small.named_parameters():
        large = model.get_parameter(name)
        at = torch.meshgrid(*kept[name], indexing="ij")
        assert parameter.grad is not None
        assert large.grad is not None
        torch.testing.assert_close(parameter.grad, large.grad[at], rtol=1e-4, atol=1e-6)
        found, wanted = (
            o.state[p]["momentum_buffer"] for o, p in ((moved, parameter), (optimizer, large))
        )
        assert torch.equal(found, wanted[at])
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


def test_only_the_bottleneck_shrinks_for_sram_alone() -> None:
    model = net()
    costs = CostModel(irprune.load(model, IMAGE))
    budget = Budget(sram=Bytes(int(0.8 * costs.peak(costs.widths))))
    pruner = WidthPruner(model, IMAGE, budget, batches(2, 1), options=FAST)
    train(model, pruner, batches(20))
    assert pruner.met
    names = [group.name for group in costs.groups]
    left = dict(zip(names, pruner.widths.tolist(), strict=True))
    assert left["dense"] == 10  # ten bytes of it are never in memory with the images
    assert left["stem.0"] < 12 or left["body.0"] < 16


@pytest.mark.parametrize("feedback", list(Feedback))
@pytest.mark.parametrize("peak", list(Peak))
@pytest.mark.parametrize("scalarization", list(Scalarization))
def test_parts_can_be_switched_off(
    feedback: Feedback, peak: Peak, scalarization: Scalarization
) -> None:
    model = net()
    options = replace(FAST, feedback=feedback, peak=peak, scalarization=scalarization)
    pruner = WidthPruner(model, IMAGE, half(), batches(2, 1), options=options)
    train(model, pruner, batches(12))
    assert torch.all(pruner.multipliers <= 1)
    if feedback is not Feedback.TASK:
        assert torch.any(pruner.multipliers < 1)


@pytest.mark.parametrize("seed", range(6))
def test_the_balance_does_not_hang_on_what_is_drawn(seed: int) -> None:
    """A draw may choose a resource of which there is enough; r is of the first losses anyway."""
    model, whole = net(), half()
    budget = Budget(Bytes(10 * (whole.sram or 0)), whole.flash, Macs(10 * (whole.macs or 0)))
    (x, y), *_ = held = batches(2, 1)
    pruner = WidthPruner(model, IMAGE, budget, held, options=replace(FAST, seed=seed))
    with torch.no_grad():
        task = float(F.cross_entropy(model.eval()(x), y))
    train(model, pruner, [])
    pruner.step()
    pruner.step()
    costs = CostModel(irprune.load(net(), IMAGE))
    resources = float(costs.model_size(costs.widths)) / (budget.flash or 1) - 1
    by_resources, by_task = pruner.state_dict()["alphas"]
    assert by_resources == 1
    assert by_task * task == pytest.approx(2 / 3 * resources, rel=1e-5)


def test_a_check_is_met_and_not_by_far() -> None:
    """The device takes half as much again of SRAM, and 300 bytes more of flash, than is counted."""

    def check(graph: Graph) -> Usage:
        model = CostModel(graph)
        counted = model.usage(model.widths)
        return Usage(Bytes(counted.sram * 3 // 2), Bytes(counted.flash + 300), Macs(counted.macs))

    model = net()
    budget = Budget(Bytes(1200), Bytes(1500), Macs(100_000))
    options = replace(FAST, rate=2.0)
    pruner = WidthPruner(model, IMAGE, budget, batches(4, 1), options=options, check=check)
    whole = check(irprune.load(model, IMAGE))
    assert f"sram={whole.sram:,} of 1,200, flash={whole.flash:,} of 1,500" in pruner.excess
    for _ in range(60):
        train(model, pruner, batches(5))
    assert pruner.met
    assert pruner.excess == ""
    taken = check(irprune.load(pruner.finish(), IMAGE))
    assert not taken.beyond(budget)
    assert taken.sram > 0.8 * (budget.sram or 0) or taken.flash > 0.8 * (budget.flash or 0)
    with pytest.raises(UsageError, match=r"flash can fall to [0-9,]+ at the least, not to 310"):
        WidthPruner(net(), IMAGE, Budget(flash=Bytes(310)), batches(1), check=check)


def test_widths_stop_as_soon_as_the_check_is_met() -> None:
    """The device takes twice the SRAM of the whole network, and ever less above the count."""
    model = net()
    graph = irprune.load(model, IMAGE)
    whole = CostModel(graph).usage(CostModel(graph).widths)

    def check(graph: Graph) -> Usage:
        counted = CostModel(graph).usage(CostModel(graph).widths)
        return replace(
            counted, sram=Bytes(counted.sram * (whole.sram + counted.sram) // whole.sram)
        )

    budget = Budget(sram=Bytes(whole.sram * 2 // 3))
    options = WidthOptions(every=1, rate=16.0)
    pruner = WidthPruner(model, IMAGE, budget, batches(4, 1), options=options, check=check)
    updates = 0
    while not pruner.met and updates < 20:
        pruner.step()
        updates += 1
        taken = check(apply_widths(graph, pruner.plan))
        assert pruner.met == (not taken.beyond(budget))
    assert pruner.met
    assert updates > 1


def test_no_peak_is_met_by_rounding_up() -> None:
    """A second width of 1.64 keeps one channel, by which another order has less to hold."""
    model, inputs = zoo.from_spec("resnet8")
    generator = torch.Generator().manual_seed(0)
    held = [(torch.randn(4, *inputs[0].shape[1:], generator=generator), torch.arange(4))]
    options = WidthOptions(every=1, rate=3.0)
    pruner = WidthPruner(model, inputs, Budget(sram=Bytes(17_400)), held, options=options)
    most = CostModel(irprune.load(model, inputs)).widths
    widths = torch.tensor([7.54, 1.64, 11.34, 29.36, 39.6, 9.17], dtype=torch.float64)
    pruner.load_state_dict(pruner.state_dict() | {"logs": (widths / torch.tensor(most)).log()})
    for _ in range(20):
        pruner.step()
    assert pruner.met
    assert pruner.usage.sram <= 17_400


def test_no_width_falls_below_one() -> None:
    """What is below one is kept as one, and would count as saved."""
    model = net()
    costs = CostModel(irprune.load(model, IMAGE))
    least = costs.usage(np.ones_like(costs.widths))
    options = WidthOptions(every=1, rate=4.0)
    pruner = WidthPruner(
        model, IMAGE, Budget(macs=Macs(2 * least.macs)), batches(4, 1), options=options
    )
    train(model, pruner, 5 * batches(4))
    for _ in range(400):
        pruner.step()
    assert 1 in pruner.widths
    assert torch.all(pruner.multipliers * torch.from_numpy(costs.widths) >= 1 - 1e-9)


def test_sram_counts_as_the_option_says() -> None:
    """The peak of the best order, the largest operator, which is less, or nothing."""
    costs = CostModel(irprune.load(net(), IMAGE))
    widths = costs.widths
    precise, imprecise = int(costs.peak(widths)), int(costs.imprecise_peak(widths))
    assert imprecise < precise
    budget = Budget(sram=Bytes((precise + imprecise) // 2))
    met = {}
    for peak in Peak:
        options = replace(FAST, peak=peak)
        met[peak] = WidthPruner(net(), IMAGE, budget, batches(1), options=options).met
    assert met == {Peak.PRECISE: False, Peak.IMPRECISE: True, Peak.NONE: True}


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            z: Tensor = self.head(F.relu(self.layer(x + y)))
            return z

    torch.manual_seed(0)
    x = torch.randn(8, 4)
    held = [((x, x), torch.arange(8) % 3)]
    model = Two()
    pruner = WidthPruner(model, (x[:1], x[:1]), Budget(macs=Macs(30)), held, options=FAST)
    for _ in range(40):
        pruner.step()
    assert pruner.met
    assert pruner.finish()(x, x).shape == (8, 3)


def test_the_resource_loss(shared: Path) -> None:
    """The weights choose among what is over budget, and scale nothing."""
    like = torch.ones(1, dtype=torch.float64)
    cases = json.loads((shared / "cases/formulas.json").read_text())["liberis_eq2"]
    for case in cases:
        ratios = dict(zip(("sram", "flash", "macs"), case["ratios"], strict=True))
        found = scalarized(ratios, case["lam"], Scalarization.RANDOM, like)
        assert float(found) == pytest.approx(case["P_res"], rel=1e-6)
        total = scalarized(ratios, case["lam"], Scalarization.SUM, like)
        assert float(total) == pytest.approx(case["unweighted_sum"], rel=1e-6)
    met = {"sram": 0.9, "macs": 1.0}
    for how in Scalarization:
        assert float(scalarized(met, [1.0, 2.0], how, like)) == 0


def test_what_cannot_be_learned() -> None:
    budget, held = half(), batches(2, 1)
    model = net()
    with pytest.raises(UsageError, match="macs can fall to"):
        WidthPruner(model, IMAGE, Budget(macs=Macs(10)), held)
    with pytest.raises(UsageError, match="no validation batches"):
        WidthPruner(model, IMAGE, budget, [])
    with pytest.raises(UsageError, match="does not take validation batch 0"):
        WidthPruner(model, IMAGE, budget, [(torch.zeros(2, 3, 8, 8), torch.zeros(2).long())])
    (first, second) = held
    with pytest.raises(UsageError, match="does not take validation batch 1"):
        WidthPruner(model, IMAGE, budget, [first, (torch.zeros(2, 3, 8, 8), torch.zeros(2).long())])
    with pytest.raises(UsageError, match=r"batch 0 is nan \(is it empty"):
        WidthPruner(model, IMAGE, budget, [(first[0][:0], first[1][:0]), second])
    with pytest.raises(UsageError, match="does not take validation batch 0: ValueError"):
        WidthPruner(model, IMAGE, budget, [(*first, first[1])])  # type: ignore[list-item]  # the mistake
    wrong: tuple[tuple[str, Any, str], ...] = (
        ("every", 0, "updated every 0 steps"),
        ("rate", -1.0, "rate -1.0 is not a finite number above 0"),
        ("rate", np.nan, "rate nan is not"),
        ("start", -1, "start -1 is not"),
        ("balance", np.inf, "balance inf is not"),
        ("alphas", (1.0, -1.0), "are not two finite numbers"),
    )
    for name, number, said in wrong:
        with pytest.raises(UsageError, match=said):
            WidthPruner(model, IMAGE, budget, held, options=replace(FAST, **{name: number}))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(UsageError, match="has no channels that can be removed"):
        WidthPruner(flat, IMAGE, budget, held)
    pruner = WidthPruner(model, IMAGE, budget, held, options=FAST)
    with pytest.raises(UsageError, match="pruner of another model"):
        pruner.load_state_dict({"graph": "another"})
    state = pruner.state_dict()
    del state["bounds"], state["logs"]
    with pytest.raises(UsageError, match="the state lacks bounds, logs"):
        pruner.load_state_dict(state)
    other = WidthPruner(net(), IMAGE, Budget(macs=Macs(9000)), held, options=FAST)
    with pytest.raises(UsageError, match="with another budget"):
        pruner.load_state_dict(other.state_dict())
    with torch.no_grad():
        model.get_parameter("head.bias").fill_(np.nan)
    pruner.step()
    with pytest.raises(UsageError, match="the loss on held-out data is nan at update 0"):
        pruner.step()
