"""The command line as a user meets it: whole processes, their output and exit codes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

MAIN = "import sys; from irprune.cli import main; sys.argv[0] = 'irprune'; main()"


def irprune(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        check=False,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A 3x3 convolution from 2 to 4 channels with a Relu, over 8x8 pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["y"], ["z"], "relu"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [4, 2, 3, 3], [0.1] * 72),
            helper.make_tensor("b", TensorProto.FLOAT, [4], [0.0] * 4),
        ],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


SHAPE = ("--shape", "x=1x2x8x8")


def test_json_has_the_promised_keys(model: Path) -> None:
    done = irprune("analyze", model, *SHAPE, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    promised = "name nodes parameters model_size macs macs_weights peak_sram peak_sram_imprecise"
    promised += " working_memory_5 working_memory_6 inputs outputs layers"
    assert set(promised.split()) <= found.keys()
    assert found["counted_as"] == "int8"
    assert found["model_size"] == 72 + 4 * 4
    assert found["macs"] == found["macs_weights"] == 72 * 64
    assert found["peak_sram"] == (2 + 4) * 64
    assert found["working_memory_5"] == 2 * 64 + 72
    assert [layer["op"] for layer in found["layers"]] == ["Conv2d"]
    assert found["inputs"] == [{"name": "x", "shape": [1, 2, 8, 8], "dtype": "f32", "bytes": 128}]


def test_several_models_give_a_list_and_a_csv_row_each(model: Path) -> None:
    done = irprune("analyze", model, model, *SHAPE, "--json")
    assert [r["macs"] for r in json.loads(done.stdout)] == [72 * 64] * 2
    rows = irprune("analyze", model, model, *SHAPE, "--csv").stdout.splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("name,counted_as,nodes,parameters")
    layers = irprune("analyze", model, *SHAPE, "--csv", "--per-layer").stdout.splitlines()
    assert len(layers) == 2
    assert layers[0].startswith("model,name,op")


@pytest.mark.parametrize(("as_", "size"), [("int8", 88), ("float32", 304), ("model", 304)])
def test_types_to_count_in(model: Path, as_: str, size: int) -> None:
    done = irprune("analyze", model, *SHAPE, "--as", as_, "--json")
    found = json.loads(done.stdout)
    assert (found["counted_as"], found["model_size"]) == (as_, size)


def test_the_table_shows_every_figure(model: Path) -> None:
    done = irprune("analyze", model, *SHAPE, "--per-layer")
    assert done.returncode == 0, done.stderr
    for text in ("counted as", "int8", "biases 4", "4,608", "384", "88", "Conv2d", "1x4x8x8"):
        assert text in done.stdout


def test_a_verdict_sets_the_exit_code(model: Path) -> None:
    fits = irprune("analyze", model, *SHAPE, "--device", "nucleo-f446re")
    assert fits.returncode == 0, fits.stderr
    assert "fits" in fits.stdout
    too_large = irprune("analyze", model, *SHAPE, "--sram", "383", "--flash", "88")
    assert too_large.returncode == 1
    assert "too much by 1" in too_large.stdout
    as_json = irprune("analyze", model, *SHAPE, "--sram", "383", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["fits"] is False


def test_devices_are_listed() -> None:
    done = irprune("devices")
    assert done.returncode == 0, done.stderr
    for text in ("nucleo-f767zi", "512 KiB", "216 MHz", "83.99 ms", "arduino-uno"):
        assert text in done.stdout
    boards = {board["name"]: board for board in json.loads(irprune("devices", "--json").stdout)}
    assert boards["rp2040"]["sram"] == 264 * 1024


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command ended with code 2 and one line that has the words, and printed nothing else."""
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in ("irprune: ", *words):
        assert word in done.stderr


def test_bad_requests_are_one_line(model: Path, tmp_path: Path) -> None:
    refused(irprune("analyze", model), "--shape", "x=", "N")
    refused(irprune("analyze", model, "--shape", "x=1xtwo"), "1xtwo")
    refused(irprune("analyze", model, *SHAPE, *SHAPE), "'x' is given twice")
    refused(irprune("analyze", model, *SHAPE, "--device", "nucleo"), "no device", "nucleo-")
    refused(irprune("analyze", model, *SHAPE, "--sram", "lots"), "lots", "64KB")
    refused(irprune("analyze", model, *SHAPE, "--json", "--csv"), "exclude")
    refused(irprune("analyze", tmp_path / "absent.onnx"), "absent.onnx", "No such file")
    refused(irprune("analyze", tmp_path), "is a directory")
    refused(irprune("analyze", "zoo:mobilenet_v9"), "mobilenet_v9")
    refused(irprune("analyze", "no.such.package:factory"), "no.such.package:factory")


def test_one_bad_model_leaves_no_partial_output(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x00garbage")
    refused(irprune("analyze", model, bad, *SHAPE, "--csv"), "bad.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"just text\n", b"PK\x03\x04" + bytes(60)], ids=["empty", "text", "zip"]
)
@pytest.mark.parametrize("suffix", ["onnx", "tflite", "h5"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(content)
    refused(irprune("analyze", path), path.name)


def test_a_wrong_option_is_told() -> None:
    refused(irprune("analyze", "--frobnicate"), "No such option: --frobnicate", "--help")
    refused(irprune("analyze"), "MODEL")
    refused(irprune("analyze", "x.onnx", "--as", "int4"), "int4")
    refused(irprune("analyse"), "analyse")


def test_help_is_given_unasked() -> None:
    done = irprune()
    assert done.returncode == 0
    assert "schedule" in done.stdout
    assert done.stdout == irprune("--help").stdout


def test_a_closed_output_is_told(model: Path) -> None:
    command = [sys.executable, "-c", MAIN, "analyze", str(model), *SHAPE]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], capture_output=True, text=True, check=False
    )
    refused(done, "standard output is closed")


def test_a_terminal_without_block_characters(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "analyze", str(model), *SHAPE, "--per-layer"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "############" in done.stdout


def test_names_do_not_control_the_terminal(model: Path) -> None:
    loaded = onnx.load(model)
    loaded.graph.node[0].name = loaded.graph.node[1].name = "\x1b[31mred"
    onnx.save(loaded, model)
    done = irprune("analyze", model, *SHAPE, "--per-layer")
    assert "[31mred" in done.stdout
    assert "\x1b" not in done.stdout
    loaded.graph.node[0].op_type = "Frobnicate"
    onnx.save(loaded, model)
    done = irprune("analyze", model, *SHAPE)
    refused(done, "[31mred")
    assert "\x1b" not in done.stderr


def test_csv_says_what_fits(model: Path) -> None:
    done = irprune("analyze", model, *SHAPE, "--csv", "--sram", "384", "--flash", "87")
    assert done.returncode == 1
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["sram_available"], row["sram_fits"]) == ("384", "true")
    assert (row["flash_available"], row["flash_fits"]) == ("87", "false")


def test_a_full_disk_is_told(model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "analyze", str(model), *SHAPE, "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["irprune: cannot write the output: No space left on device"]


def test_a_torch_factory(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "def tiny():\n"
        "    print('on the way')\n"
        "    return torch.nn.Linear(3, 5), (torch.zeros(1, 3),)\n"
        "def broken():\n"
        "    return [][3]\n"
        "def quits():\n"
        "    raise SystemExit(0)\n"
        "def bare():\n"
        "    return torch.nn.Linear(3, 5)\n"
    )
    done = irprune("analyze", "nets:tiny", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["model_size"] == 15 + 4 * 5
    assert done.stderr == "on the way\n"
    bare = irprune("analyze", "nets:bare", "--json", "--shape", "input=2x3", cwd=tmp_path)
    assert json.loads(bare.stdout)["macs"] == 30
    refused(irprune("analyze", "nets:bare", cwd=tmp_path), "nets:bare", "--shape")
    refused(irprune("analyze", "nets:broken", cwd=tmp_path), "nets:broken", "nets.py:6")
    refused(irprune("analyze", "nets:quits", cwd=tmp_path), "nets:quits", "SystemExit: 0")
    refused(irprune("analyze", "nets:absent", cwd=tmp_path), "nets:absent", "no attribute")


def test_what_help_and_analyses_of_files_import(model: Path) -> None:
    listed = (
        "import sys; from irprune.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'onnx', 'numpy', 'onnxruntime'} & sys.modules.keys(), file=sys.stderr)"
    )

    def imported(*args: str) -> set[str]:
        command = [sys.executable, "-c", listed, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = done.stderr.splitlines()[-1]
        return set() if line == "set()" else set(line.strip("{}").replace("'", "").split(", "))

    assert imported("--help") == set()
    assert imported("analyze", str(model), *SHAPE) == {"onnx", "numpy"}
