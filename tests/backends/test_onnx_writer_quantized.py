"""Quantized graphs written as ONNX: QuantizeLinear and DequantizeLinear around reals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings

import irprune
from irprune.backends.compile import CompileOptions, compile_tflite
from irprune.backends.onnx import to_onnx
from irprune.backends.reference import run, run_all
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Graph
from irprune.ir.op import OPS
from irprune.ir.types import Array, DType, Quant
from tests.rewrites import interface, random_inputs
from tests.strategies import STAIRCASES, graphs
from tests.written_onnx import run_onnx

MODELS = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8")
COARSE, FINE = Quant((0.05,), (3,)), Quant((1 / 300,), (0,))


def alone(graph: Graph) -> Iterator[tuple[Graph, list[Array]]]:
    """Each node as a graph, with what it reads in a run of the whole: no step adds to others."""
    found = run_all(graph, random_inputs(graph))
    for node in graph.nodes:
        inputs = tuple(v for v in dict.fromkeys(node.inputs) if v not in graph.constants)
        held = {v: array for v, array in graph.constants.items() if v in node.inputs}
        single = Graph(node.name, inputs, node.outputs, (node,), held)
        yield single, [np.asarray(found[value]) for value in inputs]


def steps_apart(graph: Graph, inputs: list[Array]) -> Array:
    """Steps between what onnxruntime gives and what the interpreter gives, by element."""
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    steps = [np.zeros(0)]
    for found, wanted in zip(run_onnx(model, inputs), run(graph, inputs), strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
        if found.dtype.kind == "f":
            apart /= 1e-4 * np.abs(wanted).max(initial=1.0)
        steps.append(apart.ravel())
    return np.concatenate(steps)


@pytest.mark.parametrize("name", MODELS)
def test_int8_models(name: str, shared: Path) -> None:
    """Each operator within a step, and few elements off by one: TFLite rounds twice."""
    graph = irprune.load(shared / f"models/{name}.tflite")
    apart = np.concatenate([steps_apart(single, inputs) for single, inputs in alone(graph)])
    assert apart.max() == 1
    assert np.mean(apart) < 0.01


@pytest.mark.parametrize("name", MODELS)
def test_int8_models_read_again_are_what_they_were(name: str, shared: Path) -> None:
    """Deployed, the integers between the two operators are computed bit for bit as before."""
    graph = irprune.load(shared / f"models/{name}.tflite")
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    again = irprune.deployed(irprune.load(model))
    assert interface(again) == interface(graph)
    inputs = random_inputs(graph)
    (wanted,), (found,) = run(graph, inputs), run(again, inputs)
    np.testing.assert_array_equal(found, wanted, strict=True)
    (runtime,) = run_onnx(model, inputs)
    assert (runtime.dtype, runtime.shape) == (wanted.dtype, wanted.shape)
    assert runtime.argmax() == wanted.argmax()


@settings(max_examples=80)
@given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=6))
def test_random_graphs_in_int8(graph: Graph) -> None:
    samples = [random_inputs(graph, seed) for seed in range(3)]
    assume(all(array.any() for array in run(graph, samples[0])))  # 0 gives no scale
    try:
        compiled = compile_tflite(graph, samples, CompileOptions(keep_io_layout=True))
    except UnsupportedOp:
        assume(False)
    for single, inputs in alone(compiled.model.graph):
        assert steps_apart(single, inputs).max(initial=0) <= 1, single.nodes


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.I16, DType.U16, DType.I32, DType.U32])
@pytest.mark.parametrize("axis", [None, 1])
def test_reals_through_integers(dtype: DType, axis: int | None) -> None:
    """Every width, with one scale or several, and zero points that 32 bits of reals lack."""
    low, high = dtype.limits
    zero = (0, low, high)
    scale = (0.1, 0.003, 1e-8)
    quant = Quant(scale, zero, axis) if axis is not None else Quant(scale[:1], (high // 3,))
    builder = Builder("through")
    x = builder.input("x", (4, 3, 5))
    q = builder.add(ops.Quantize(dtype, quant), x)
    graph = builder.finish([q, builder.add(ops.Dequantize(), q)])
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    values = np.random.default_rng(0).normal(0, 40, (4, 3, 5)).astype(np.float32)
    for found, wanted in zip(run_onnx(model, [values]), run(graph, [values]), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


def test_the_opset_is_that_of_the_widest_integers() -> None:
    for dtype, opset in ((DType.I8, 20), (DType.I16, 21)):
        builder = Builder("wide")
        x = builder.input("x", (1, 4), dtype, FINE)
        graph = builder.finish([builder.add(ops.Relu(), x, quant=FINE)])
        assert to_onnx(graph).opset_import[0].version == opset
        assert steps_apart(graph, random_inputs(graph)).max() <= 1


def test_half_precision() -> None:
    builder = Builder("half")
    x = builder.input("x", (2, 3), DType.F16)
    q = builder.add(ops.Quantize(DType.I8, COARSE), x)
    graph = builder.finish([builder.add(ops.Dequantize(DType.F16), q)])
    assert steps_apart(graph, random_inputs(graph)).max() == 0


def test_a_bias_without_a_scale_has_the_product_of_the_others() -> None:
    """As TFLite's integer kernels take it; weights with a scale a channel change their layout."""
    rng = np.random.default_rng(0)
    builder = Builder("biased")
    x = builder.input("x", (1, 5, 5, 3), DType.I8, COARSE)
    w = builder.constant(
        "w",
        rng.integers(-12, 13, (2, 3, 3, 3), np.int8),
        Quant((0.01, 0.02), (0, 0), 0),
    )
    b = builder.constant("b", np.asarray([3000, 1000], np.int32))
    op = ops.Conv2d(layout="NHWC", activation=ops.Relu6())
    graph = builder.finish([builder.add(op, x, w, b, quant=Quant((6 / 255,), (-128,)))])
    wanted = run(graph, random_inputs(graph))[0]
    assert len(np.unique(wanted)) > 5
    assert steps_apart(graph, random_inputs(graph)).max() <= 1


def test_a_bias_of_64_bits() -> None:
    rng = np.random.default_rng(0)
    builder = Builder("wide")
    x = builder.input("x", (2, 8), DType.I16, Quant((0.001,), (0,)))
    w = builder.constant("w", rng.integers(-127, 128, (4, 8), np.int8), Quant((0.01,), (0,)))
    b = builder.constant("b", rng.integers(-(10**6), 10**6, 4, np.int64), Quant((1e-5,), (0,)))
    graph = builder.finish([builder.add(ops.Dense(), x, w, b, quant=Quant((0.01,), (0,)))])
    assert steps_apart(graph, random_inputs(graph)).max() <= 1


def test_what_moves_integers_without_a_scale_moves_them_as_they_are() -> None:
    """Columns of weights with a scale each have no scale that their result would keep."""
    builder = Builder("moved")
    rng = np.random.default_rng(0)
    w = builder.constant("w", rng.integers(-9, 9, (2, 3), np.int8), Quant((1.0, 2.0), (0, 0), 0))
    graph = builder.finish([builder.add(ops.Reshape((3, 2)), w)])
    assert steps_apart(graph, []).max() == 0


def test_integers_that_are_given_a_scale_where_they_are_read() -> None:
    """A model whose integer input is read under two scales is written as it is meant."""
    builder = Builder("two")
    x = builder.input("x", (1, 6), DType.I8)
    ys = [
        builder.add(ops.Dequantize(), builder.add(ops.Identity(), x, quant=quant))
        for quant in (COARSE, FINE)
    ]
    graph = builder.finish([builder.add(ops.Mul(), *ys)])
    assert steps_apart(graph, random_inputs(graph)).max() <= 1


def test_reals_cannot_be_stored_in_64_bits() -> None:
    builder = Builder("model")
    x = builder.input("x", (1, 6))
    graph = builder.finish([builder.add(ops.Quantize(DType.I64, COARSE), x, name="q")])
    with pytest.raises(UnsupportedOp, match="node 'q': Quantize: reals cannot be stored as i64"):
        to_onnx(graph)


def test_the_same_graph_gives_the_same_bytes(shared: Path) -> None:
    graph = irprune.load(shared / "models/kws_ref_model.tflite")
    first, second = (to_onnx(graph).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
