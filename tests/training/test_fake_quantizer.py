"""Quantization-aware training: the numbers that it sees are those of the compiled model."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irprune
from irprune import zoo
from irprune.backends.compile import CompileOptions, Numbers, compile_tflite
from irprune.backends.ranges import read_ranges, write_ranges
from irprune.ir.errors import UsageError
from irprune.ir.fixed_point import Multiplier
from irprune.ir.plan import fingerprint
from irprune.ir.types import DType
from irprune.training.fake_quantizer import MOMENTUM, FakeQuantizer, rounded_first
from irprune.training.gates import Gates
from tests.quantized_training import IMAGE, compiled, results, samples, trained


class Net(nn.Module):
    """A sum, layers with and without normalization, and an activation that is spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.dense = nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU())
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.stem(x))
        y = F.relu(y + self.depthwise(y)).mean((2, 3))
        z: Tensor = self.head(self.dense(y))
        return z


def net() -> Net:
    """With statistics and factors of normalization that are not those of the start."""
    torch.manual_seed(0)
    module = Net()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.2, 2.0)
            nn.init.normal_(part.bias)
    return module


@pytest.mark.parametrize("name", ["autoencoder", "ds_cnn_m", "mobilenet_v2", "resnet8"])
def test_it_computes_what_the_module_does_before_it_starts(name: str) -> None:
    module, (example,) = zoo.from_spec(name)
    own = copy.deepcopy(module).train()
    quantizer = FakeQuantizer(module, (example,), start=1).train()
    x = torch.randn(3, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quantizer(x), own(x))
    for path, buffer in own.named_buffers():
        torch.testing.assert_close(module.get_buffer(path), buffer)


def test_masks_hold_channels_at_zero_here_too() -> None:
    module = net().eval()
    quantizer = FakeQuantizer(module, IMAGE, start=1).eval()
    x = samples(4)
    with torch.no_grad():
        whole = module(x)
        gates = Gates(module, IMAGE)
        gates.set(torch.arange(len(gates.mask)).remainder(2).float())
        assert torch.equal(quantizer(x), module(x))
        assert not torch.allclose(module(x), whole)
        gates.remove()
        assert torch.equal(quantizer(x), whole)


def test_dropout_drops_in_training_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
    quantizer = FakeQuantizer(module, (torch.zeros(1, 4),), start=100)
    x = torch.ones(2, 4)
    assert (quantizer.train()(x) == 0).float().mean() > 0.2
    assert not (quantizer.eval()(x) == 0).any()


@pytest.mark.parametrize(
    ("numbers", "dtype", "share"),
    [(Numbers.INT8, DType.I8, 0.1), (Numbers.INT16X8, DType.I16, 0.01)],
)
def test_the_runtime_gives_the_numbers_that_training_saw(
    numbers: Numbers, dtype: DType, share: float
) -> None:
    quantizer = trained(FakeQuantizer(net(), IMAGE, dtype=dtype))
    x = samples(64, seed=99)
    with torch.no_grad():
        seen, real = quantizer(x).numpy(), quantizer.module.eval()(x).numpy()
    found = results(compiled(quantizer, numbers), x)
    assert np.abs(found - seen).mean() < share * np.abs(found - real).mean()


def test_layers_round_as_often_as_the_kernels_do() -> None:
    """Sums in the fixed-point arithmetic of the kernels, for factors of all magnitudes."""
    rng = np.random.default_rng(0)
    factors = np.float32(2.0) ** rng.uniform(-9, -0.1, 64).astype(np.float32)
    steps = rng.integers(-100, 100, (2000, 64)) + rng.uniform(-0.52, 0.52, (2000, 64))
    sums = np.rint(steps / factors).astype(np.int64)
    wanted = Multiplier.of(factors)(sums)
    scale = 0.0625
    made = torch.from_numpy(sums * factors.astype(np.float64) * scale).float()
    first = rounded_first(made, torch.from_numpy(factors) * scale, scale)
    found = torch.round(first / scale).numpy()
    plain = torch.round(made / scale).numpy()
    assert (found != wanted).mean() < 1e-4
    assert (plain != wanted).mean() > 0.01


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()],
        [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1, groups=2)],
        [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8, affine=False), nn.Conv2d(8, 8, 3)],
        [nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 8)],
    ],
    ids=["after ReLU", "first", "padded", "groups", "without factors", "dense"],
)
def test_normalization_before_a_layer(layers: list[nn.Module]) -> None:
    """It goes into the weights after it, whose grid is that of the product."""
    layers = copy.deepcopy(layers)
    torch.manual_seed(0)
    for part in layers:
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.affine:
            nn.init.uniform_(part.weight, 0.1, 3.0)
            nn.init.normal_(part.bias)
    module = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))
    module(samples(2))
    quantizer = trained(FakeQuantizer(module, IMAGE, dtype=DType.I16))
    x = samples(32, seed=99)
    with torch.no_grad():
        seen = quantizer(x).numpy()
    file = compiled(quantizer, Numbers.INT16X8)
    found = results(file, x)
    (end,) = file.model.graph.outputs
    assert end.type.quant is not None
    assert np.abs(found - seen).mean() < end.type.quant.scale[0]


def test_normalization_as_its_modules_are_set() -> None:
    """Frozen ones stay, those without momentum average, and all count their batches."""
    module = nn.Sequential(
        *(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None)),
        *(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 2)),
    )
    other = copy.deepcopy(module)
    quantizer = FakeQuantizer(module, IMAGE, start=9).train()
    for net in (module, other):
        net.train()
        net.get_submodule("3").eval()
    for seed in range(3):
        quantizer(samples(8, seed))
        other(samples(8, seed))
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(module.get_buffer(name), buffer)


def test_a_quantizer_goes_on_from_its_state() -> None:
    first, other = trained(FakeQuantizer(net(), IMAGE)), FakeQuantizer(net(), IMAGE)
    other.load_state_dict(first.state_dict())
    x = samples(4)
    with torch.no_grad():
        assert torch.equal(first(x), other.eval()(x))
    assert first.ranges() == other.ranges()


def test_ranges_are_moving_averages_until_they_are_frozen() -> None:
    quantizer = FakeQuantizer(net(), IMAGE).train()
    first, second = samples(8, 1), samples(8, 2)
    quantizer(first)
    quantizer(second)
    low = MOMENTUM * float(first.min()) + (1 - MOMENTUM) * float(second.min())
    assert quantizer.ranges()["x"].low == pytest.approx(low)
    quantizer.freeze()
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(samples(8, 3))
    after = quantizer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_nothing_is_rounded_before_the_start() -> None:
    quantizer = FakeQuantizer(net(), IMAGE, start=2)
    x = samples(8)
    rounded = []
    for _ in range(3):
        quantizer.train()(x)
        with torch.no_grad():
            rounded.append(not torch.allclose(quantizer.eval()(x), quantizer.module(x), 1e-4))
    assert rounded == [False, True, True]


def test_what_is_frozen_rounds() -> None:
    quantizer = FakeQuantizer(net(), IMAGE, start=5).train()
    x = samples(8)
    quantizer(x)
    assert torch.equal(quantizer.eval()(x), quantizer.module(x))
    quantizer.freeze()
    for is_training in (False, True):
        quantizer.train(is_training)
        assert not torch.allclose(quantizer(x), quantizer.module.eval()(x), 1e-4)


def test_ranges_before_any_training() -> None:
    quantizer = FakeQuantizer(net(), IMAGE)
    for needs in (quantizer.ranges, quantizer.freeze):
        with pytest.raises(UsageError, match="no ranges have been observed"):
            needs()


def test_what_only_the_lowered_model_computes_is_observed() -> None:
    """GELU becomes a formula of many operators, none of which the module has."""
    module = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
    quantizer = FakeQuantizer(module, (torch.zeros(1, 4),)).train()
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    quantizer(x)
    with pytest.raises(UsageError, match="give a batch of inputs"):
        quantizer.ranges()
    graph = irprune.load(module, (torch.zeros(1, 4),))
    assert compile_tflite(graph, ranges=quantizer.ranges((x,))).data


def test_weights_that_are_computed_from_parameters() -> None:
    module = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    with pytest.raises(UsageError, match="computed from parameters"):
        FakeQuantizer(module, (torch.zeros(1, 4),))


def test_ranges_in_a_file(tmp_path: Path) -> None:
    quantizer = trained(FakeQuantizer(net(), IMAGE), 3)
    graph, path = irprune.load(quantizer.module, IMAGE), tmp_path / "ranges.json"
    write_ranges(quantizer.ranges(), graph, path)
    ranges = read_ranges(path, graph)
    assert ranges == quantizer.ranges()
    with pytest.raises(UsageError, match="has the ranges of another model"):
        read_ranges(path, irprune.load("zoo:autoencoder"))
    kept = compile_tflite(graph, options=CompileOptions(keep_io_layout=True), ranges=ranges)
    assert kept.model.graph.inputs[0].type.shape == (1, 3, 8, 8)
    with pytest.raises(UsageError, match="there are no ranges of 1 of its activations"):
        compile_tflite(graph, ranges={n: r for n, r in ranges.items() if n != "head"})


def ranges_of(pair: str) -> str:
    graph = fingerprint(irprune.load(net(), IMAGE))
    return f'{{"kind": "irprune ranges", "graph": "{graph}", "ranges": {{"x": {pair}}}}}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not JSON"),
        ("{}", "has no ranges"),
        (ranges_of("[1, 0]"), "'x' is no pair of numbers"),
        (ranges_of("[0, Infinity]"), "'x' is no pair"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_ranges(path, irprune.load(net(), IMAGE))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_ranges(tmp_path / "ranges.json", irprune.load(net(), IMAGE))
