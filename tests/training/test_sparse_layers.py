"""Which parameters of modules of all kinds lose weights, and how often they are stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irprune
from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import weights
from irprune.passes.analysis.entropy import bits_per_weight
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import FixedSparsity, SparsityOptions, Threshold
from irprune.training.sparsity_terms import BoundedBytes, BoundedCost, SparsityCost, SparsityTerm
from tests.sparse_nets import IMAGE, SPARSE, net


def test_tied_weights_and_cells() -> None:
    """A tied parameter is one layer; the gates of a cell lose weights, too."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.cell = nn.LSTM(6, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.cell(self.second(self.first(x).relu()))[0]
            return y

    torch.manual_seed(0)
    model, x = Tied(), torch.randn(1, 4, 6)
    learner = SparsityLearner(model, (x,), FixedSparsity(0.5))
    assert tuple(learner.sparsities) == ("first.weight", "cell.weight_ih_l0", "cell.weight_hh_l0")
    with torch.no_grad():
        masked = model(x)
        sparse = learner.finish()
        torch.testing.assert_close(sparse(x), masked)
        assert not torch.allclose(model(x), masked)
    assert sparse.second.weight is sparse.first.weight
    assert int((sparse.first.weight == 0).sum()) == 18
    assert isinstance(model.first.weight, nn.Parameter)


def test_a_parameter_that_is_read_in_two_forms_is_stored_in_both() -> None:
    """What is counted without a check is what the constants come to, with their common mask."""

    class Mirror(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(12, 12))
            self.whole = nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.whole((x @ self.weight).relu() @ self.weight.t())
            return y

    torch.manual_seed(0)
    options = SparsityOptions(leave=("whole.weight",))
    goal = [BoundedBytes(Bytes(250))]
    learner = SparsityLearner(Mirror(), (torch.randn(1, 12),), goal, options=options)
    graph = irprune.load(learner.finish(), (torch.randn(1, 12),))
    found = [graph.constants[value] for value in weights(graph)]
    assert sorted(array.size for array in found) == [60, 144, 144]
    wanted = sum(a.size * bits_per_weight(8, np.count_nonzero(a) / a.size) / 8 for a in found)
    assert learner.coded_bytes == pytest.approx(wanted, rel=1e-6)
    assert 240 < wanted <= 250


GOALS: dict[str, FixedSparsity | list[SparsityTerm]] = {
    "searched": FixedSparsity(0.5),
    "gaussian": FixedSparsity(0.5, Threshold.GAUSSIAN),
    "learned": [BoundedCost(SparsityCost.PARAMETERS, 0.5)],
    "dense": FixedSparsity(0.0),
}


@pytest.mark.parametrize("name", GOALS)
def test_weights_that_training_has_made_zero_are_gone(name: str) -> None:
    """All of a layer, with which the budget is met, and most of another."""
    model = net()
    learner = SparsityLearner(model, IMAGE, GOALS[name])
    head, body = model.get_parameter("head.weight"), model.get_parameter("body.0.weight")
    with torch.no_grad():
        head.zero_()
        body.view(-1)[: body.numel() * 3 // 4] = 0
    if name == "learned":
        torch.autograd.backward(learner.loss())
    learner.step()
    learner.freeze()
    assert learner.sparsities["head.weight"] == 1
    assert learner.sparsities["body.0.weight"] >= 0.75
    sparse = learner.finish()
    zeros = {path: float((sparse.get_parameter(path) == 0).float().mean()) for path in SPARSE}
    assert zeros == pytest.approx(learner.sparsities)


def test_layers_are_chosen() -> None:
    options = SparsityOptions(leave=("stem.*", "head.weight"), depthwise=True)
    learner = SparsityLearner(net(), IMAGE, FixedSparsity(0.5), options=options)
    assert tuple(learner.sparsities) == ("depthwise.weight", "body.0.weight", "dense.weight")
    assert learner.whole == dict.fromkeys(("stem.0.weight", "head.weight"), "left whole as asked")


def test_modules_without_weights_of_their_own() -> None:
    with pytest.raises(UsageError, match="ReLU: has no weights of convolutions or dense layers"):
        SparsityLearner(nn.ReLU(), IMAGE, FixedSparsity(0.5))
    normed = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)))
    with pytest.raises(UsageError, match="is computed from parameters, or no parameter"):
        SparsityLearner(normed, IMAGE, FixedSparsity(0.5))

    class Part(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight[:, :2]

    with pytest.raises(UsageError, match="weight: is read as weights in part alone"):
        SparsityLearner(Part(8, 8), (torch.zeros(1, 8),), FixedSparsity(0.5))
