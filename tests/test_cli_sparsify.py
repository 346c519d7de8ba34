"""``irprune sparsify`` and ``irprune compile --compress`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from irprune.frontends.tflite import read_tflite
from irprune.ir.plan import loads
from tests.exporting import exported, make_distinct
from tests.rewrites import random_inputs
from tests.test_cli import irprune, refused
from tests.tflm import tflm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image classifier as ONNX, with words of its own."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, padding=1, groups=16),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 4 * 4, 10),
    ).eval()
    make_distinct(layers)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    made = exported(layers, (torch.randn(1, 3, 8, 8),), path)
    made.metadata_props.add(key="author", value="somebody")
    onnx.save(made, path)
    return path


def done(*args: object) -> str:
    found = irprune(*map(str, args))
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_tflite_file_on_its_way_to_flash(shared: Path, tmp_path: Path) -> None:
    """Sparse it is as large as before; compressed 40 % smaller at the least, and bit-equal."""
    source = shared / "models/pretrainedResnet_quant.tflite"
    sparse, packed = tmp_path / "sparse.tflite", tmp_path / "packed.tflite"
    text = done("sparsify", source, "--sparsity", 0.8, "-o", sparse)
    assert "as large as without" in text
    assert "--compress prune" in text
    assert "--target ethos-u" in text
    assert sparse.stat().st_size == source.stat().st_size

    found = json.loads(done("compile", sparse, "-o", packed, "--compress", "prune", "--json"))
    assert found["file_size"] == packed.stat().st_size <= 0.6 * sparse.stat().st_size
    assert found["file_size"] <= 0.6 * found["uncompressed"]["file_size"]
    named = {value.name for value in read_tflite(source).constants}
    for tensor in found["compressed"]:
        assert tensor["name"] in named
        assert 0.799 < tensor["zeros"] / tensor["elements"] < 0.805
        present = tensor["elements"] - tensor["zeros"]
        assert tensor["after"] == -(-tensor["elements"] // 8) + 16 + present < tensor["before"]

    inputs = random_inputs(read_tflite(source))
    runs = [tflm(path.read_bytes(), inputs) for path in (sparse, packed)]
    assert runs[0].outputs[0].tobytes() == runs[1].outputs[0].tobytes()
    assert found["tflite_micro_arena"]["head"] == runs[1].head
    assert found["uncompressed"]["tflite_micro_head"] == runs[0].head
    done("verify", sparse, packed, "--tolerance", 0)
    table = done("compile", sparse, "-o", packed, "--compress", "prune", "--force")
    for words in ("without compression", "unpacked weights", "weights without zeros", "% less"):
        assert words in table
    assert "12,534,400" in done("analyze", packed)  # MACs, as of the file that is not packed
    refused(irprune("verify", sparse, packed, "--runtime", "litert"), "litert", "TFLM_DECODE")
    refused(
        irprune("sparsify", packed, "--sparsity", "0.9", "-o", tmp_path / "again.tflite"),
        "another form, compressed",
    )


def test_a_budget_of_flash_is_met(shared: Path, tmp_path: Path) -> None:
    """By as few zeros as are enough: a tenth of a per cent less would be too little."""
    source = shared / "models/pretrainedResnet_quant.tflite"
    sparse, packed = tmp_path / "sparse.tflite", tmp_path / "packed.tflite"
    text = done("sparsify", source, "--budget", "flash=50KB", "-o", sparse, "--json")
    found = json.loads(text)
    assert found["flash"]["kind"] == "exact"
    assert found["flash"]["bytes"] <= 50_000
    done("compile", sparse, "-o", packed, "--compress", "prune", "--flash", "50KB")
    assert packed.stat().st_size == found["flash"]["bytes"] > 50_000 - 200
    assert 0.5 < found["sparsity"] < 0.8
    table = done("compile", source, "-o", tmp_path / "dense.tflite", "--compress", "prune")
    assert "No weights are smaller without their zeros" in table
    short = irprune("compile", sparse, "-o", packed, "--flash", "50KB", "--force")
    assert short.returncode == 1


def test_an_onnx_model(model: Path, tmp_path: Path) -> None:
    """Weights of convolutions and the dense layer; what onnxruntime makes of the file is that."""
    out, plan_file = tmp_path / "sparse.onnx", tmp_path / "plan.json"
    text = done(
        "sparsify", model, "--sparsity", 0.75, "-o", out, "--save-plan", plan_file, "--json"
    )
    found = json.loads(text)
    after = {tensor["name"]: tensor for tensor in found["tensors"]}
    assert [t["zeros"]["after"] / t["elements"] for t in after.values()] == [0.75, 0, 0.75, 0.75]
    assert [bool(t["left"]) for t in after.values()] == [False, True, False, False]
    plan = loads(plan_file.read_text())
    made, before = onnx.load(out), onnx.load(model)
    assert [(p.key, p.value) for p in made.metadata_props] == [("author", "somebody")]
    arrays = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    for tensor in before.graph.initializer:
        wanted = numpy_helper.to_array(tensor)
        if tensor.name in plan.masks:
            wanted = np.where(plan.masks[tensor.name].stays, wanted, 0)
            tensor.CopyFrom(numpy_helper.from_array(wanted, tensor.name))
            np.testing.assert_array_equal(arrays[tensor.name], wanted)
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    outputs = []
    for file in (made, before):
        session = onnxruntime.InferenceSession(file.SerializeToString())
        outputs.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)

    again = tmp_path / "again.onnx"
    done("prune", model, "--plan", plan_file, "-o", again)
    assert again.read_bytes() == out.read_bytes()


def test_flash_of_a_float_model_is_an_estimate(model: Path, tmp_path: Path) -> None:
    call = ("sparsify", model, "--budget", "flash=12KB", "-o", tmp_path / "out.onnx")
    found = json.loads(done(*call, "--json"))
    assert found["flash"]["kind"] == "estimate"
    told = f"takes about {found['flash']['bytes']:,} bytes as int8, depending on the samples"
    assert told in " ".join(done(*call).split())


def test_all_but_one_weight_are_not_all(model: Path, tmp_path: Path) -> None:
    text = done("sparsify", model, "--sparsity", 0.9999, "-o", tmp_path / "out.onnx")
    assert "99.9 %" in text
    assert "100.0 %" not in text


def test_a_plan_of_masks_alone_changes_a_tflite_file_in_place(shared: Path, tmp_path: Path) -> None:
    source = shared / "models/ad01_int8.tflite"
    plan, sparse, again = (tmp_path / name for name in ("p.json", "s.tflite", "a.tflite"))
    done("sparsify", source, "--sparsity", 0.5, "-o", sparse, "--save-plan", plan)
    text = done("prune", source, "--plan", plan, "-o", again)
    assert again.read_bytes() == sparse.read_bytes()
    masked = sum(int((~mask.stays).sum()) for mask in loads(plan.read_text()).masks.values())
    assert f"masks make {masked:,} weights zero" in text


@pytest.mark.parametrize(
    "command", [("sparsify", "--sparsity", "0.5"), ("prune", "--ratio", "0.5")]
)
def test_no_model_without_its_plan(command: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    """Which cannot be written where nobody can make a file."""
    out, plan = tmp_path / "out.onnx", Path("/proc/plan.json")
    name, *options = command
    found = irprune(name, model, *options, "-o", out, "--save-plan", plan)
    refused(found, str(plan), "cannot be written")
    assert not out.exists()


def test_bad_requests_are_one_line(model: Path, shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    told = "sparsity -0.1 is not a share from 0 to less than 1"
    refused(irprune("sparsify", model, "--sparsity=-0.1", "-o", out), told)
    both = ("--sparsity", "0.5", "--budget", "flash=1MB")
    refused(irprune("sparsify", model, *both, "-o", out), "one of --sparsity and --budget")
    more = ("--budget", "flash=64KB macs=1M")
    refused(irprune("sparsify", model, *more, "-o", out), "sparsity saves flash alone")
    short = irprune("sparsify", model, "--budget", "flash=1KB", "-o", out)
    refused(short, "no sparsity meets the budget", " bytes at the least, not to 1,000")
    half = ("--sparsity", "0.5")
    refused(irprune("sparsify", model, *half, "-o", out, "--save-plan", out), "the same file")
    refused(irprune("sparsify", model, *half, "-o", tmp_path / "x.tflite"), ".tflite files only")
    broken = tmp_path / "broken.onnx"
    made = onnx.load(model)
    weights = next(t for t in made.graph.initializer if len(t.dims) == 2)
    array = numpy_helper.to_array(weights).copy()
    array[0, 0] = np.nan
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))
    onnx.save(made, broken)
    told = f"irprune: {broken}: '{weights.name}' is not finite"
    refused(irprune("sparsify", broken, *half, "-o", out), told)

    refused(irprune("analyze", broken, "--compressed"), told)
    broken.unlink()
    none = tmp_path / "none.onnx"
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    ports = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4]) for n in ("x", "y")
    ]
    graph = onnx.helper.make_graph([relu], "none", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph), none)
    refused(irprune("sparsify", none, *half, "-o", out), "has no weights of convolutions")
    assert list(tmp_path.iterdir()) == [none]
