"""TFLite files as written: what is in them, and what is refused."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter as lite
from ai_edge_litert import schema_py_generated as schema

import irprune
from irprune.backends.reference import run
from irprune.backends.tflite import write_tflite
from irprune.backends.tflite.table import TABLE, has_kernel
from irprune.frontends.tflite import read_tflite
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Graph, Value
from irprune.ir.op import OPS, Op
from irprune.ir.ops.shape import View
from irprune.ir.types import Array, DType, Quant
from tests.rewrites import random_inputs
from tests.tflite_files import Micro
from tests.tflite_nets import NETS, random_net

SHARED = ["ad01_int8", "kws_ref_model", "pretrainedResnet", "pretrainedResnet_quant"]
SHARED += ["vww_96_float", "vww_96_int8"]

LOWERED = {
    *("BatchNorm", "Clip", "Erf", "GRU", "Gelu", "HardSigmoid", "LRN", "LSTM", "LayerNorm"),
    *("Silu", "Pow"),
}
"""Operators without a row: spelled out before, but for powers by what is computed."""

Q = Quant((0.05,), (-3,))


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(data: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def test_every_operator_has_a_row_or_is_lowered_before() -> None:
    rows = {kind.__name__ for kind in TABLE}
    views = {name for name, kind in OPS.items() if issubclass(kind, View)}
    assert rows | views | LOWERED == set(OPS) | {"View"}
    assert rows.isdisjoint(LOWERED)


def assert_round_trips(data: bytes) -> None:
    """Read and written again: the same outputs in TFLite-Micro, and the same again."""
    graph = read_tflite(data)
    again = write_tflite(graph)
    arrays = random_inputs(graph)
    for wanted, found in zip(Micro(data)(*arrays), Micro(again)(*arrays), strict=True):
        np.testing.assert_array_equal(found.ravel(), wanted.ravel())
    assert write_tflite(read_tflite(again)) == write_tflite(read_tflite(again))


@pytest.mark.parametrize("name", SHARED)
def test_shared_models_round_trip(shared: Path, name: str) -> None:
    assert_round_trips((shared / f"models/{name}.tflite").read_bytes())


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_nets_round_trip(net: object) -> None:
    assert callable(net)
    assert_round_trips(net())


@pytest.mark.parametrize("seed", range(20))
def test_random_nets_round_trip(seed: int) -> None:
    assert_round_trips(random_net(seed))


def classifier() -> Graph:
    b = Builder("classifier")
    x = b.input("image", (1, 6, 6, 3))
    conv = ops.Conv2d(padding=((1, 1), (1, 1)), layout="NHWC", activation=ops.Relu())
    y = b.add(conv, x, b.constant("w", weights(4, 3, 3, 3)), b.constant("b", weights(4)))
    same = b.constant("same", weights(4, 3, 3, 3))  # equal to the first, under another name
    other = b.add(conv, x, same, b.constant("c", weights(4, seed=1)))
    z = b.add(ops.Add(), y, other, name="total")
    return b.finish([b.add(ops.Softmax(), b.add(ops.Flatten(), z), name="scores")])


def test_the_file() -> None:
    """Schema 3; buffers of constants aligned and stored once; names, versions, metadata."""
    data = write_tflite(classifier())
    assert data == write_tflite(classifier())
    assert data[4:8] == b"TFL3"
    model = model_of(data)
    assert model.version == 3
    assert model.buffers[0].data is None
    raw = schema.Model.GetRootAs(data)
    tables = [raw.Buffers(i)._tab for i in range(raw.BuffersLength())]
    places = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(places) == len(tables) - 1
    assert all(place % 16 == 0 for place in places)
    contents = [bytes(buffer.data) for buffer in model.buffers[1:]]
    assert len(contents) == len(set(contents))
    assert weights(4, 3, 3, 3).tobytes() in contents
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    assert [names[i] for i in (*graph.inputs, *graph.outputs)] == ["image", "scores"]
    assert {"total", "w", "same"} <= set(names)
    (entry,) = model.metadata
    assert entry.name == b"irprune"
    assert bytes(model.buffers[entry.buffer].data) == version("irprune").encode()
    kinds = [code.builtinCode for code in model.operatorCodes]
    wanted = ["CONV_2D", "ADD", "RESHAPE", "SOFTMAX"]
    assert kinds == [getattr(schema.BuiltinOperator, kind) for kind in wanted]
    assert [code.deprecatedBuiltinCode for code in model.operatorCodes] == kinds


@pytest.mark.parametrize(
    ("op", "operands", "versions"),
    [
        (ops.Add(), 2, (1, 2)),
        (ops.Mul(), 2, (1, 2)),
        (ops.Maximum(), 2, (1, 2)),
        (ops.Sigmoid(), 1, (1, 2)),
        (ops.Relu(), 1, (1, 2)),
        (ops.LeakyRelu(), 1, (1, 1)),
        (ops.Transpose((0, 2, 1, 3)), 1, (1, 2)),
        (ops.ReduceMean((1, 2)), 1, (1, 2)),
        (ops.Resize((1, 2), (8, 8), (2.0, 2.0), "linear", "half_pixel"), 1, (3, 3)),
        (ops.Resize((1, 2), (8, 8), (2.0, 2.0), "linear", "asymmetric"), 1, (1, 2)),
        (ops.MaxPool2d((2, 2), layout="NHWC"), 1, (1, 2)),
        (ops.Split(3, (2, 2)), 1, (1, 2)),
        (ops.Split(3, (1, 3)), 1, (1, 2)),
        (ops.Pad(((0, 0), (1, 0), (0, 0), (0, 0))), 1, (1, 2)),
        (ops.Gather((0, 2), (2,), 3), 1, (1, 2)),
        (ops.Expand((1, 4, 4, 4)), 1, (2, 3)),
        (ops.Reshape((1, 64)), 1, (1, 1)),
    ],
)
def test_versions(op: Op, operands: int, versions: tuple[int, int]) -> None:
    """Those of tensorflow/lite/tools/versioning/op_version.cc, for floats and 8 bits."""
    fixed: dict[type[Op], Quant] = {ops.Sigmoid: Quant((1 / 256,), (-128,))}
    for dtype, wanted in zip((DType.F32, DType.I8), versions, strict=True):
        b = Builder("one")
        quant = None if dtype is DType.F32 else Q
        x = b.input("x", (1, 4, 4, 4), dtype, quant)
        out = quant and fixed.get(type(op), Q)
        made = b.add_node(op, [x] * operands, quants=[out] * 2)
        data = write_tflite(b.finish(made))
        assert [code.version for code in model_of(data).operatorCodes] == [wanted]
        lite.Interpreter(  # which refuses versions that it does not know
            model_content=data,
            experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF,
        ).allocate_tensors()


def test_what_micro_lacks_is_named_all_at_once() -> None:
    b = Builder("lacking")
    x = b.input("x", (1, 4, 4, 4))
    y = b.add(ops.Gelu(), x, name="first")
    pool = ops.MaxPool2d((2, 2), dilation=(2, 2), layout="NHWC")
    z = b.add(pool, b.add(ops.Relu(), y), name="second")
    nchw = b.add(ops.AveragePool2d((1, 1)), z, name="third")
    with pytest.raises(UnsupportedOp) as error:
        write_tflite(b.finish([nchw]))
    message = str(error.value)
    assert message.startswith("lacking: ")
    for part in ("'first': TFLite-Micro has no Gelu", "'second'", "dilation (2, 2)", "'third'"):
        assert part in message
    assert "relu" not in message


def test_ranks_that_micro_lacks() -> None:
    """The most axes are those that TFLite-Micro runs."""
    for rank in (5, 6):
        b = Builder("deep")
        x = b.input("x", tuple(range(1, rank + 1)))
        graph = b.finish([b.add(ops.Transpose(tuple(range(rank))[::-1]), x, name="turn")])
        if rank == 6:
            with pytest.raises(UnsupportedOp, match="Transpose of 6 axes, 5 at the most"):
                write_tflite(graph)
        else:
            arrays = random_inputs(graph)
            (found,) = Micro(write_tflite(graph))(*arrays)
            np.testing.assert_array_equal(found, run(graph, arrays)[0])


def test_types_that_micro_lacks() -> None:
    b = Builder("half")
    graph = b.finish([b.add(ops.Relu(), b.input("x", (1, 4), DType.F16), name="relu")])
    with pytest.raises(UnsupportedOp, match="'relu': TFLite-Micro has no Relu in f16"):
        write_tflite(graph)
    assert not has_kernel(ops.Exp(), DType.I8)
    assert has_kernel(ops.Exp(), DType.F32)


def outputs_of(values: list[Value], b: Builder) -> list[Array]:
    graph = b.finish(values)
    arrays = random_inputs(graph)
    found = Micro(write_tflite(graph))(*arrays)
    for one, other in zip(found, run(graph, arrays), strict=True):
        np.testing.assert_array_equal(one.ravel(), other.ravel())
    return found


def test_outputs_of_every_kind() -> None:
    """One made, one that is an input too, one that is given twice."""
    b = Builder("outputs")
    x = b.input("x", (1, 4))
    y = b.add(ops.Relu(), x)
    assert len(outputs_of([y, y], b)) == 2
    assert len(outputs_of([y, x], b)) == 2


def test_the_library_writes_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite(classifier()))
    graph = irprune.load(path)
    (x,) = random_inputs(graph)
    np.testing.assert_allclose(irprune.run(graph, [x])[0], irprune.run(classifier(), [x])[0])
