"""``irprune schedule`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from irprune.frontends.tflite import read_tflite_file
from irprune.passes.analysis.offline_plan import plan_size
from tests.test_cli import irprune, refused
from tests.tflite_files import small_model
from tests.tflm import tflm


@pytest.fixture
def branches(tmp_path: Path) -> Path:
    """A sum of a wide end and a thin one behind a wide beginning, the wide end first."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (32, 4, 1, 1), "w1": (64, 4, 1, 1), "w2": (32, 64, 1, 1)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w0"], ["a"], "end"),
            helper.make_node("Conv", ["x", "w1"], ["b"], "begin"),
            helper.make_node("Conv", ["b", "w2"], ["c"], "thin"),
            helper.make_node("Add", ["a", "c"], ["y"], "sum"),
        ],
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 8, 8])],
        [
            numpy_helper.from_array(rng.normal(0, 1, shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    path = tmp_path / "branches.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def run_onnx(path: Path) -> np.ndarray:
    x = np.random.default_rng(1).normal(0, 1, (1, 4, 8, 8)).astype(np.float32)
    found: np.ndarray = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    return found


def test_an_onnx_file_is_reordered(branches: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = irprune("schedule", branches, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # In channels of 64 bytes: end + begin + thin as given; x + begin + thin at best.
    assert (found["peak_sram_given_order"], found["peak_sram"]) == (128 * 64, 100 * 64)
    assert found["proven"]
    assert found["arena"]["size"] == found["arena"]["lower_bound"] == 100 * 64
    assert [step["name"] for step in found["steps"]] == ["begin", "thin", "end", "sum"]
    assert [node.name for node in onnx.load(out).graph.node] == ["begin", "thin", "end", "sum"]
    np.testing.assert_array_equal(run_onnx(out), run_onnx(branches))
    again = json.loads(irprune("analyze", out, "--json").stdout)
    assert again["peak_sram_given_order"] == again["peak_sram"] == 100 * 64
    before = json.loads(irprune("analyze", branches, "--json").stdout)
    assert (before["peak_sram_given_order"], before["peak_sram"]) == (128 * 64, 100 * 64)


def test_a_plan_goes_into_a_tflite_file(tmp_path: Path) -> None:
    source, out = tmp_path / "small.tflite", tmp_path / "planned.tflite"
    source.write_bytes(small_model())
    done = irprune("schedule", source, "-o", out, "--plan", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    model = read_tflite_file(out)
    assert model.plan is not None
    assert plan_size(model.runtime, model.plan) == found["plan_in_file"] == found["arena"]["size"]
    x = np.random.default_rng(1).integers(-128, 128, (1, 6, 6, 3)).astype(np.int8)
    before, after = tflm(source.read_bytes(), [x]), tflm(out.read_bytes(), [x])
    np.testing.assert_array_equal(after.outputs[0], before.outputs[0])
    assert after.head == found["plan_in_file"]
    # A plan that is there is reported, and checked.
    assert json.loads(irprune("schedule", out, "--json").stdout)["plan_in_file"] == after.head
    assert "plan in the file" in irprune("schedule", out).stdout
    data = bytearray(out.read_bytes())
    offsets = np.asarray((1, 1, len(model.plan), *model.plan), "<i4").tobytes()
    place = data.index(offsets)
    data[place + 12 : place + len(offsets)] = np.zeros(len(model.plan), "<i4").tobytes()
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(data)
    refused(irprune("schedule", bad), "bad.tflite", "overlap", "'flat' at 0 and 'logits' at 0")
    mended = irprune("schedule", bad, "-o", bad, "--plan", "--force")
    assert mended.returncode == 0, mended.stderr
    assert irprune("schedule", bad).returncode == 0


def test_the_timeline_marks_the_bottleneck(branches: Path) -> None:
    done = irprune("schedule", branches)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (peak,) = (line for line in lines if "│ thin" in line)
    assert "6,400" in peak
    assert "████████████" in peak
    for text in ("no order needs less", "8,192", "no arena is smaller"):
        assert text in done.stdout


@pytest.mark.parametrize(("suffix", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture_is_drawn(branches: Path, tmp_path: Path, suffix: str, head: bytes) -> None:
    first, second = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    for path in (first, second):
        done = irprune("schedule", branches, "--plot", path)
        assert done.returncode == 0, done.stderr
    assert first.read_bytes().startswith(head)
    assert first.read_bytes() == second.read_bytes()


def test_a_picture_has_every_buffer_and_the_bottleneck(branches: Path, tmp_path: Path) -> None:
    path = tmp_path / "memory.svg"
    assert irprune("schedule", branches, "--plot", path).returncode == 0
    drawn = path.read_text()
    for text in ("arena 6,400 bytes", "peak 6,400 bytes", "begin", "thin", "place in the arena"):
        assert f"<!-- {text}" in drawn


def test_bad_requests_are_one_line(branches: Path, tmp_path: Path) -> None:
    before = branches.read_bytes()
    refused(irprune("schedule", branches, "-o", branches), "overwrite", "--force")
    refused(irprune("schedule", branches, "-o", tmp_path / "x.tflite"), ".onnx")
    refused(irprune("schedule", branches, "-o", tmp_path / "x.onnx", "--plan"), "plan", ".tflite")
    refused(irprune("schedule", "zoo:res8", "-o", tmp_path / "x.onnx"), "zoo:res8", "no file")
    refused(irprune("schedule", branches, "--plot", tmp_path / "x.pdf"), ".png or .svg")
    refused(irprune("schedule", branches, "-o", tmp_path / "no" / "x.onnx"), "No such file")
    refused(irprune("schedule", tmp_path / "absent.onnx"), "absent.onnx")
    refused(irprune("schedule", branches, "--time-limit", "-1"), "--time-limit")
    assert branches.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["branches.onnx"]
    assert irprune("schedule", branches, "-o", branches, "--force").returncode == 0


def test_interrupts_are_said(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "def model():\n"
        "    print('begun', file=sys.stderr, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", "from irprune.cli import main; main()"]
    running = subprocess.Popen(
        [*command, "schedule", "slow:model"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stderr is not None
    while running.stderr.readline() != "begun\n":
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=30)
    assert (running.returncode, output, errors) == (130, "", "irprune: interrupted\n")


def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path) -> None:
    """A .TFLITE file is one: scheduled as the device runs it, and planned."""
    (tmp_path / "small.TFLITE").write_bytes(small_model())
    out = tmp_path / "planned.tflite"
    done = irprune("schedule", str(tmp_path / "small.TFLITE"), "-o", str(out), "--plan")
    assert done.returncode == 0, done.stderr
    assert read_tflite_file(out).plan is not None
