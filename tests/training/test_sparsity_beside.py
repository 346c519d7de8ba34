"""Sparsity beside widths and quantization, and where it cannot be."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import irprune
from irprune.backends.compile import compile_tflite
from irprune.backends.vela.codec import encoded
from irprune.budget import Budget
from irprune.ir.errors import UsageError
from irprune.ir.plan import Plan, fingerprint
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.channels import channels as find_channels
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.analysis.deployment import weights
from irprune.passes.analysis.entropy import coded_weights
from irprune.training.apply import apply_to_module
from irprune.training.coded_size import encoded_bytes, estimated_bytes
from irprune.training.fake_quantizer import FakeQuantizer
from irprune.training.mask_costs import SizeCheck
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import FixedSparsity, SparsityOptions, Threshold
from irprune.training.sparsity_terms import (
    BoundedBytes,
    BoundedCost,
    MinimizedCost,
    SparsityCost,
    SparsityTerm,
)
from irprune.training.width_pruner import WidthOptions, WidthPruner
from tests.sparse_nets import FAST, IMAGE, Net, learned, net, train
from tests.stripes import batches


def half() -> Budget:
    model = CostModel(irprune.load(net(), IMAGE))
    return Budget(macs=Macs(int(model.macs(model.widths)) // 2))


@pytest.mark.parametrize("widths_first", [True, False])
def test_beside_widths(*, widths_first: bool) -> None:
    """Both masks at once, whichever came first, in training and in what comes out."""
    model = net()
    budget, fast = half(), WidthOptions(every=2, rate=30.0)

    def pruner() -> WidthPruner[Net]:
        return WidthPruner(model, IMAGE, budget, batches(2, 1), options=fast)

    widths = pruner() if widths_first else None
    learner = SparsityLearner(model, IMAGE, FixedSparsity(0.5))
    widths = widths or pruner()
    train(model, learner, batches(30), also=widths)
    assert widths.met
    both = replace(widths.plan, masks=learner.plan.masks)
    assert both.kept
    assert both.masks
    x = batches(1, 2)[0][0]
    model.eval()
    with torch.no_grad():
        small = apply_to_module(model, both, IMAGE)
        torch.testing.assert_close(small.eval()(x), model(x), rtol=0, atol=1e-5)
        assert torch.equal(small(x), apply_to_module(model, both, IMAGE).eval()(x))
    assert small.get_parameter("stem.0.weight").shape != model.get_parameter("stem.0.weight").shape
    names = [name for name, _ in net().named_parameters()]
    assert [name for name, _ in model.named_parameters()] == names
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_widths_learn_the_same_beside_sparsity_in_either_order() -> None:
    found = []
    for widths_first in (True, False):
        model = net()
        budget, fast = half(), WidthOptions(every=2, rate=5.0)
        goal = [MinimizedCost()]
        parts: list[Any] = [None, None]
        for at in (0, 1) if widths_first else (1, 0):
            parts[at] = (
                WidthPruner(model, IMAGE, budget, batches(2, 1), options=fast)
                if at == 0
                else SparsityLearner(model, IMAGE, goal, options=FAST)
            )
        train(model, parts[1], batches(12), also=parts[0])
        found.append((parts[0].multipliers, parts[1].sparsities))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("widths_first", [True, False])
@pytest.mark.parametrize("cost", ["bytes", "parameters"])
def test_budgets_are_those_of_the_channels_that_stay(cost: str, *, widths_first: bool) -> None:
    """What comes out keeps them, and is not far below."""
    model = net()
    parts: dict[str, Any] = {}
    fast = WidthOptions(every=2, rate=30.0)
    bound = {"bytes": 600, "parameters": 0.3}[cost]

    def add_widths() -> None:
        parts["widths"] = WidthPruner(model, IMAGE, half(), batches(2, 1), options=fast)

    def channels() -> Plan:
        return parts["widths"].plan if "widths" in parts else Plan(fingerprint(graph))

    graph = irprune.load(net(), IMAGE)
    if widths_first:
        add_widths()
    goal: list[SparsityTerm] = [
        BoundedBytes(Bytes(600)) if cost == "bytes" else BoundedCost(SparsityCost.PARAMETERS, 0.3)
    ]
    check = estimated_bytes if cost == "bytes" else None
    options = SparsityOptions(rate=1e-4, start=0.2)
    learner = SparsityLearner(model, IMAGE, goal, options=options, check=check, plan=channels)
    if not widths_first:
        add_widths()
    train(model, learner, batches(30), also=parts["widths"])
    parts["widths"].freeze()
    assert parts["widths"].met
    learner.freeze()
    small = learner.finish()
    after = irprune.load(small, IMAGE)
    assert small.get_parameter("stem.0.weight").shape[0] < 16
    stays, of = (
        sum(f(after.constants[v]) for v in weights(after) if v.name != "depthwise.weight")
        for f in (np.count_nonzero, np.size)
    )
    assert learner.sparsity == pytest.approx(1 - stays / of, abs=1e-6)
    found = estimated_bytes(after) if cost == "bytes" else stays / of
    assert 0.9 * bound < found <= bound
    if cost == "bytes":
        assert learner.coded_bytes == pytest.approx(found)


def test_the_fixed_sparsity_is_that_of_the_channels_that_stay() -> None:
    model = net()
    widths = WidthPruner(
        model, IMAGE, half(), batches(2, 1), options=WidthOptions(every=2, rate=30.0)
    )
    learner = SparsityLearner(model, IMAGE, FixedSparsity(0.5), plan=lambda: widths.plan)
    train(model, learner, batches(20), also=widths)
    small = learner.finish()
    for path, sparsity in learner.sparsities.items():
        weight = small.get_parameter(path)
        assert weight.numel() < model.get_parameter(path).numel()
        assert float((weight == 0).float().mean()) == pytest.approx(sparsity)
        assert sparsity == pytest.approx(0.5, abs=0.5 / weight.numel() + 1e-3)


def test_a_budget_beside_widths_that_are_not_known() -> None:
    model = net()
    learner = SparsityLearner(model, IMAGE, [BoundedCost(SparsityCost.PARAMETERS, 0.3)])
    train(model, learner, batches(1))
    widths = WidthPruner(model, IMAGE, half(), batches(2, 1))
    with pytest.raises(UsageError, match="Net: a budget beside widths is that of the channels"):
        train(model, learner, batches(1))
    widths.finish()
    train(model, learner, batches(1))


@pytest.mark.parametrize("check", [None, irprune.estimated_bytes])
def test_both_go_on_from_their_states(check: SizeCheck | None) -> None:
    """After an update of widths that the learner, which steps first, has not seen yet."""

    def begun() -> tuple[Net, WidthPruner[Net], SparsityLearner[Net]]:
        model = net()
        fast = WidthOptions(every=2, rate=10.0)
        widths = WidthPruner(model, IMAGE, half(), batches(2, 1), options=fast)
        goal = [BoundedCost(SparsityCost.COMPRESSED, 0.3)]
        options = replace(FAST, start=0.5, every=4)
        learner = SparsityLearner(
            model, IMAGE, goal, options=options, check=check, plan=lambda: widths.plan
        )
        return model, widths, learner

    model, widths, learner = begun()
    optimizer = train(model, learner, batches(8), also=widths)
    assert widths.plan.kept
    state = copy.deepcopy(
        [part.state_dict() for part in (model, optimizer, widths, learner)],
    )
    train(model, learner, batches(11, 1), optimizer, also=widths)
    resumed, narrower, second = begun()
    again = torch.optim.SGD(resumed.parameters(), 0.05, momentum=0.9)
    parts: tuple[Any, ...] = (resumed, again, narrower, second)
    for part, of_part in zip(parts, state, strict=True):
        part.load_state_dict(of_part)
    train(resumed, second, batches(11, 1), again, also=narrower)
    assert second.plan == learner.plan
    assert second.sparsities == learner.sparsities
    for path, tensor in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[path], tensor)


def test_a_layer_of_which_one_weight_is_left() -> None:
    """It stays."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), torch.randn(1, 3)
    graph = irprune.load(model, (x,))
    (group,) = find_channels(graph).free
    plan = Plan(fingerprint(graph), {group.name: (5,)})
    goal = FixedSparsity(0.5, Threshold.GAUSSIAN)
    small = SparsityLearner(model, (x,), goal, plan=lambda: plan).finish()
    weight = small.get_parameter("2.weight")
    assert torch.equal(weight, model.get_parameter("2.weight")[:, 5:6])
    assert small.get_parameter("0.weight").shape == (1, 3)


def test_a_model_that_is_no_longer_run() -> None:
    """As after ``WidthPruner.shrink``: the smaller module has no masks, which is said."""
    model = net()
    widths = WidthPruner(model, IMAGE, half(), batches(2, 1))
    learner = SparsityLearner(model, IMAGE, FixedSparsity(0.5))
    optimizer = train(model, learner, batches(2), also=widths)
    small, optimizer = widths.shrink(optimizer)
    with pytest.raises(UsageError, match="Net: the model has not been run in the last 5 steps"):
        train(small, learner, batches(6), optimizer)
    with pytest.raises(UsageError, match="a learner of its own"):
        learner.finish()
    model(*IMAGE)
    learner.step()


def test_pruned_weights_are_the_zero_of_integers() -> None:
    """What was trained on integers, compiled: each pruned weight is 0, and most others are not."""
    model = net()
    learner = SparsityLearner(model, IMAGE, FixedSparsity(0.7))
    quantizer = FakeQuantizer(model, IMAGE)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    quantizer.train()
    for x, y in batches(20):
        torch.autograd.backward(F.cross_entropy(quantizer(x), y) + learner.loss())
        optimizer.step()
        optimizer.zero_grad()
        learner.step()
    x = batches(1, 5)[0][0]
    with torch.no_grad():
        masked = quantizer.eval()(x)
    sparse = learner.finish()
    with torch.no_grad():
        assert not torch.allclose(quantizer(x), masked)  # the model alone is dense again
    graph = irprune.load(sparse, IMAGE)
    compiled = compile_tflite(graph, ranges=quantizer.ranges()).model.graph
    stays = {name: mask.stays for name, mask in learner.plan.masks.items()}
    stored = {v.name: a for v, a in compiled.constants.items() if v.name in stays}
    assert stored.keys() == stays.keys()
    for name, array in stored.items():
        assert array.dtype == np.int8
        kept = stays[name].transpose(0, 2, 3, 1) if stays[name].ndim == 4 else stays[name]
        assert not array[~kept].any()
        assert np.mean(array[kept] != 0) > 0.9


def test_widths_sparsity_and_integers_at_once() -> None:
    """The compiled model has fewer channels, and zeros where masks have them."""
    model, bound = net(), 600
    widths = WidthPruner(
        model, IMAGE, half(), batches(2, 1), options=WidthOptions(every=2, rate=30.0)
    )
    learner = SparsityLearner(
        model,
        IMAGE,
        [BoundedBytes(Bytes(bound))],
        options=SparsityOptions(rate=0.01, every=10),
        check=encoded_bytes,
        plan=lambda: widths.plan,
    )
    quantizer = FakeQuantizer(model, IMAGE).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    for at, (x, y) in enumerate(batches(40)):
        if at == 30:
            widths.freeze()
            learner.freeze()
        torch.autograd.backward(F.cross_entropy(quantizer(x), y) + learner.loss())
        optimizer.step()
        optimizer.zero_grad()
        learner.step()
        widths.step()
    assert widths.met
    sparse = learner.finish()
    graph = irprune.load(sparse, IMAGE)
    compiled = compile_tflite(graph, [[x[:1].numpy()] for x, _ in batches(4, 3)]).model.graph
    stored = {value.name: array for value, array in compiled.constants.items()}
    lost = whole = 0
    for value in weights(graph):
        array = graph.constants[value]
        assert array.shape != model.get_parameter(value.name).shape
        if value.name != "depthwise.weight":
            gone = (array.transpose(0, 2, 3, 1) if array.ndim == 4 else array) == 0
            integers = stored[value.name]
            assert integers.dtype == np.int8
            assert not integers[gone].any()
            assert np.mean(integers[~gone] != 0) > 0.97
            lost, whole = lost + int(gone.sum()), whole + gone.size
    assert lost / whole == pytest.approx(learner.sparsity, abs=1e-6)
    assert learner.sparsity > 0.3
    codes = (encoded(tensor) for tensor in coded_weights(compiled))
    assert 0.9 * bound < sum(code.bytes for code in codes if code) <= bound


def test_a_copy_computes_with_its_own_weights() -> None:
    """As averages of weights do, which are kept in copies."""
    model = net().eval()
    x = batches(1)[0][0]
    whole = model(x)
    learner = SparsityLearner(model, IMAGE, FixedSparsity(0.5))
    assert not torch.allclose(model(x), whole)
    assert torch.equal(copy.deepcopy(model)(x), whole)
    learner.finish()
    assert torch.equal(model(x), whole)


def constant(value: float) -> Net:
    model = net()
    with torch.no_grad():
        model.get_parameter("body.0.weight").fill_(value)
    return model


@pytest.mark.parametrize(
    ("model", "goal", "options", "said"),
    [
        (net(), FixedSparsity(1.0), {}, r"Net: sparsity 1\.0 is not a share from 0 to less than 1"),
        (net(), FixedSparsity(-0.1), {}, r"Net: sparsity -0\.1 is not a share"),
        (net(), FixedSparsity(float("nan")), {}, "Net: sparsity nan is not a share"),
        (net(), [MinimizedCost()], {"start": 1.0}, r"Net: start 1\.0 is not a share"),
        (net(), [], {}, "Net: there is no goal"),
        (constant(0.5), FixedSparsity(0.5), {}, "body.0.weight: all weights are of one magnitude"),
        (constant(-0.5), FixedSparsity(0.5), {}, "body.0.weight: all weights are of one magnitude"),
        (constant(0.0), FixedSparsity(0.5), {}, "body.0.weight: all weights are zero already"),
        (constant(np.nan), FixedSparsity(0.5), {}, "body.0.weight: has weights that are not finit"),
        (net(), FixedSparsity(0.5), {"leave": ("*",)}, "Net: has no weights of convolutions or"),
        (net(), FixedSparsity(0.5), {"leave": ("stm.*",)}, r"no weights match 'stm\.\*'"),
        (net(), FixedSparsity(0.5, margin=-0.1), {}, r"Net: margin -0\.1 is not a share"),
        (net(), [MinimizedCost()], {"every": 0}, "Net: the check cannot be asked every 0 steps"),
        (net(), [MinimizedCost()], {"rate": 0.0}, r"Net: rate 0\.0 is not a finite number above"),
        (net(), [MinimizedCost()], {"momentum": 1.0}, r"Net: momentum 1\.0 is not a share"),
        (net(), [BoundedBytes(Bytes(9))], {}, "no thresholds meet the budget: coded weights"),
    ],
)
def test_what_cannot_be_learned(
    model: Net, goal: FixedSparsity | list[SparsityTerm], options: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        SparsityLearner(model, IMAGE, goal, options=SparsityOptions(**options))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_steps_that_cannot_be_taken() -> None:
    model, learner = learned([BoundedCost(SparsityCost.PARAMETERS, 0.3)], 1)
    with pytest.raises(UsageError, match="the learner's loss was not added"):
        learner.step()
    learner.loss()
    with pytest.raises(UsageError, match="there is no gradient for the thresholds"):
        learner.step()
    ((x, y),) = batches(1)
    torch.autograd.backward(F.cross_entropy(model(x), y) * torch.nan + learner.loss())
    with pytest.raises(UsageError, match="no numbers at step 4"):
        learner.step()
    model, learner = learned(FixedSparsity(0.5), 1)
    with torch.no_grad():
        model.get_parameter("dense.weight").fill_(torch.nan)
    with pytest.raises(UsageError, match=r"dense\.weight: the loss or the weights are no numbers"):
        learner.step()
    with pytest.raises(UsageError, match="learner of another model"):
        learner.load_state_dict({"graph": "another"})
    state = SparsityLearner(
        net(), IMAGE, FixedSparsity(0.5), options=SparsityOptions(leave=("stem.*",))
    ).state_dict()
    with pytest.raises(UsageError, match="learner of other layers"):
        learner.load_state_dict(state)
