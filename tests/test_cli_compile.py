"""``irprune compile`` and ``irprune verify`` as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from irprune.frontends.tflite import read_tflite, read_tflite_file
from tests.exporting import exported, make_distinct
from tests.test_cli import irprune, refused
from tests.tflm import tflm


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image classifier as ONNX, its images NCHW."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 4 * 5, 10),
    ).eval()
    make_distinct(layers)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    exported(layers, (torch.randn(1, 3, 8, 10),), path)
    return path


@pytest.fixture(scope="module")
def samples(model: Path) -> Path:
    path = model.with_name("samples.npy")
    np.save(path, np.random.default_rng(0).normal(size=(16, 3, 8, 10)))
    return path


def compiled(*args: object) -> str:
    done = irprune("compile", *map(str, args))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_int8_model(model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    text = compiled(model, "-o", out, "--calibration", samples, "--plan")
    assert "where quantization hurts most" in text
    found = read_tflite_file(out)
    assert [str(value.type) for value in found.graph.inputs] == ["i8[1,8,10,3]"]
    assert found.plan is not None
    done = irprune("verify", str(model), str(out), "--data", str(samples), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (output,) = report["outputs"]
    assert output["sqnr"] > 25
    assert output["agreement"] >= 0.75
    assert (report["runtimes"], report["moved"]) == (["onnxruntime", "tflm"], True)
    (arena,) = report["arenas"]
    run = tflm(out.read_bytes(), [np.zeros((1, 8, 10, 3), np.int8)])
    assert arena["taken"] == {"head": run.head, "tail": run.tail, "total": run.total}
    assert arena["predicted"]["head"] == run.head


def test_floats(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    report = json.loads(compiled(model, "-o", out, "--float", "--json"))
    assert report["file_size"] == out.stat().st_size
    assert report["layers"] == []
    for runtime in ("tflm", "litert", "reference"):
        args = ["verify", str(model), str(out), "--tolerance", "1e-4", "--runtime", runtime]
        done = irprune(*args)
        assert done.returncode == 0, done.stderr
        assert "same top-1" in done.stdout


def test_other_numbers(model: Path, samples: Path, tmp_path: Path) -> None:
    """Integers of 16 bits are the closer ones; reals at both ends, in the layout that was."""
    ratios = {}
    for numbers in ("--int8", "--int16x8"):
        out = tmp_path / f"model{numbers}.tflite"
        options = [numbers, "--io", "float", "--keep-io-layout", "--method", "mse"]
        compiled(model, "-o", out, "--calibration", samples, *options)
        assert [str(value.type) for value in read_tflite(out).inputs] == ["f32[1,3,8,10]"]
        done = irprune("verify", str(model), str(out), "--data", str(samples), "--json")
        ratios[numbers] = json.loads(done.stdout)["outputs"][0]["sqnr"]
    assert ratios["--int16x8"] > ratios["--int8"] + 3


def test_images_calibrate(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        pixels = rng.integers(0, 256, (12, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    args = ["-o", tmp_path / "model.tflite", "--calibration", tmp_path, "--mean", 0.5, "--std", 0.2]
    compiled(model, *args)


def test_sources_for_a_project(model: Path, samples: Path, tmp_path: Path) -> None:
    """The bytes are the file's, and every operator of it is registered once."""
    out = tmp_path / "model.tflite"
    compiled(model, "-o", out, "--calibration", samples, "--c-array", tmp_path / "src")
    source, header = ((tmp_path / "src" / name).read_text() for name in ("model.cc", "model.h"))
    numbers = re.findall(r"0x([0-9a-f]{2}),", source)
    assert bytes.fromhex("".join(numbers)) == out.read_bytes()
    methods = re.findall(r"resolver\.(\w+)\(\)", header)
    assert methods == ["AddConv2D", "AddFullyConnected", "AddMaxPool2D", "AddReshape"]
    assert "kModelOperatorCount = 4;" in header
    run = tflm(out.read_bytes(), [np.zeros((1, 8, 10, 3), np.int8)])
    (size,) = re.findall(r"kModelArenaSize = (\d+);", header)
    assert run.total * 0.98 <= int(size) <= run.total * 1.02


def test_bad_input_leaves_no_file(model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"

    def fails(code: int, words: str, *args: object) -> None:
        done = irprune("compile", str(model), *map(str, args))
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
        assert not out.exists()

    np.save(tmp_path / "wrong.npy", np.zeros((4, 3, 8, 8)))
    spoilt = np.load(samples)
    spoilt[2, 0, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", spoilt)
    np.save(tmp_path / "zero.npy", np.zeros((4, 3, 8, 10)))
    given = ("-o", out, "--calibration")
    fails(2, "int8 takes calibration samples", "-o", out)
    fails(2, "is 4x3x8x8; wanted are samples of 3x8x10", *given, tmp_path / "wrong.npy")
    fails(2, "sample 2 of 'input.1' is not finite", *given, tmp_path / "nan.npy")
    fails(2, "input 'input.1' is 0 on every", *given, tmp_path / "zero.npy")
    fails(2, "No such file", *given, tmp_path / "none.npy")
    (tmp_path / "src" / "model.h").mkdir(parents=True)
    fails(2, "model.h: is no file", *given, samples, "--c-array", tmp_path / "src")
    fails(2, "--float takes no --calibration", *given, samples, "--float")
    fails(2, "--mean and --std are for images", "-o", out, "--float", "--mean", 0.5)
    fails(2, "for what --calibration names", "-o", out, "--float", "--method", "mse")
    fails(2, "for what --calibration names", "-o", out, "--float", "--samples", 4)
    fails(1, "bytes of SRAM, there are 100", *given, samples, "--sram", 100)
    fails(1, "bytes of flash, there are 1,000", *given, samples, "--flash", "1KB")
    fails(2, "--float and --int8 exclude each other", "-o", out, "--float", "--int8")
    fails(2, "must end in .tflite", "-o", tmp_path / "model.bin", "--float")
    fails(2, "No such file", "-o", tmp_path / "none" / "model.tflite", "--float")
    fails(2, "--output", "--float")


def cube(tmp_path: Path) -> Path:
    """A model whose images are as deep as high and wide."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    exported(net.eval(), (torch.ones(1, 8, 8, 8),), tmp_path / "cube.onnx")
    return tmp_path / "cube.onnx"


def test_cubes_are_not_taken_for_another_layout(tmp_path: Path) -> None:
    model, data = cube(tmp_path), tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).normal(size=(8, 8, 8, 8)).astype(np.float32))
    for options, tolerance in ((["--float"], "1e-4"), (["--calibration", str(data)], "0.1")):
        out = tmp_path / "cube.tflite"
        report = json.loads(compiled(model, "-o", out, *options, "--json"))
        assert all(layer["sqnr_db"] > 25 for layer in report["layers"])
        args = ["verify", str(model), str(out), "--data", str(data), "--tolerance", tolerance]
        done = irprune(*args)
        assert done.returncode == 0, done.stdout


def test_not_a_number_is_a_difference(tmp_path: Path) -> None:
    """The logarithm of what is below 0 is NaN, in the second output."""
    x = onnx.helper.make_tensor_value_info("x", 1, [1, 4])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in "ab"]
    nodes = [onnx.helper.make_node("Abs", ["x"], ["a"]), onnx.helper.make_node("Log", ["x"], ["b"])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "nan", [x], ends),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "nan.onnx")
    path = str(tmp_path / "nan.onnx")
    done = irprune("verify", path, path, "--tolerance", "1", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["outputs"]
    assert [output["largest"] for output in found] == [0.0, None]


def test_bad_comparisons(model: Path, tmp_path: Path) -> None:
    refused(irprune("verify", model, "zoo:resnet8"), "1x3x32x32")
    refused(irprune("verify", model, tmp_path / "none.onnx"), "none.onnx", "No such file")
    refused(irprune("verify", model, model, "--data", tmp_path), "has no images")
    refused(irprune("verify", model, model, "--runtime", "abacus"), "abacus")
    done = irprune("verify", "zoo:res8", "zoo:res15", "--tolerance", "1e-9")
    assert done.returncode == 1
