"""``irprune compile --target`` and ``irprune analyze --compressed`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irprune.frontends.tflite import read_tflite_file
from irprune.report.compressed import compressed, compressed_table
from irprune.report.report import analyze
from tests.backends.vela.nets import IMAGE, SAME, Nets
from tests.test_cli import irprune, refused

U55 = ("--target", "ethos-u55-128")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A convolution, and an operator that no Ethos-U has."""
    nets = Nets()
    nets.conv(1, SAME)
    nets.op("DEPTH_TO_SPACE", [IMAGE, (1, 8, 8, 2)], (), "DepthToSpaceOptions", blockSize=2)
    path = tmp_path / "mixed.tflite"
    path.write_bytes(nets.finish())
    return path


def test_what_is_left_to_the_cpu_is_listed(mixed: Path) -> None:
    out = mixed.with_name("out.tflite")
    done = irprune("compile", mixed, "-o", out, *U55)
    assert done.returncode == 0, done.stderr
    assert read_tflite_file(out).graph.nodes
    assert out.with_name("out_vela.tflite").read_bytes()[4:8] == b"TFL3"
    text = " ".join(done.stdout.split())
    assert "left to the CPU" in text
    assert "DEPTH_TO_SPACE#1 │ t5 │ DepthToSpace" in text
    assert "The operator is one that Vela places." in text


def test_json(mixed: Path) -> None:
    out = mixed.with_name("out.tflite")
    found = json.loads(irprune("compile", mixed, "-o", out, *U55, "--json").stdout)
    made = found["optimised"]
    assert made["accelerator"] == "ethos-u55-128"
    assert made["file_size"] == out.with_name("out_vela.tflite").stat().st_size
    assert [left["name"] for left in made["on_cpu"]] == ["DEPTH_TO_SPACE#1"]
    assert [left["output"] for left in made["on_cpu"]] == ["t5"]
    assert "flash" not in made  # which is the file
    (layer,) = made["layers"]
    assert (layer["name"], layer["weights"]) == ("CONV_2D#0", 8 * 9 * 8)
    assert made["weights"] == {"bytes": layer["encoded_weights"], "kind": "exact"}


def test_bad_targets(mixed: Path, shared: Path) -> None:
    out = mixed.with_name("out.tflite")
    call = ("compile", mixed, "-o", out)
    refused(irprune(*call, "--target", "ethos-u99"), "no accelerator 'ethos-u99'", "ethos-u55-32, ")
    refused(irprune(*call, *U55, "--compress", "prune"), "exclude each other")
    refused(irprune(*call, *U55, "--plan"), "exclude each other")
    sources = irprune(*call, *U55, "--c-array", mixed.parent)
    refused(sources, "--target and --c-array exclude each other", "AddEthosU")
    model = shared / "models" / "vww_96_float.tflite"
    done = irprune("compile", model, "-o", out, "--float", *U55)
    refused(done, "nothing of it runs on ethos-u55-128: 'CONV_2D#0': Feature maps are integers")
    done = irprune(*call, *U55, "--sram", "40KB", "--flash", "1KB")
    assert done.returncode == 1
    assert "of flash on ethos-u55-128, there are 1,000; nothing is written" in done.stderr
    assert [path.name for path in mixed.parent.iterdir()] == ["mixed.tflite"]


def test_vela_is_absent(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs it is refused, and all else shown."""
    call = ("analyze", mixed, "--compressed")
    (whole,) = json.loads(irprune(*call, "--json").stdout)["compressed"]["tensors"]
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys; sys.modules['ethosu'] = None")
    monkeypatch.setenv("PYTHONPATH", str(site))
    out = tmp_path / "out.tflite"
    absent = "ethos-u-vela is not installed (pip install 'irprune[vela]')"
    refused(irprune("compile", mixed, "-o", out, *U55), absent)
    assert not out.exists()
    found = json.loads(irprune(*call, "--json").stdout)["compressed"]
    (tensor,) = found["tensors"]
    assert whole["sizes"].pop("mlw_codec")["bytes"] > 0
    assert tensor == whole
    assert found["total"] == {"elements": 576, "bytes": 576, "sizes": tensor["sizes"]}
    text = irprune(*call).stdout
    assert "Ethos-U55, U65" in text
    assert "mlw_codec" not in text


def test_a_model_without_weights() -> None:
    nets = Nets()
    nets.unary("RELU")
    report = analyze(read_tflite_file(nets.finish(), "net").graph)
    total = {"elements": 0, "bytes": 0, "sizes": {}}
    assert compressed(report) == {"tensors": [], "total": total}
    assert compressed_table(report).table.row_count == 1


def test_compressed_sizes(shared: Path) -> None:
    model = shared / "models" / "kws_ref_model.tflite"
    found = json.loads(irprune("analyze", model, "--compressed", "--json").stdout)["compressed"]
    assert len(found["tensors"]) == 10
    total = found["total"]
    assert total["bytes"] == 22016
    sizes = total["sizes"]
    kinds = {name: size["kind"] for name, size in sizes.items()}
    assert kinds == {
        "udc_eq4_printed": "upper bound of entropy",
        "mask_and_values": "upper bound of entropy",
        "entropy": "lower bound, one by one",
        "ethos_u": "estimate",
        "mlw_codec": "exact",
    }
    for name in ("udc_eq4_printed", "mask_and_values", "entropy", "ethos_u", "mlw_codec"):
        parts = [tensor["sizes"][name]["bytes"] for tensor in found["tensors"]]
        assert sizes[name]["bytes"] == pytest.approx(sum(parts))
    assert sizes["udc_eq4_printed"]["bytes"] > sizes["mask_and_values"]["bytes"]
    assert sizes["mask_and_values"]["bytes"] > sizes["entropy"]["bytes"]
    text = irprune("analyze", model, "--compressed").stdout
    told = ("weights compressed", "is as large", "Ethos-U55, U65", "not of an encoder")
    for words in (*told, "(upper bound", "of entropy)", "one by one)", "(estimate)", "(exact)"):
        assert words in text
    refused(irprune("analyze", model, "--compressed", "--csv"), "exclude each other")
    refused(irprune("analyze", model, "--compressed", "--as", "float32"), "weights of 8 bits")
