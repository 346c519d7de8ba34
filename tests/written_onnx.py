"""Graphs written as ONNX, beside the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from irprune.backends.onnx import to_onnx
from irprune.backends.reference import run
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from tests.rewrites import random_inputs


def run_onnx(model: onnx.ModelProto | Path, inputs: Sequence[Array]) -> list[Array]:
    """What onnxruntime makes of inputs in the order of the model's."""
    source = model if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(source, options)
    names = [port.name for port in session.get_inputs()]
    found: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def assert_close(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    """Equal to 1e-4 of the largest element."""
    for one, other in zip(found, wanted, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        largest = np.abs(other).max(initial=1e-6)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * largest)


def assert_written(graph: Graph) -> onnx.ModelProto:
    """The graph as a valid model, which onnxruntime runs as the interpreter runs the graph."""
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [port.name for port in model.graph.input] == [value.name for value in graph.inputs]
    assert [port.name for port in model.graph.output] == [value.name for value in graph.outputs]
    inputs = random_inputs(graph)
    assert_close(run_onnx(model, inputs), run(graph, inputs))
    return model
