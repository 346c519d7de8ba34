from __future__ import annotations

import io
import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from irprune.backends.reference import run
from irprune.frontends.torch_export import exporting, read_torch
from irprune.ir.graph import Graph, Source
from irprune.ir.ops import GRU, Add, BatchNorm, Conv2d, Dense, Relu, Reshape
from irprune.ir.types import DType, TensorType
from tests.torch_models import Function, assert_computes, eager, randomize


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.drop(self.norm(self.conv(x))) + x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(Block(3), Block(3))
        self.head = nn.Linear(3, 2)
        self.register_buffer("offset", torch.ones(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits + self.get_buffer("offset")


IMAGE = torch.randn((1, 3, 6, 6), generator=torch.Generator().manual_seed(0))


def net() -> Net:
    torch.manual_seed(0)
    return Net().requires_grad_()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return read_torch(net(), (IMAGE,))


def test_nodes_and_constants_bear_the_paths_of_modules(graph: Graph) -> None:
    assert graph.name == "Net"
    assert [value.name for value in graph.inputs] == ["x"]
    assert [(type(node.op), node.name, node.source) for node in graph.nodes[:4]] == [
        (Conv2d, "features.0.conv", Source("Net", "features.0.conv")),
        (BatchNorm, "features.0.norm", Source("Net", "features.0.norm")),
        (Add, "features.0.add", Source("Net", "features.0")),
        (Relu, "features.0.relu", Source("Net", "features.0")),
    ]
    (head,) = [node for node in graph.nodes if isinstance(node.op, Dense)]
    assert head.source == Source("Net", "head")
    assert [value.name for value in head.inputs[1:]] == ["head.weight", "head.bias"]
    norm = graph.nodes[1]
    assert [value.name for value in norm.inputs[1:]] == [
        f"features.0.norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    ]
    assert {"offset", "features.1.conv.weight"} <= {value.name for value in graph.constants}


def saved_and_loaded(exported: ExportedProgram) -> ExportedProgram:
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    return torch.export.load(file)


@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning")
@pytest.mark.parametrize("form", ["training", "core", "strict", "loaded"])
def test_a_program_keeps_the_paths_of_its_modules(graph: Graph, form: str) -> None:
    exported = exporting.export(net(), (IMAGE,))
    match form:
        case "core":
            exported = exporting.decompose(exported, (), "Net")
        case "strict":
            exported = torch.export.export(net().eval(), (IMAGE,), strict=True)
        case "loaded":
            exported = saved_and_loaded(exported)
    read = read_torch(exported)
    assert_computes(read, (IMAGE,), eager(net(), (IMAGE,)))
    assert read.name == "Net"
    assert {node.source for node in read.nodes} == {node.source for node in graph.nodes}
    assert {value.name for value in read.constants} == {value.name for value in graph.constants}


def test_constants_are_views_of_the_parameters_and_read_only() -> None:
    module = net()
    read = read_torch(module, (IMAGE,))
    arrays = {value.name: array for value, array in read.constants.items()}
    for name, parameter in module.named_parameters():
        assert np.shares_memory(arrays[name], parameter.detach().numpy()), name
        assert not arrays[name].flags.writeable
    with torch.no_grad():
        module.head.weight.zero_()
    assert not arrays["head.weight"].any()


class Turned(nn.Module):
    """A dense layer over what does not lie in order, which torch decomposes into a stack."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)


def test_decomposed_weights_are_the_parameters_too() -> None:
    module = nn.Sequential(nn.Linear(4, 3), Turned(), nn.Linear(3, 2))
    exported = exporting.decompose(exporting.export(module, (torch.ones(2, 5, 4),)), (), "")
    assert "aten.bmm.default" in {str(node.target) for node in exported.graph.nodes}
    arrays = {value.name: array for value, array in read_torch(exported).constants.items()}
    for name, parameter in module.named_parameters():
        assert arrays[name].shape == parameter.shape
        assert np.shares_memory(arrays[name], parameter.detach().numpy())


def test_a_module_is_read_as_at_inference_and_left_as_it_was() -> None:
    module = randomize(net())
    module.train()
    module.features[1].eval()
    module.head.weight.grad = torch.ones_like(module.head.weight)
    modes = {name: m.training for name, m in module.named_modules()}
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    attributes = {name: set(vars(m)) for name, m in module.named_modules()}
    parameters = dict(module.named_parameters())
    seeds = (torch.get_rng_state(), random.getstate())

    read = read_torch(module, (IMAGE,))

    assert {name: m.training for name, m in module.named_modules()} == modes
    assert {name: set(vars(m)) for name, m in module.named_modules()} == attributes
    assert all(parameters[name] is p for name, p in module.named_parameters())
    assert all(p.requires_grad for p in parameters.values())
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(module.head.weight.grad, torch.ones_like(module.head.weight))
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert random.getstate() == seeds[1]
    assert_computes(read, (IMAGE,), eager(module, (IMAGE,)))


def test_a_recurrent_module_is_left_as_it_was_too() -> None:
    module = nn.LSTM(4, 3)
    flat = list(module._flat_weights)
    read_torch(module, (torch.ones(2, 1, 4),))
    assert all(a is b for a, b in zip(module._flat_weights, flat, strict=True))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 4, bias=False)
        self.decoder = nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight
        self.gru = nn.GRU(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, last = self.gru(self.decoder(self.encoder(x)))
        again: Tensor = self.gru(y, last)[0]
        return again


@pytest.mark.parametrize("form", ["training", "core"])
def test_tied_weights_are_one_constant(form: str) -> None:
    module, x = randomize(Tied()), torch.ones(1, 1, 4)
    exported = exporting.export(module, (x,))
    if form == "core":
        exported = exporting.decompose(exported, (), "Tied")
    read = read_torch(exported)
    assert_computes(read, (x,), eager(module, (x,)))
    names = [value.name for value in read.constants]
    assert names.count("encoder.weight") == 1
    assert "decoder.weight" not in names
    layers = {"encoder", "decoder"}
    first, second = (
        node for node in read.nodes if isinstance(node.op, Dense) and node.source.name in layers
    )
    assert first.inputs[1] is second.inputs[1]
    if form == "training":
        cells = [node for node in read.nodes if isinstance(node.op, GRU)]
        assert [v.name for v in cells[0].inputs[1:4]] == [
            "gru.weight_ih_l0",
            "gru.weight_hh_l0",
            "gru.bias_ih_l0",
        ]
        assert cells[0].inputs[1:4] == cells[1].inputs[1:4]


def test_a_part_of_a_parameter_bears_its_name() -> None:
    module = nn.MultiheadAttention(4, 2, batch_first=True)
    inputs = tuple(torch.ones(1, 3, 4) for _ in range(3))
    names = {value.name for value in read_torch(module, inputs).constants}
    parts = {name for name in names if name.startswith("in_proj_weight")}
    assert len(parts) == 3


def test_a_module_that_is_called_twice_is_two_nodes_of_one_weight() -> None:
    block = Block(3)
    read = read_torch(nn.Sequential(block, block), (IMAGE,))
    convolutions = [node for node in read.nodes if isinstance(node.op, Conv2d)]
    assert len({node.name for node in convolutions}) == 2
    assert convolutions[0].inputs[1] is convolutions[1].inputs[1]


def test_several_inputs_and_outputs_come_flat_in_torchs_order() -> None:
    class Nested(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor], more: dict[str, Tensor], n: int) -> object:
            a, b = pair
            return {"sum": a + b, "rest": [more["c"] * n, None, a]}, n, b

    a, b, c = torch.ones(2), torch.full((2,), 2.0), torch.full((3,), 3.0)
    read = read_torch(Nested(), ((a, b), {"c": c}, 3))
    assert [value.type.shape for value in read.inputs] == [(2,), (2,), (3,)]
    assert_computes(read, (a, b, c), [a + b, c * 3, a, b])


def test_a_constant_can_be_an_output() -> None:
    read = read_torch(Function(lambda x: (x + 1, torch.arange(3.0))), (torch.ones(2),))
    assert_computes(read, (torch.ones(2),), [torch.full((2,), 2.0), torch.arange(3.0)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_half_and_double_precision(dtype: torch.dtype) -> None:
    module = net().to(dtype).eval()
    read = read_torch(module, (IMAGE.to(dtype),))
    assert {value.type.dtype.numpy for value in read.constants} == {IMAGE.to(dtype).numpy().dtype}
    assert read.outputs[0].type == TensorType((1, 2), DType.of(IMAGE.to(dtype).numpy().dtype))
    wanted = [y.to(dtype) for y in eager(net(), (IMAGE,))]
    assert_computes(read, (IMAGE.to(dtype),), wanted, 1e-2, 1e-2)


def test_axes_of_size_1_move_for_free() -> None:
    read = read_torch(
        Function(lambda x: x.transpose(0, 1).permute(1, 2, 0)), (torch.ones(1, 4, 5),)
    )
    assert read.nodes[0].op == Reshape((4, 1, 5))


def test_gradients_may_be_off_in_part_of_a_model() -> None:
    def function(x: Tensor) -> Tensor:
        with torch.no_grad():
            y = x * 2
        with torch.enable_grad():
            return (y + 1).detach()

    assert_computes(read_torch(Function(function), (IMAGE,)), (IMAGE,), [IMAGE * 2 + 1])


def test_a_warning_of_the_model_itself_comes_through() -> None:
    def function(x: Tensor) -> Tensor:
        warnings.warn("the model says so", UserWarning, stacklevel=1)
        return x + 1

    with pytest.warns(UserWarning, match="the model says so"):
        read_torch(Function(function), (IMAGE,))


@pytest.mark.parametrize(
    "cell",
    [nn.GRU(8, 8, batch_first=True), nn.LSTM(8, 4, batch_first=True, bidirectional=True)],
    ids=["gru", "lstm"],
)
def test_cells_that_give_as_much_as_they_take(cell: nn.Module) -> None:
    """Operand and result have one shape, and lie along other axes inside."""
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = cell.eval()(x)[0]
    found = run(read_torch(cell, (x,)), [x.numpy()])[0]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
