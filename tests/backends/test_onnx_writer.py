"""Graphs written as ONNX: checked by onnx, run by onnxruntime, and read again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings

from irprune.backends.onnx import to_onnx
from irprune.backends.onnx.table import TABLE
from irprune.backends.reference import run
from irprune.ir.graph import Graph
from irprune.ir.op import OPS
from irprune.ir.types import Array
from tests.rewrites import random_inputs
from tests.strategies import STAIRCASES, graphs


def run_onnx(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [port.name for port in session.get_inputs()]
    found: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return found


def assert_close(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        atol = 1e-4 * np.abs(other).max(initial=1e-6)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol)


def assert_written(graph: Graph) -> onnx.ModelProto:
    """The graph as a valid model, which onnxruntime runs as the interpreter runs the graph."""
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [port.name for port in model.graph.input] == [value.name for value in graph.inputs]
    assert [port.name for port in model.graph.output] == [value.name for value in graph.outputs]
    inputs = random_inputs(graph)
    assert_close(run_onnx(model, inputs), run(graph, inputs))
    return model


def test_every_operator_has_a_row() -> None:
    assert {kind.__name__ for kind in TABLE} == set(OPS)


@pytest.mark.parametrize("kind", sorted(frozenset(OPS) - STAIRCASES))
def test_graphs_of_one_operator(kind: str) -> None:
    @settings(max_examples=40)
    @given(graphs(kinds=[kind], max_nodes=3))
    def holds(graph: Graph) -> None:
        assert_written(graph)

    holds()


@settings(max_examples=300)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    assert_written(graph)
