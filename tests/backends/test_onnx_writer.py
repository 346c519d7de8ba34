"""Graphs written as ONNX: checked by onnx, run by onnxruntime, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from onnx import helper

import irprune
from irprune import zoo
from irprune.backends.onnx import to_onnx, write_onnx
from irprune.backends.onnx.table import TABLE
from irprune.backends.reference import run
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, UnsupportedOp, UsageError
from irprune.ir.graph import Graph
from irprune.ir.op import OPS, Op
from irprune.ir.types import DType, Shape
from tests.exporting import exported, make_distinct
from tests.onnx_light import QUICK, with_random_weights
from tests.rewrites import interface, random_inputs
from tests.strategies import STAIRCASES, graphs
from tests.written_onnx import assert_close, assert_written, run_onnx


def one(op: Op, *shapes: Shape, dtype: DType = DType.F32) -> Graph:
    """A graph of one node on inputs of these shapes."""
    builder = Builder("one")
    inputs = [builder.input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]
    return builder.finish(builder.add_node(op, inputs, names=["y"], name="node"))


def operators(graph: Graph) -> list[str]:
    """The kinds of the nodes that a graph becomes."""
    return [node.op_type for node in to_onnx(graph).graph.node]


def assert_costs_the_same(one: Graph, other: Graph) -> None:
    costs = [irprune.analyze(graph).costs for graph in (one, other)]
    totals = [(c.macs, c.parameters, c.model_size, c.peak_sram) for c in costs]
    assert totals[0] == totals[1]


def test_every_operator_has_a_row() -> None:
    assert {kind.__name__ for kind in TABLE} == set(OPS)


@pytest.mark.parametrize("kind", sorted(frozenset(OPS) - STAIRCASES))
def test_graphs_of_one_operator(kind: str) -> None:
    @settings(max_examples=40)
    @given(graphs(kinds=[kind], max_nodes=3))
    def holds(graph: Graph) -> None:
        assert_written(graph)

    holds()


@settings(max_examples=200)
@given(graphs())
def test_random_graphs(graph: Graph) -> None:
    model = assert_written(graph)
    again = irprune.load(model)
    assert interface(again) == interface(graph)
    inputs = random_inputs(graph)
    assert_close(run(again, inputs), run(graph, inputs))
    assert to_onnx(graph).SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, examples = zoo.build(name)
    make_distinct(module)
    source = exported(module, examples, tmp_path / "model.onnx")
    graph = irprune.load(source)
    inputs = [example.numpy() for example in examples]
    model = to_onnx(graph, like=source)
    onnx.checker.check_model(model, full_check=True)
    assert_close(run_onnx(model, inputs), run_onnx(source, inputs))
    again = irprune.load(model)
    assert interface(again) == interface(graph)
    assert_costs_the_same(again, graph)


@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.stem)
def test_the_light_models(path: Path, tmp_path: Path) -> None:
    """Whatever the graph says under a name, the file says under that name."""
    rng = np.random.default_rng(0)
    graph = irprune.load(with_random_weights(path, rng))
    written = tmp_path / "model.onnx"
    write_onnx(graph, written, like=path)
    onnx.checker.check_model(written, full_check=True)
    inputs = [rng.normal(0, 1, v.type.shape).astype(np.float32) for v in graph.inputs]
    assert_close(run_onnx(written, inputs), run(graph, inputs))
    again = irprune.load(written)
    assert interface(again) == interface(graph)
    assert [n.name for n in again.nodes] == [n.name for n in graph.nodes]
    assert_costs_the_same(again, graph)
    written.unlink()


def test_what_a_file_says_is_in_graph_names() -> None:
    """Inputs, outputs, values, nodes and constants are called what the graph calls them."""
    builder = Builder("named")
    x = builder.input("image", (1, 3, 4, 4))
    w = builder.constant("kernel", np.ones((2, 3, 3, 3), np.float32))
    y = builder.add_node(ops.Conv2d(activation=ops.Relu6()), [x, w], names=["map"], name="conv")
    (z,) = builder.add_node(ops.Silu(), y, names=["out"], name="swish")
    graph = to_onnx(builder.finish([z])).graph
    assert graph.name == "named"
    assert [port.name for port in (*graph.input, *graph.output)] == ["image", "out"]
    assert graph.initializer[0].name == "kernel"
    made = {node.name: (node.op_type, *node.output) for node in graph.node}
    assert made["conv"] == ("Clip", "map")
    assert made["swish"] == ("Mul", "out")
    assert len(made) == len(graph.node) == 4


def test_weights_that_change_their_layout_keep_their_name() -> None:
    """Only a second form of one constant is called otherwise."""
    builder = Builder("shared")
    x = builder.input("x", (2, 4, 4, 3))
    w = builder.constant("w", np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3))
    y = builder.add(ops.Conv2d(padding=((1, 1), (1, 1)), layout="NHWC"), x, w)
    graph = builder.finish([y, builder.add(ops.Abs(), w)])
    model = assert_written(graph)
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "w.1"]


@pytest.mark.parametrize("names", ["xy", "cy", "yy", "xxcc"])
def test_inputs_and_constants_may_be_outputs_and_be_so_twice(names: str) -> None:
    builder = Builder("through")
    x = builder.input("x", (2, 3))
    c = builder.constant("c", np.arange(3, dtype=np.float32))
    values = {"x": x, "c": c, "y": builder.add(ops.Add(), x, c)}
    assert_written(builder.finish([values[name] for name in names]))


@pytest.mark.parametrize(
    ("op", "shapes", "kinds"),
    [
        (ops.Dense(), [(2, 3), (4, 3)], ["Gemm"]),
        (ops.Dense(), [(2, 5, 3), (4, 3), (4,)], ["Transpose", "MatMul", "Add"]),
        (ops.Flatten(), [(2, 3, 4)], ["Flatten"]),
        (ops.Flatten(0, 1), [(2, 3, 4)], ["Reshape"]),
        (ops.Add(), [(2, 3), (3,), (1,)], ["Sum"]),
        (ops.LRN(3), [(1, 4, 5, 5)], ["LRN"]),
        (ops.ReduceSum(()), [(2, 3)], ["Identity"]),
        (ops.Squeeze(()), [(1, 3)], ["Identity"]),
        (ops.Resize((2, 3), (6, 8), (2.0, 2.0)), [(1, 2, 3, 4)], ["Resize"]),
        (ops.Resize((2,), (4,), (1.5,)), [(1, 2, 3, 3)], ["Resize"]),
        (ops.Resize((2,), (3,), (1.25,)), [(1, 2, 3, 3)], ["Gather"]),
        (ops.Resize((2,), (4,), (1.2,)), [(1, 2, 3, 3)], ["Gather"]),
        (
            ops.AveragePool2d((3, 3), (2, 2), ceil=True, count_padding=True),
            [(1, 2, 6, 6)],
            ["AveragePool"],
        ),
        (
            ops.MaxPool2d((1, 1), padding=((1, 1), (1, 1)), activation=ops.Clip(low=-9.0)),
            [(1, 2, 3, 3)],
            ["Concat", "Concat", "MaxPool", "Clip"],
        ),
    ],
    ids=str,
)
def test_an_operator_becomes(op: Op, shapes: list[Shape], kinds: list[str]) -> None:
    """ONNX's own operator where there is one; what it cannot say is spelled out."""
    graph = one(op, *shapes)
    assert operators(graph) == kinds
    assert_written(graph)


@pytest.mark.parametrize("dtype", [DType.I32, DType.F64])
@pytest.mark.parametrize(
    ("op", "count"),
    [
        (ops.Add(), 3),
        (ops.Mul(), 2),
        (ops.Relu(), 1),
        (ops.Clip(-2.0, 3.5), 1),
        (ops.Relu6(), 1),
        (ops.ReduceMax((1,)), 1),
        (ops.Pad(((1, 0), (0, 2)), value=3.0), 1),
        (ops.Slice((0, 1), (2, 0), (3, 2), (-1, 1)), 1),
        (ops.Slice((1,), (2,), (0,), (1,)), 1),
        (ops.Reshape((0, 3, 2)), 0),
        (ops.MatMul(transpose_b=True), 2),
    ],
    ids=str,
)
def test_other_element_types(op: Op, count: int, dtype: DType) -> None:
    shapes: list[Shape] = [(3, 3)] * count or [(3, 0, 2)]
    builder = Builder("typed")
    rng = np.random.default_rng(0)
    inputs = [builder.input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]
    graph = builder.finish([builder.add(op, *inputs)])
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    arrays = [rng.integers(-9, 9, shape).astype(dtype.numpy) for shape in shapes]
    for found, wanted in zip(run_onnx(model, arrays), run(graph, arrays), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


def test_all_that_onnx_cannot_say_is_named_at_once() -> None:
    builder = Builder("model.x")
    x = builder.input("x", (1, 4), DType.U16)
    y = builder.add(ops.Abs(), builder.add(ops.Relu(), x, name="first"), name="fine")
    graph = builder.finish([builder.add(ops.Neg(), y, name="third")])
    message = (
        "model.x: node 'first': Relu: ONNX's Relu takes no uint16;"
        " node 'third': Neg: ONNX's Neg takes no uint16"
    )
    with pytest.raises(UnsupportedOp) as error:
        to_onnx(graph)
    assert str(error.value) == message


def test_what_a_model_says_of_itself_is_kept(tmp_path: Path) -> None:
    graph = one(ops.Relu(), (1, 4))
    like = to_onnx(graph)
    like.domain, like.model_version, like.doc_string = "org.example", 7, "a model"
    like.producer_name = "somebody"
    helper.set_model_props(like, {"license": "MIT"})
    like.graph.name, like.graph.doc_string = "net", "a graph"
    like.graph.input[0].doc_string, like.graph.output[0].doc_string = "pixels", "scores"
    onnx.save(like, tmp_path / "like.onnx")
    path = tmp_path / "model.onnx"
    for source in (like, tmp_path / "like.onnx"):
        write_onnx(graph, path, like=source)
        model = onnx.load(path)
        assert (model.domain, model.model_version) == ("org.example", 7)
        assert model.doc_string == "a model"
        assert {entry.key: entry.value for entry in model.metadata_props} == {"license": "MIT"}
        assert (model.graph.name, model.graph.doc_string) == ("net", "a graph")
        assert model.graph.input[0].doc_string == "pixels"
        assert model.graph.output[0].doc_string == "scores"
        assert model.producer_name == "irprune"
        assert model.producer_version


def test_a_source_is_overwritten_only_by_force(tmp_path: Path) -> None:
    graph, path = one(ops.Relu(), (1, 4)), tmp_path / "model.onnx"
    write_onnx(graph, path)
    before = path.read_bytes()
    for like, source in ((path, None), (None, path)):
        with pytest.raises(UsageError, match="would overwrite its input"):
            write_onnx(one(ops.Abs(), (1, 4)), path, like=like, source=source)
    assert path.read_bytes() == before
    write_onnx(one(ops.Abs(), (1, 4)), path, like=path, force=True)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Abs"]


def test_a_damaged_model_is_no_likeness(tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"\xff\xff\xff")
    with pytest.raises(InvalidModel, match=r"damaged\.onnx: is not an ONNX model"):
        write_onnx(one(ops.Relu(), (1, 4)), tmp_path / "model.onnx", like=path)


def test_weights_too_large_for_one_file(tmp_path: Path) -> None:
    builder = Builder("large")
    x = builder.input("x", (1, 2**15))
    weights = np.broadcast_to(np.float32(0), (2**15, 2**15))
    graph = builder.finish([builder.add(ops.Dense(), x, builder.constant("w", weights))])
    with pytest.raises(UsageError, match=r"large: has 4294967296 bytes of weights") as error:
        write_onnx(graph, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
