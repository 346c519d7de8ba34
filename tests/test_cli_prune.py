"""``irprune groups`` and ``irprune prune`` as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import networkx as nx
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import irprune as package
from irprune import zoo
from irprune.backends.reference import run
from irprune.ir.plan import loads
from tests.exporting import exported, make_distinct
from tests.rewrites import random_inputs
from tests.test_cli import irprune, refused
from tests.tflite_files import Micro
from tests.widths import run_masked


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 as ONNX, with words of its own."""
    torch.manual_seed(0)
    module, inputs = zoo.build("mobilenet_v2", classes=2)
    make_distinct(module)
    path = tmp_path_factory.mktemp("prune") / "model.onnx"
    made = exported(module, inputs, path)
    made.metadata_props.add(key="author", value="somebody")
    made.doc_string = "a classifier"
    onnx.save(made, path)
    return path


def test_half_the_macs_and_half_the_peak(model: Path, tmp_path: Path) -> None:
    """The file computes what the model does with those channels at zero, in onnxruntime."""
    costs = package.analyze(package.load(model)).costs
    budget = f"macs={costs.macs // 2} sram={costs.peak_sram // 2}"
    out, plan_file = tmp_path / "half.onnx", tmp_path / "plan.json"
    done = irprune(
        "prune",
        str(model),
        "-o",
        str(out),
        "--budget",
        budget,
        "--save-plan",
        str(plan_file),
        "--json",
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["costs"]
    assert found["macs"]["before"] == costs.macs
    after = package.analyze(package.load(out)).costs
    assert found["macs"]["after"] == after.macs <= costs.macs // 2
    assert found["peak_sram"]["after"] == after.peak_sram <= costs.peak_sram // 2

    graph, plan = package.load(model), loads(plan_file.read_text())
    inputs = random_inputs(graph)
    session = onnxruntime.InferenceSession(out)
    (port,) = session.get_inputs()
    (y,) = session.run(None, {port.name: inputs[0]})
    (wanted,) = run_masked(graph, plan, inputs)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(initial=1.0))

    made, before = onnx.load(out), onnx.load(model)
    onnx.checker.check_model(made, full_check=True)
    assert [(p.key, p.value) for p in made.metadata_props] == [("author", "somebody")]
    assert made.doc_string == "a classifier"
    assert [port.name for port in made.graph.input] == [p.name for p in before.graph.input]
    weights = [{t.name for t in m.graph.initializer if len(t.dims) > 1} for m in (made, before)]
    assert weights[0] == weights[1]

    again = tmp_path / "again.onnx"
    assert irprune("prune", str(model), "-o", str(again), "--plan", str(plan_file)).returncode == 0
    assert again.read_bytes() == out.read_bytes()


def test_int8_models_stay_what_they_are(shared: Path, tmp_path: Path) -> None:
    model, out, plan_file = (
        shared / "models/kws_ref_model.tflite",
        tmp_path / "x.tflite",
        tmp_path / "p.json",
    )
    done = irprune(
        "prune",
        str(model),
        "-o",
        str(out),
        "--ratio",
        "0.5",
        "--round-to",
        "4",
        "--save-plan",
        str(plan_file),
    )
    assert (done.returncode, done.stderr) == (0, "")
    graph, plan = package.load(model), loads(plan_file.read_text())
    assert all(len(kept) % 4 == 0 for kept in plan.kept.values())
    (image,) = random_inputs(graph)
    (wanted,) = run_masked(graph, plan, [image])
    (found,) = Micro(out.read_bytes())(image)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(run(package.load(out), [image])[0], wanted)


def test_groups(model: Path) -> None:
    done = irprune("groups", str(model))
    assert (done.returncode, done.stderr) == (0, "")
    assert "can lose channels" in done.stdout
    assert "the model's input 'input.1' has them" in done.stdout
    (first, *rest) = json.loads(irprune("groups", str(model), "--json").stdout)["groups"]
    assert (first["name"], first["width"], first["frozen"]) == (
        "input.1",
        3,
        "the model's input 'input.1' has them",
    )
    expand = next(g for g in rest if "features.2/expand" in g["name"])
    # 16 inputs, 9 weights of the depthwise layer, 24 outputs, and eight numbers that normalize
    assert expand["parameters"] == 96 * (16 + 9 + 24 + 8)
    assert expand["channels"] == [[i] for i in range(96)]


def test_dot() -> None:
    """Every arrow is between a layer and a group, and the whole is one piece."""
    text = irprune("groups", "zoo:res8", "--dot").stdout
    arrows = re.findall(r'^  ("?[^"\n]*"?) -> ("?[^"\n]*"?);$', text, re.MULTILINE)
    picture = nx.Graph(arrows)
    assert nx.is_connected(picture)
    assert all(a.startswith('"') != b.startswith('"') for a, b in arrows)
    assert text.startswith("digraph {")
    assert text.rstrip().endswith("}")


def test_what_is_refused(model: Path, tmp_path: Path) -> None:
    out, plan = tmp_path / "out.onnx", tmp_path / "plan.json"

    def fails(words: str, *args: object) -> None:
        refused(irprune("prune", str(model), *map(str, args)), words)
        assert list(tmp_path.iterdir()) in ([], [plan])

    fails("one of --ratio, --budget and --plan", "-o", out)
    fails("one of --ratio", "-o", out, "--ratio", 0.5, "--budget", "macs=1M")
    fails("is not a share", "-o", out, "--ratio", 1.5)
    fails("macs can fall to", "-o", out, "--budget", "macs=1k")
    fails("budget has no resource 'ram'", "-o", out, "--budget", "ram=1k")
    fails("no layer or channel group 'x' to ignore", "-o", out, "--ratio", 0.5, "--ignore", "x")
    fails("has no resource", "-o", out, "--budget", "half")
    fails(".tflite files only", "-o", tmp_path / "out.tflite", "--ratio", 0.5)
    fails("must end in .onnx or .tflite", "-o", tmp_path / "out.pt", "--ratio", 0.5)
    fails("No such file", "-o", out, "--plan", tmp_path / "none.json")
    fails("would overwrite its input", "-o", model, "--ratio", 0.5)
    fails("cannot be written", "-o", tmp_path / "none/out.onnx", "--ratio", 0.5)
    fails("cannot be written", "-o", out, "--ratio", 0.5, "--save-plan", tmp_path / "none/p.json")
    fails("would overwrite its input", "-o", out, "--ratio", 0.5, "--save-plan", model)
    fails("name the same file", "-o", out, "--ratio", 0.5, "--save-plan", out)
    plan.write_text('{"kind": "irprune plan", "version": 1, "graph": "0", "kept": {}}')
    fails("a plan says what stays", "-o", out, "--plan", plan, "--ignore", "x")
    fails("is for another graph", "-o", out, "--plan", plan)
    plan.write_text("{")
    fails("plan.json: is not JSON", "-o", out, "--plan", plan)
    refused(irprune("groups", str(model), "--json", "--dot"), "exclude each other")
