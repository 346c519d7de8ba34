from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from irprune.frontends.torch_export import exporting, program, read_torch
from irprune.ir.errors import UnsupportedOp
from irprune.ir.ops import Conv2d, Relu
from tests.torch_models import Function, assert_computes, eager

IMAGE = torch.randn((1, 4, 6, 6), generator=torch.Generator().manual_seed(0))


def chain(x: Tensor) -> Tensor:
    y = x + 1
    y.mul_(2)
    y.relu_()
    return y + x


def read_under_both_names(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x + 1
    z = y.mul_(2)
    y.sub_(3)
    return y, z


def input_changed(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True) + x


def view_made_before(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x + 1
    view = y.flatten(1)
    y.mul_(2)
    return view, y


def view_changed(x: Tensor) -> Tensor:
    y = x + 1
    y.view(-1).relu_()
    return y


def slice_assigned(x: Tensor) -> Tensor:
    y = x + 1
    y[:, 0] = 0.0
    y[:, 2:, 1] += x[:, 2:, 0]
    return y


def part_changed(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x + 1
    a, b = y.chunk(2, 1)
    a.add_(b)
    return y, a


def part_made_before(x: Tensor) -> tuple[Tensor, ...]:
    y = x + 1
    a, b = y.chunk(2, 1)
    y.mul_(2)
    return a, b


def undeclared_view_changed(x: Tensor) -> Tensor:
    y = x + 1
    torch.einsum("abcd->dcba", y).mul_(2)
    return y


def allocated(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y[:, :2] = x[:, 2:]
    y[:, 2:] = x[:, :2]
    return y


def constant_filled(x: Tensor) -> Tensor:
    table = torch.zeros(6, 6)
    table[:, 0::2] = torch.sin(torch.arange(6.0))[:, None]
    return x + table


def constant_turned(x: Tensor) -> Tensor:
    y = x.transpose(2, 3) + 1
    y.fill_(3)
    return y.transpose(2, 3).view(-1)


def after_dropout(x: Tensor) -> Tensor:
    return F.dropout(x + 1, 0.5, False).relu_() * 2


FUNCTIONS: list[Callable[[Tensor], object]] = [
    chain,
    read_under_both_names,
    input_changed,
    view_made_before,
    view_changed,
    slice_assigned,
    part_changed,
    part_made_before,
    undeclared_view_changed,
    allocated,
    constant_filled,
    constant_turned,
    after_dropout,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_changes_in_place_is_read_changed(function: Callable[[Tensor], object]) -> None:
    module = Function(function)
    wanted = eager(module, (IMAGE,))
    exported = exporting.export(module, (IMAGE.clone(),))
    decomposed = exporting.decompose(exported, (), function.__name__)
    assert_computes(read_torch(exported), (IMAGE,), wanted)
    if function not in (undeclared_view_changed, after_dropout):
        assert_computes(read_torch(decomposed), (IMAGE,), wanted)


VIEWS: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.reshape(-1),
    lambda x: x.unsqueeze(0),
    lambda x: x.transpose(0, -1),
    lambda x: x[..., 1:],
    lambda x: x.chunk(2, -1)[0],
    lambda x: x.select(-1, 0),
    lambda x: x.unbind(-1)[-1],
    lambda x: x.contiguous(),
    lambda x: x.to(torch.float32),
    lambda x: torch.einsum("...->...", x),
    lambda x: F.dropout(x, 0.5, False),
]
COPIES: list[Callable[[Tensor], Tensor]] = [F.relu, torch.abs, lambda x: x * 2, Tensor.clone]
CHANGES: list[Callable[[Tensor], Tensor]] = [
    lambda x: x.mul_(2),
    lambda x: x.add_(x),
    lambda x: x.copy_(torch.ones(1)),
    lambda x: F.relu(x, inplace=True),
    lambda x: F.hardtanh(x, -0.5, 0.5, inplace=True),
    Tensor.zero_,
    Tensor.neg_,
]
STEPS = st.lists(
    st.tuples(st.sampled_from([*VIEWS, *COPIES, *CHANGES, *CHANGES]), st.floats(0, 0.99)),
    min_size=3,
    max_size=9,
)


# Shrinking would export some hundred modules more.
@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(STEPS)
def test_views_and_changes_in_any_order(
    steps: list[tuple[Callable[[Tensor], Tensor], float]],
) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        made = [x + 0.5]
        for step, place in steps:
            operand = made[int(place * len(made))]
            if operand.ndim and operand.shape[-1]:
                made.append(step(operand))
        return tuple(made)

    x = IMAGE[0, 0, :2]
    module = Function(function)
    wanted = eager(module, (x,))
    try:
        graph = read_torch(module, (x.clone(),))
    except UnsupportedOp as error:
        assert "changes what aten.dropout.default may share" in error.what  # noqa: PT017 (refusing is not required)
    else:
        assert_computes(graph, (x,), wanted)


def test_an_in_place_activation_needs_no_help_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def decompose(*args: object) -> None:
        raise AssertionError("functionalizing takes longer than exporting")

    monkeypatch.setattr(program, "decompose", decompose)
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True), nn.Dropout(inplace=True))
    graph = read_torch(module, (IMAGE,))
    assert [type(node.op) for node in graph.nodes] == [Conv2d, Relu]


def test_memory_shared_through_a_dropout_is_refused() -> None:
    # torch.export takes what dropout returns at inference for a copy, and would lose the change.
    def shared(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x + 1
        z = F.dropout(y, 0.5, False)
        z.relu_()
        return y, z

    with pytest.raises(UnsupportedOp, match=r"aten\.relu_\.default changes what aten\.dropout"):
        read_torch(Function(shared), (IMAGE,))


def test_an_expanded_tensor_that_is_written_to_is_refused() -> None:
    # torch's functionalization adds up what is written to one element.
    def function(x: Tensor) -> Tensor:
        y = x + 1
        y.expand(2, 4, 6, 6).fill_(3)
        return y

    with pytest.raises(UnsupportedOp, match=r"fill_\.Scalar changes an element in many places"):
        read_torch(Function(function), (IMAGE,))


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        calls = self.get_buffer("calls")
        calls.add_(1)
        return x + calls


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_model_that_changes_itself_is_refused(decomposed: bool) -> None:
    module = nn.Sequential(Counter())
    exported = exporting.export(module, (IMAGE,))
    if decomposed:
        exported = exporting.decompose(exported, (), "")
    with pytest.raises(UnsupportedOp, match=r"^Sequential: node '0\.calls': is changed each time"):
        read_torch(exported)
    assert module[0].get_buffer("calls").item() == 0
