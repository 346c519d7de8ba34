"""Modules with fewer channels: what they compute, and that they go on living."""

from __future__ import annotations

import warnings
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irprune
from irprune import zoo
from irprune.backends.reference import run
from irprune.ir.errors import InvalidPlan, UsageError
from irprune.ir.plan import Plan, fingerprint
from irprune.passes.analysis.channels import channels
from irprune.passes.one_shot import plan_for_ratio
from irprune.passes.one_shot_sparsity import plan_for_sparsity
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.training.apply import apply_to_module, apply_to_optimizer, kept_slices
from tests.channel_nets import NETS, Wired, conv
from tests.widths import random_plan, run_masked

Inputs = tuple[Tensor, ...]


def halved(module: nn.Module, inputs: Inputs) -> Plan:
    """Half of each group, so that what code wants to be equal is."""
    return plan_for_ratio(irprune.load(module, inputs), 0.5)


def assert_masked(module: nn.Module, smaller: nn.Module, plan: Plan, inputs: Inputs) -> None:
    """The smaller module computes what the larger does with those channels held at zero."""
    graph = irprune.load(module, inputs)
    wanted = run_masked(graph, plan, [x.numpy() for x in inputs])
    with torch.no_grad():
        found = smaller.eval()(*inputs)
    tensors = found if isinstance(found, tuple) else (found,)
    for array, tensor in zip(wanted, tensors, strict=True):
        atol = 1e-5 * np.abs(array).max(initial=1.0)
        np.testing.assert_allclose(tensor.numpy(), array, rtol=0, atol=atol)


def assert_lives_on(smaller: nn.Module, inputs: Inputs) -> None:
    """It learns, is exported, saved and loaded."""
    smaller.train()
    optimizer = torch.optim.SGD(smaller.parameters(), 0.01, momentum=0.9)
    norms = any(isinstance(part, nn.BatchNorm1d) for part in smaller.modules())
    found = smaller(*(torch.cat([x, x]) if norms else x for x in inputs))
    total = sum(y.square().mean() for y in (found if isinstance(found, tuple) else (found,)))
    torch.autograd.backward(total)
    before = [p.detach().clone() for p in smaller.parameters()]
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, smaller.parameters(), strict=True))
    smaller.eval()
    with warnings.catch_warnings():
        # Of torch's own recurrent layers, whatever their sizes.
        warnings.filterwarnings("ignore", ".*were assigned during export", UserWarning)
        torch.export.export(smaller, inputs)
    file = BytesIO()
    torch.save(smaller.state_dict(), file)
    file.seek(0)
    smaller.load_state_dict(torch.load(file, weights_only=True))


FIXED = {"attention_of_torch", "padded_shortcut"}
"""Nets whose modules, or code, have sizes of their own."""


@pytest.mark.parametrize("name", sorted(NETS.keys() - FIXED))
def test_small_nets(name: str) -> None:
    torch.manual_seed(0)
    module = NETS[name].build().eval()
    inputs = tuple(torch.randn(shape) for shape in NETS[name].shapes)
    plan = halved(module, inputs)
    smaller = apply_to_module(module, plan, inputs)
    assert type(smaller) is type(module)
    assert_masked(module, smaller, plan, inputs)
    assert_lives_on(smaller, inputs)


@pytest.mark.parametrize("name", ["ds_cnn_m", "efficientnet_b0", "mcunet_s", "resnet8", "res15"])
def test_the_zoo(name: str) -> None:
    torch.manual_seed(0)
    module, inputs = zoo.build(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    plan = random_plan(irprune.load(module, inputs), np.random.default_rng(0), 0.3)
    smaller = apply_to_module(module, plan, inputs)
    assert_masked(module, smaller, plan, inputs)
    assert_lives_on(smaller, inputs)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_sizes_are_those_of_the_parameters() -> None:
    """What a module prints, and what code asks it for."""
    torch.manual_seed(0)
    module = NETS["depthwise"].build().eval()
    inputs = (torch.randn(1, 3, 8, 8),)
    smaller: Any = apply_to_module(module, halved(module, inputs), inputs)
    assert (smaller.a.out_channels, smaller.deep.in_channels, smaller.deep.groups) == (3, 3, 3)
    assert (smaller.norm.num_features, smaller.head.in_features) == (3, 3)
    assert str(smaller.deep).startswith("Conv2d(3, 3,")
    module = NETS["gru_bidirectional"].build().eval()
    inputs = (torch.randn(4, 1, 5),)
    smaller = apply_to_module(module, halved(module, inputs), inputs)
    assert (smaller.cell.hidden_size, smaller.head.in_features) == (2, 4)


def test_zero_biases_of_cells_follow_their_weights() -> None:
    """They are in no graph."""
    module = nn.Sequential(nn.LSTM(5, 4), First(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        for name, parameter in module[0].named_parameters():
            if name.startswith("bias"):
                parameter.zero_()
    inputs = (torch.randn(3, 1, 5),)
    plan = halved(module, inputs)
    assert plan.kept
    smaller = apply_to_module(module, plan, inputs)
    assert_masked(module, smaller, plan, inputs)


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Any]) -> Tensor:
        return pair[0]


def test_tied_parameters_stay_tied() -> None:
    torch.manual_seed(0)
    module: Any = Wired(
        lambda m, x: m.head((m.b(m.a(x)) + m.c(m.a(x))).mean((2, 3))),
        a=conv(3, 6),
        b=conv(6, 5),
        c=conv(6, 5),
        head=nn.Linear(5, 4),
    ).eval()
    module.c.weight = module.b.weight
    inputs = (torch.randn(1, 3, 8, 8),)
    plan = halved(module, inputs)
    smaller: Any = apply_to_module(module, plan, inputs)
    assert smaller.c.weight is smaller.b.weight
    assert smaller.b.weight.shape < module.b.weight.shape
    assert_masked(module, smaller, plan, inputs)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
def test_optimizers_keep_their_state(kind: Any) -> None:
    """Moments of what stays are what they were, and the next step is taken from there."""
    torch.manual_seed(0)
    module, inputs = zoo.build("resnet8")
    module.train()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(
        [
            {"params": [p for p in module.parameters() if p.ndim > 1], "lr": 0.02},
            {"params": [p for p in module.parameters() if p.ndim == 1], "lr": 0.01},
        ],
        **options,
    )
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(module(torch.randn(4, *inputs[0].shape[1:])).square().mean())
        optimizer.step()
    plan = halved(module, inputs)
    smaller = apply_to_module(module, plan, inputs)
    after = apply_to_optimizer(optimizer, module, smaller, plan, inputs)
    assert [group["lr"] for group in after.param_groups] == [0.02, 0.01]
    old, new = (
        module.get_parameter("features.0.conv.weight"),
        smaller.get_parameter("features.0.conv.weight"),
    )
    group = next(
        g for g in channels(irprune.load(module, inputs)).free if g.name == "features.0.conv"
    )
    kept = torch.tensor(plan.kept.get(group.name, tuple(range(len(old)))))
    for key, state in optimizer.state[old].items():
        wanted = state[kept] if isinstance(state, Tensor) and state.ndim else state
        assert torch.equal(torch.as_tensor(after.state[new][key]), torch.as_tensor(wanted))
    smaller.train()
    torch.autograd.backward(smaller(torch.randn(4, *inputs[0].shape[1:])).square().mean())
    before = new.detach().clone()
    after.step()
    assert not torch.equal(new, before)
    assert optimizer.param_groups[0]["params"][0] is old


class Written(nn.Module):
    """Its code has a size that the graph does not tie to the layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.a(x).reshape(1, 8))
        return y


class Computed(nn.Module):
    """Its weights are computed from a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 5))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(nn.functional.linear(x, self.w / 2))
        return y


class Norms(nn.Module):
    """Normalizations over groups of channels, and over each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 8), conv(8, 6), nn.Linear(6, 2)
        self.groups, self.each = nn.GroupNorm(4, 8), nn.InstanceNorm2d(6, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.each(self.b(self.groups(self.a(x)))).abs().mean((2, 3)))
        return y


def test_normalizations_over_groups() -> None:
    torch.manual_seed(0)
    module, inputs = Norms().eval(), (torch.randn(1, 3, 8, 8),)
    plan = halved(module, inputs)
    smaller: Any = apply_to_module(module, plan, inputs)
    assert_masked(module, smaller, plan, inputs)
    left = smaller.groups.num_groups, smaller.groups.num_channels, smaller.each.num_features
    assert left == (2, 4, 3)


class Scaled(nn.Module):
    """Attention, whose scale depends on the width of its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 8) for _ in range(3))
        self.head = nn.Linear(8, 2)
        with torch.no_grad():
            self.q.weight.mul_(4)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        z: Tensor = self.head(y)
        return z


class Assisted(nn.Module):
    """A second head that only training has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head, self.side = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z: Tensor = self.head(y) + self.side(y) if self.training else self.head(y)
        return z


def test_modes_of_parts_are_kept() -> None:
    torch.manual_seed(0)
    module = NETS["depthwise"].build().train()
    module.get_submodule("norm").eval()
    inputs = (torch.randn(1, 3, 8, 8),)
    smaller = apply_to_module(module, halved(module, inputs), inputs)
    assert smaller.training
    assert not smaller.get_submodule("norm").training


def test_optimizers_that_cannot_go_on() -> None:
    torch.manual_seed(0)
    module, inputs = NETS["batch_norm_1d"].build().eval(), (torch.randn(1, 7),)
    plan = halved(module, inputs)
    smaller = apply_to_module(module, plan, inputs)
    with pytest.raises(UsageError, match="LBFGS has one state"):
        apply_to_optimizer(torch.optim.LBFGS(module.parameters()), module, smaller, plan, inputs)
    optimizer = torch.optim.Adam(module.parameters())
    with pytest.raises(UsageError, match="is not what the plan makes of it"):
        apply_to_optimizer(optimizer, module, module, plan, inputs)
    stranger = torch.optim.Adam(nn.Linear(2, 2).parameters())
    with pytest.raises(UsageError, match="not the module's"):
        apply_to_optimizer(stranger, module, smaller, plan, inputs)


def test_uneven_halves_are_refused_where_code_wants_them_even() -> None:
    """A wrong result never comes out."""
    torch.manual_seed(0)
    module, inputs = NETS["c2f"].build().eval(), (torch.randn(1, 3, 8, 8),)
    made = fingerprint(irprune.load(module, inputs))
    uneven = Plan(made, {"a[0:4]": (0,), "a[4:8]": (4, 5, 6), "b": (0, 1, 2)})
    with pytest.raises(UsageError, match="these sizes"):
        apply_to_module(module, uneven, inputs)


def test_what_modules_cannot_have() -> None:
    torch.manual_seed(0)
    x = (torch.randn(1, 5),)
    for module, inputs, words in (
        (Written(), x, "Written: cannot have these sizes"),
        (Computed(), x, "is computed from parameters"),
        (Assisted(), x, "Assisted: cannot be trained with these sizes"),
        (Scaled(), (torch.randn(1, 3, 6),), "Scaled: computes something else with these sizes"),
        (
            NETS["attention_of_torch"].build(),
            (torch.randn(1, 5, 7),),
            "MultiheadAttention: has one",
        ),
        (NETS["padded_shortcut"].build(), (torch.randn(1, 3, 8, 8),), "cannot have these sizes"),
    ):
        plan = halved(module.eval(), inputs)
        with pytest.raises(UsageError, match=words):
            apply_to_module(module, plan, inputs)
    cells = nn.Sequential(nn.LSTM(5, 4, 2), First(), nn.Linear(4, 2)).eval()
    inputs = (torch.randn(4, 1, 5),)
    uneven = Plan(fingerprint(irprune.load(cells, inputs)), {"0": (0, 1)})
    with pytest.raises(UsageError, match="layers would have 2, 4 hidden units"):
        apply_to_module(cells, uneven, inputs)
    other = halved(Written().eval(), x)
    with pytest.raises(InvalidPlan, match="is for another graph"):
        apply_to_module(Computed(), other, x)


def test_masks_are_carried_out_with_widths() -> None:
    """What a plan's masks leave out is zero in what stays, and the module computes as its graph."""
    module, inputs = (
        NETS["residual_chain"].build().eval(),
        tuple(torch.randn(shape) for shape in NETS["residual_chain"].shapes),
    )
    graph = irprune.load(module, inputs)
    masks = plan_for_sparsity(graph, 0.6).masks
    both = replace(plan_for_ratio(graph, 0.5), masks=masks)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    smaller = apply_to_module(module, both, inputs)
    (wanted,) = run(apply_widths(apply_sparsity(graph, both), both), [x.numpy() for x in inputs])
    with torch.no_grad():
        np.testing.assert_allclose(smaller(*inputs).numpy(), wanted, rtol=0, atol=1e-5)
    kept = kept_slices(module, both, inputs)
    for name, mask in masks.items():
        stays = torch.from_numpy(mask.stays)[torch.meshgrid(*kept[name], indexing="ij")]
        assert not smaller.get_parameter(name)[~stays].any()
        assert smaller.get_parameter(name)[stays].all()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_masks_that_cannot_be_carried_out() -> None:
    inputs = (torch.randn(1, 4),)
    normed = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    plan = plan_for_sparsity(irprune.load(normed, inputs), 0.5)
    with pytest.raises(UsageError, match="computed from parameters, or no parameter, and cannot"):
        apply_to_module(normed, plan, inputs)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ self.weight) @ self.weight[:, :2]

    twice = Twice()
    found = plan_for_sparsity(irprune.load(twice, inputs), 0.5)
    assert len(found.masks) == 2
    for name in found.masks:
        one = replace(found, masks={name: found.masks[name]})
        with pytest.raises(UsageError, match="'weight' is read in two ways"):
            apply_to_module(twice, one, inputs)
