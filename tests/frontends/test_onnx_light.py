"""The nine light models of the onnx package, with weights of their own, beside onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import irprune

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def with_random_weights(path: Path, rng: np.random.Generator) -> onnx.ModelProto:
    """The model, each ConstantOfShape replaced by weights that keep the signal's scale."""
    model = onnx.load(path)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    variances = {n.input[4] for n in kept if n.op_type == "BatchNormalization"}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(shapes[node.input[0]])
            fan_in = max(1, int(np.prod(shape[1:])))
            array = rng.normal(0, np.sqrt(2 / fan_in) if len(shape) > 1 else 0.1, shape)
            array = np.abs(array) + 1 if node.output[0] in variances else array
            graph.initializer.append(
                numpy_helper.from_array(array.astype(np.float32), node.output[0])
            )
    del graph.node[:]
    graph.node.extend(kept)
    return model


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
