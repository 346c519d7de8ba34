"""Vela run on files: what it reports, and how it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from rich.console import Console

from irprune.backends.tflite import scheduled
from irprune.backends.vela import accelerators, optimise
from irprune.backends.vela.command_stream import WEIGHTS
from irprune.budget import Budget
from irprune.frontends.tflite import TFLiteModel, read_tflite_file
from irprune.ir.errors import UsageError
from irprune.ir.types import Array, Bytes
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.entropy import Exact
from irprune.passes.analysis.memory import memory_of
from irprune.report.optimised import print_optimised
from tests.backends.vela.nets import IMAGE, SAME, Nets


def read(path: Path) -> tuple[bytes, TFLiteModel]:
    data = path.read_bytes()
    return data, read_tflite_file(data, path.stem)


def test_the_figures_are_those_of_the_command(shared: Path) -> None:
    """Vela 5.2.0's own, from ``vela --verbose-weights --verbose-cycle-estimate``."""
    report = optimise(*read(shared / "models" / "vww_96_int8.tflite"), "ethos-u55-128")
    assert report.sram / 1024 == pytest.approx(72.73, abs=0.005)
    assert report.read_only / 1024 == pytest.approx(74.22, abs=0.005)
    assert report.weights.bytes / 1024 == pytest.approx(46.34, abs=0.005)
    assert report.cycles == 220870
    assert report.on_cpu == ()
    assert len(report.layers) == 30  # 31 operators, of which the reshape is none any more
    first = report.layers[0]
    assert (first.node.name, first.weights) == ("CONV_2D#0", Exact(320))
    assert report.excess(Budget(Bytes(74480), Bytes(len(report.data)))) == ""
    assert report.excess(Budget(Bytes(70000))) == (
        "needs 74,480 bytes of SRAM on ethos-u55-128, there are 70,000"
    )


@pytest.mark.parametrize("shared_weights", [True, False])
def test_weights_that_layers_share_count_once(shared_weights: bool) -> None:
    """As the file has them: what is read only are weights and scales."""
    nets = Nets()
    nets.chained_convs(3, shared=shared_weights)
    data = nets.finish()
    report = optimise(data, read_tflite_file(data, "net"), "ethos-u55-128")
    sizes = [layer.weights.bytes for layer in report.layers]
    assert len(sizes) == 3
    assert report.weights.bytes == (sizes[0] if shared_weights else sum(sizes))
    assert 0 < report.read_only - report.weights.bytes < 0.1 * report.read_only
    out = Console(record=True, width=200)
    print_optimised(out, "net", report)
    raw = 16 * 9 * 16 * (1 if shared_weights else 3)
    assert f" {raw:,} " in out.export_text()


SCALE = 10
"""Bytes of a channel's bias and scale, which Vela stores beside the weights."""


@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-512", "ethos-u85-256"])
@pytest.mark.parametrize("shared_weights", [True, False])
def test_sharing_is_seen_beside_a_wide_layer(shared_weights: bool, name: str) -> None:
    """Whose scales would leave room for the weights of all."""
    nets = Nets()
    nets.chained_convs(3, shared=shared_weights)
    nets.wide_conv(2048, 600)
    data = nets.finish()
    report = optimise(data, read_tflite_file(data, "net"), name)
    *alike, wide = (layer.weights.bytes for layer in report.layers)
    stored = alike[:1] if shared_weights else alike
    assert report.weights.bytes == wide + sum(stored)
    assert report.read_only == report.weights.bytes + SCALE * (2048 + 16 * len(stored))


@pytest.mark.parametrize(("name", "times"), [("ethos-u55-128", 2), ("ethos-u55-32", 3)])
def test_weights_that_are_stored_for_each_schedule(name: str, times: int) -> None:
    nets = Nets()
    nets.convs_of_one_weight(128, (96, 4, 3))
    data = nets.finish()
    report = optimise(data, read_tflite_file(data, "net"), name)
    one, *others = (layer.weights.bytes for layer in report.layers)
    assert others == [one, one]
    assert report.weights.bytes == times * one
    assert report.read_only == times * (one + SCALE * 128)


def test_all_operators_on_the_accelerator_have_one_memory() -> None:
    """An operator of the CPU between them parts those that read the same weights."""
    nets = Nets()
    file, shape = nets.file, (1, 4, 4, 8)
    w = file.constant(np.ones((8, 1, 1, 8), np.int8), scale=[0.01] * 8)
    b = file.constant(np.zeros(8, np.int32), scale=[0.001] * 8)
    fields = {"strideH": 1, "strideW": 1, "padding": SAME}
    x, y, deep, flat, z = map(nets.tensor, (shape, shape, (1, 2, 2, 32), shape, shape))
    file.operator("CONV_2D", (x, w, b), (y,), "Conv2DOptions", **fields)
    file.operator("SPACE_TO_DEPTH", (y,), (deep,), "SpaceToDepthOptions", blockSize=2)
    file.operator("DEPTH_TO_SPACE", (deep,), (flat,), "DepthToSpaceOptions", blockSize=2)
    file.operator("CONV_2D", (flat, w, b), (z,), "Conv2DOptions", **fields)
    data = file.finish([x], [z])
    report = optimise(data, read_tflite_file(data, "net"), "ethos-u55-128")
    assert len(report.on_cpu) == 2
    first, second = (layer.weights.bytes for layer in report.layers)
    assert report.weights.bytes == first == second
    assert report.read_only == first + SCALE * 8


def test_vela_keeps_to_less_memory_where_it_can(shared: Path) -> None:
    data, model = read(shared / "models" / "vww_96_int8.tflite")
    assert optimise(data, model, "ethos-u55-128", sram=50000).sram <= 50000


@pytest.mark.parametrize("name", ["ethos-u65-512", "ethos-u85-2048"])
def test_other_accelerators(shared: Path, name: str) -> None:
    report = optimise(*read(shared / "models" / "kws_ref_model.tflite"), name)
    assert report.accelerator == name
    assert {"Sram", "Dram"} <= report.memories.keys()
    assert report.weights.bytes == sum(layer.weights.bytes for layer in report.layers) > 0
    assert report.data[4:8] == b"TFL3"


def test_an_unknown_accelerator(shared: Path) -> None:
    assert {"ethos-u55-32", "ethos-u65-256", "ethos-u85-2048"} <= set(accelerators())
    assert {name.rpartition("-")[0] for name in accelerators()} == WEIGHTS.keys()
    with pytest.raises(UsageError, match=r"no accelerator 'ethos-u99' .*ethos-u55-128, ethos-u55"):
        optimise(*read(shared / "models" / "ad01_int8.tflite"), "ethos-u99")


def test_vela_fails(tmp_path: Path) -> None:
    """Its message, with the name that the operator's result has in our file, too."""
    nets = Nets()
    nets.unary("HARD_SWISH", dtype=np.int16)
    data = nets.finish()
    with pytest.raises(UsageError, match=r"^net: Vela: .*HARD_SWISH 't1' Does not have valid"):
        optimise(data, read_tflite_file(data, "net"), "ethos-u55-128")


def test_plans_are_velas_own(shared: Path) -> None:
    """One of the plain file would stay as it is in the other, whose tensors it does not fit."""
    data, model = read(shared / "models" / "kws_ref_model.tflite")
    made = optimise(data, model, "ethos-u55-128").data
    tensors = schema.Model.GetRootAs(made).Subgraphs(0).TensorsLength()
    (plan,) = plans(made)
    assert plan[:3].tolist() == [0, 1, tensors]
    assert len(plan) == 3 + tensors
    memory = memory_of(model.graph, Precision.MODEL)
    planned = scheduled(data, model, memory.schedule.order, memory.arena.offsets)
    with pytest.raises(UsageError, match="has a memory plan"):
        optimise(planned, read_tflite_file(planned, "planned"), "ethos-u55-128")


def plans(data: bytes) -> list[Array]:
    """The memory plans in a file."""
    model = schema.ModelT.InitFromPackedBuf(data)
    found = [m.buffer for m in model.metadata if m.name == b"OfflineMemoryAllocation"]
    return [np.frombuffer(bytes(model.buffers[at].data), np.int32) for at in found]


def test_vela_crashes(shared: Path) -> None:
    """It does so on a file that ends too early, and takes only its own process with it."""
    nets = Nets()
    nets.op("PRELU", [IMAGE, IMAGE], [np.full((1, 1, 8), 3, np.int8)])  # slopes without a scale
    crashing = nets.finish()
    with pytest.raises(UsageError, match=r"Vela crashes \(SIG\w+\): nothing said$"):
        optimise(crashing, read_tflite_file(crashing, "net"), "ethos-u55-128")
    data, model = read(shared / "models" / "kws_ref_model.tflite")
    with pytest.raises(UsageError, match=r"Vela crashes \(SIG\w+\): Failed to load TfLite model"):
        optimise(data[:5000], model, "ethos-u55-128")


def test_vela_is_not_installed(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    for name in ("ethosu", "ethosu.vela", "ethosu.vela.architecture_features"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"ethos-u-vela is not installed .*irprune\[vela\]"):
        accelerators()
