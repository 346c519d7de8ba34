"""The nine light models of the onnx package, with weights of their own, beside onnxruntime."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import irprune
from tests.onnx_light import LIGHT, with_random_weights
from tests.processes import peak_memory


def test_all_nine_are_there() -> None:
    assert len(LIGHT) == 9


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_a_light_model(path: Path) -> None:
    rng = np.random.default_rng(0)
    model = with_random_weights(path, rng)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = [rng.normal(0, 1, port.shape).astype(np.float32) for port in session.get_inputs()]
    wanted = session.run(
        None, {port.name: x for port, x in zip(session.get_inputs(), inputs, strict=True)}
    )
    graph = irprune.load(model)
    for form in (graph, irprune.deployed(graph)):
        for found, expected in zip(irprune.run(form, inputs), wanted, strict=True):
            assert np.ptp(expected) > 0
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found / scale, expected / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_a_light_model_as_it_is(path: Path) -> None:
    report = irprune.analyze(irprune.load(path))
    assert report.costs.macs > 0
    assert report.costs.peak_sram >= report.costs.peak_sram_imprecise_in_place


@pytest.mark.parametrize(
    ("name", "stored"), [("light_densenet121", False), ("light_inception_v1", True)]
)
def test_a_model_takes_no_more_memory_than_twice_its_weights(
    tmp_path: Path, name: str, stored: bool
) -> None:
    """Over what the libraries take, whether the file has the weights or says how to make them."""
    (path,) = (path for path in LIGHT if path.stem == name)
    weights = 4 * irprune.analyze(irprune.load(path)).costs.parameters
    if stored:
        onnx.save(with_random_weights(path, np.random.default_rng(0)), tmp_path / "m.onnx")
        path = tmp_path / "m.onnx"
        assert path.stat().st_size > weights
    imports = "import sys, irprune, onnx, onnx_graphsurgeon, irprune.frontends.onnx; "
    analysis = "irprune.analyze(irprune.load(sys.argv[1]))"
    used = peak_memory(imports + analysis, str(path))
    used -= peak_memory(imports + "irprune.load; irprune.analyze")
    assert weights * stored < used < 2 * weights


def test_densenet_is_read_and_analyzed_in_time() -> None:
    (path,) = (path for path in LIGHT if path.stem == "light_densenet121")
    start = time.process_time()
    irprune.analyze(irprune.load(path))
    assert time.process_time() - start < 3
