"""Masks in a module compute what removal would, and leave everything else as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from irprune import zoo
from irprune.ir.errors import UsageError
from irprune.ir.plan import Plan, fingerprint
from irprune.training.gates import Gates
from tests.channel_nets import NETS
from tests.widths import run_masked

Inputs = tuple[Tensor, ...]


def built(name: str) -> tuple[nn.Module, Inputs]:
    torch.manual_seed(0)
    if name not in NETS:
        return zoo.build(name)
    inputs = tuple(torch.randn(shape) for shape in NETS[name].shapes)
    return NETS[name].build().eval(), inputs


def some(gates: Gates, seed: int = 0) -> tuple[Tensor, Plan]:
    """A random mask that keeps at least a unit of each group, and the plan that it is."""
    rng, kept = np.random.default_rng(seed), {}
    mask = torch.zeros_like(gates.mask)
    for group, first in zip(gates.channels.free, gates.first, strict=True):
        units = np.sort(rng.permutation(group.width)[: rng.integers(1, group.width + 1)])
        mask[first + torch.from_numpy(units)] = 1
        kept[group.name] = tuple(sorted(group.indices[units].ravel().tolist()))
    return mask, Plan(fingerprint(gates.graph), kept)


def outputs(module: nn.Module, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        found = module(*inputs)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("name", [*NETS, "mobilenet_v1", "efficientnet_b0", "res15", "etinynet"])
def test_masked_modules_compute_what_masked_graphs_do(name: str) -> None:
    module, inputs = built(name)
    whole = outputs(module, inputs)
    gates = Gates(module, inputs)
    assert all(map(torch.equal, outputs(module, inputs), whole))
    mask, plan = some(gates)
    gates.set(mask)
    wanted = run_masked(gates.graph, plan, [x.numpy() for x in inputs])
    for found, array in zip(outputs(module, inputs), wanted, strict=True):
        atol = 1e-5 * np.abs(array).max(initial=1.0)
        np.testing.assert_allclose(found.numpy(), array, rtol=0, atol=atol)
    gates.remove()
    assert all(map(torch.equal, outputs(module, inputs), whole))


@pytest.mark.parametrize("name", ["residual_chain", "flatten_to_dense", "lstm_stacked", "grouped"])
def test_gradients_by_the_mask(name: str) -> None:
    """Of what a unit's readers get: beside finite differences, in double precision."""
    module, inputs = built(name)
    module.double()
    inputs = tuple(x.double() for x in inputs)
    gates = Gates(module, inputs)
    mask, _ = some(gates)
    mask = mask.double()
    gates.set(mask)

    def loss() -> Tensor:
        found = module(*inputs)
        y: Tensor = found[0] if isinstance(found, tuple) else found
        return y.square().sum()

    with gates.differentiable() as leaf:
        (by_mask,) = torch.autograd.grad(loss(), leaf)
    for unit in range(len(mask)):
        values = []
        for step in (1e-5, -1e-5):
            moved = mask.clone()
            moved[unit] += step
            gates.set(moved)
            with torch.no_grad():
                values.append(float(loss()))
        assert float(by_mask[unit]) == pytest.approx(
            (values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-6
        )


def test_parameters_are_the_modules_own() -> None:
    """Names, order and identity, after passes that end well and one that does not."""
    module, inputs = built("depthwise")
    before = list(module.named_parameters())
    gates = Gates(module, inputs)
    gates.set(some(gates, 1)[0])
    outputs(module, inputs)
    with pytest.raises(RuntimeError):
        module(torch.randn(1, 5, 8, 8))
    after = list(module.named_parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(a is b for (_, a), (_, b) in zip(after, before, strict=True))


def test_what_is_held_at_zero_does_not_learn_and_can_come_back() -> None:
    module, inputs = built("residual_chain")
    whole = outputs(module, inputs)[0]
    gates = Gates(module, inputs)
    mask, _ = some(gates)
    gates.set(mask)
    module.train()
    torch.autograd.backward(module(*inputs).square().sum())
    group = next(g for g in gates.channels.free if g.name == "b")
    first = gates.first[gates.channels.free.index(group)]
    gone = ~mask[first : first + group.width].bool()
    weight = module.get_parameter("b.weight")
    assert gone.any()
    assert weight.grad is not None
    assert torch.all(weight.grad[gone] == 0)
    assert torch.any(weight.grad[~gone] != 0)
    gates.set(torch.ones_like(mask))
    assert torch.equal(outputs(module.eval(), inputs)[0], whole)


def test_saliences() -> None:
    """Factors of normalizations, tied ones the largest; elsewhere norms of filters."""
    module, inputs = built("depthwise")
    with torch.no_grad():
        module.get_parameter("norm.weight").copy_(torch.tensor([1.0, -3, 0.5, 0, 2, 0.1]))
    gates = Gates(module, inputs)
    found = dict(zip((g.name for g in gates.channels.free), gates.first, strict=True))
    saliences = gates.saliences()
    assert saliences[found["a"] :][:6].tolist() == pytest.approx([1.0, 3, 0.5, 0, 2, 0.1])
    filters = module.get_parameter("point.weight").detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(saliences[found["point"] :][:5], filters)


def test_modules_that_cannot_be_masked() -> None:
    with pytest.raises(UsageError, match="Linear: has no channels that can be removed"):
        Gates(nn.Linear(3, 2).eval(), (torch.randn(1, 3),))
