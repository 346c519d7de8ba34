"""Commands on files with packed weights, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irprune.backends.tflite import write_tflite
from irprune.backends.tflite.compression import packed_tensors
from irprune.frontends.tflite import read_tflite
from irprune.passes.one_shot_sparsity import plan_for_sparsity
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from tests.rewrites import random_inputs
from tests.test_cli import irprune, refused
from tests.tflm import tflm


@pytest.fixture(scope="module")
def packed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dense = read_tflite(shared / "models/pretrainedResnet_quant.tflite")
    graph = apply_sparsity(dense, plan_for_sparsity(dense, 0.8))
    path = tmp_path_factory.mktemp("packed") / "packed.tflite"
    path.write_bytes(write_tflite(graph, pack=True))
    return path


def test_what_it_costs_is_of_the_file_as_it_is(packed: Path, shared: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    dense = read_tflite(shared / "models/pretrainedResnet_quant.tflite")
    saved = sum(one.before - one.after for one in packed_tensors(data))
    weights = {v for node in dense.nodes if node.op.linear for v in node.inputs[1:]}
    size = sum(value.type.nbytes for value in weights) - saved
    planned = tmp_path / "planned.tflite"
    assert irprune("schedule", packed, "--plan", "-o", planned).returncode == 0
    head = tflm(planned.read_bytes(), random_inputs(dense)).head
    assert head > 50_000  # which is more than without unpacked weights

    short = irprune("analyze", packed, "--sram", f"{head - 1}B", "--flash", f"{size}B", "--json")
    assert short.returncode == 1
    found = json.loads(short.stdout)
    assert (found["arena_size"], found["model_size"]) == (head, size)
    assert sum(layer["model_size"] for layer in found["layers"]) == size
    assert max(layer["memory"] for layer in found["layers"]) == found["peak_sram"]
    assert [verdict["fits"] for verdict in found["verdicts"]] == [False, True]
    enough = irprune("analyze", packed, "--sram", f"{head}B", "--flash", f"{size}B")
    assert enough.returncode == 0
    refused(irprune("analyze", packed, "--as", "int8"), "has packed weights", "--as model")


def test_what_is_stored_is_beside_what_codes_take(packed: Path) -> None:
    after = {one.name: one.after for one in packed_tensors(packed.read_bytes())}
    found = json.loads(irprune("analyze", packed, "--compressed", "--json").stdout)
    tensors = found["compressed"]["tensors"]
    assert {t["name"]: t["packed"] for t in tensors if t["packed"] is not None} == after
    text = irprune("analyze", packed, "--compressed").stdout
    assert f"these take {sum(after.values()):,}" in text
    assert "is as large" not in text


def test_it_is_said_where_weights_are_unpacked(packed: Path, tmp_path: Path) -> None:
    told = "its weights are packed, those of"
    out = tmp_path / "out.tflite"
    for call in (("compile",), ("prune", "--ratio", "0.3")):
        done = irprune(*call, packed, "-o", out)
        assert done.returncode == 0, done.stderr
        assert told in done.stderr
        assert packed_tensors(out.read_bytes()) == ()
    done = irprune("compile", packed, "-o", out, "--target", "ethos-u55-128")
    assert (done.returncode, done.stderr) == (0, "")  # Vela encodes them in a way of its own
    done = irprune("compile", packed, "-o", out, "--compress", "prune")
    assert told not in done.stderr
    assert set(packed_tensors(out.read_bytes())) == set(packed_tensors(packed.read_bytes()))
