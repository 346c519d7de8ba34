import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from irprune.backends.onnx.order import node_order, reordered, write_reordered
from irprune.frontends.onnx import read_onnx
from irprune.ir.errors import InvalidModel, UnsupportedOp, UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import memory_model, timeline
from irprune.passes.analysis.schedule import schedule
from irprune.passes.pipeline import deployed
from tests.onnx_models import node, reals

BRANCHES = 4


def branchy(branches: int = BRANCHES) -> ModelProto:
    """Branches that widen and then shrink, all widened first; normalized, activated, summed."""
    real = reals(5)
    tensors: dict[str, Array] = {}
    wide, thin = [], []
    for i in range(branches):
        tensors |= {f"w{i}": real(16, 4, 3, 3), f"v{i}": real(2, 16, 1, 1)}
        tensors |= {f"{name}{i}": abs(real(16)) + 1 for name in ("scale", "shift", "mean", "var")}
        batchnorm = f"wide{i} scale{i} shift{i} mean{i} var{i}"
        wide += [
            node("Conv", f"x w{i}", f"wide{i}", pads=[1, 1, 1, 1], name=f"widen{i}"),
            node("BatchNormalization", batchnorm, f"norm{i}"),
            node("Relu", f"norm{i}", f"relu{i}", doc_string="an activation"),
        ]
        thin.append(node("Conv", f"relu{i} v{i}", f"thin{i}", name=f"shrink{i}"))
    joined = node("Concat", " ".join(f"thin{i}" for i in range(branches)), "y", axis=1)
    graph = helper.make_graph(
        [*wide, *thin, joined],
        "branchy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2 * branches, 8, 8))],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        doc_string="kept",
        value_info=[helper.make_tensor_value_info("relu0", TensorProto.FLOAT, (1, 16, 8, 8))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"author": "somebody"})
    return model


def outputs(data: bytes) -> list[Array]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": reals(1)(1, 4, 8, 8)}))


def without_nodes(data: bytes) -> bytes:
    model = ModelProto.FromString(data)
    del model.graph.node[:]
    return bytes(model.SerializeToString(deterministic=True))


def peak_of(graph: Graph, order: Sequence[int] | None = None) -> int:
    return timeline(memory_model(graph, Precision.INT8), order).peak


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(branchy().SerializeToString())
    return path


def test_a_file_in_the_best_order_needs_what_the_schedule_says(source: Path) -> None:
    graph = deployed(read_onnx(source))
    plan = schedule(graph, Precision.INT8)
    assert plan.proven
    assert plan.peak < peak_of(graph)
    path = source.with_name("ordered.onnx")
    write_reordered(source, path, graph, plan.order, Precision.INT8)
    again = deployed(read_onnx(path))
    assert peak_of(again) == plan.peak
    assert schedule(again, Precision.INT8).order == tuple(range(len(again.nodes)))


def test_only_nodes_move(source: Path) -> None:
    graph = deployed(read_onnx(source))
    before = source.read_bytes()
    path = source.with_name("ordered.onnx")
    write_reordered(source, path, graph, schedule(graph, Precision.INT8).order, Precision.INT8)
    after = path.read_bytes()
    assert len(after) == len(before)
    assert without_nodes(after) == without_nodes(before)
    nodes = [
        sorted(n.SerializeToString(deterministic=True) for n in ModelProto.FromString(d).graph.node)
        for d in (before, after)
    ]
    assert nodes[0] == nodes[1]
    onnx.checker.check_model(ModelProto.FromString(after), full_check=True)
    for one, other in zip(outputs(before), outputs(after), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fields_that_the_schema_does_not_know_stay() -> None:
    unknown = b"\xaa\x06\x03new"  # field 101, of three bytes
    data = branchy(2).SerializeToString() + unknown
    order = range(len(branchy(2).graph.node))
    assert reordered(data, order) == data
    assert reordered(data, [3, 4, 5, 0, 1, 2, *order[6:]]).endswith(unknown)


@given(st.integers(0, 10**6))
def test_any_order_that_can_run_is_found_again(seed: int) -> None:
    graph = deployed(read_onnx(branchy()))
    order = random_order(graph, random.Random(seed))
    data = branchy().SerializeToString()
    edited = reordered(data, node_order(data, graph, order))
    again = deployed(read_onnx(ModelProto.FromString(edited)))
    assert [n.output.name for n in again.nodes] == [graph.nodes[at].output.name for at in order]


def random_order(graph: Graph, chance: random.Random) -> list[int]:
    made, order, left = {*graph.inputs, *graph.constants}, [], set(range(len(graph.nodes)))
    while left:
        ready = [at for at in sorted(left) if made.issuperset(graph.nodes[at].inputs)]
        at = chance.choice(ready)
        made |= set(graph.nodes[at].outputs)
        order.append(at)
        left.remove(at)
    return order


def external(folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save_model(
        branchy(2), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return path


def test_weights_in_other_files_stay_beside_the_model(tmp_path: Path) -> None:
    source, path = external(tmp_path), tmp_path / "ordered.onnx"
    graph = deployed(read_onnx(source))
    order = schedule(graph, Precision.INT8).order
    write_reordered(source, path, graph, order, Precision.INT8)
    assert peak_of(deployed(read_onnx(path))) == schedule(graph, Precision.INT8).peak


def test_weights_in_other_files_are_not_left_behind(tmp_path: Path) -> None:
    source = external(tmp_path)
    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / "ordered.onnx"
    graph = deployed(read_onnx(source))
    with pytest.raises(UsageError, match=r"weights are in other files, such as 'weights\.bin'"):
        write_reordered(source, path, graph, range(len(graph.nodes)), Precision.INT8)
    assert not path.exists()


def test_the_source_is_not_overwritten_unless_asked(source: Path) -> None:
    graph = deployed(read_onnx(source))
    order = schedule(graph, Precision.INT8).order
    before = source.read_bytes()
    with pytest.raises(UsageError, match="would overwrite its input"):
        write_reordered(source, source, graph, order, Precision.INT8)
    assert source.read_bytes() == before
    write_reordered(source, source, graph, order, Precision.INT8, force=True)
    assert source.read_bytes() != before


def with_function() -> ModelProto:
    """A function of two parts, between which a schedule can make a tensor and a file cannot."""
    opset, own = helper.make_opsetid("", 13), helper.make_opsetid("own", 1)
    body = [
        node("Concat", "a a a", "b", axis=1),
        node("ReduceMax", "b", "c", axes=[1]),
        node("ReduceMax", "d", "e", axes=[1]),
    ]
    function = helper.make_function("own", "Both", ["a", "d"], ["c", "e"], body, [opset])
    nodes = [
        node("Concat", "x x x", "wide", axis=1),
        node("Both", "x wide", "one two", domain="own"),
        node("Concat", "one two", "y", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "calls",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, 8, 8))],
    )
    return helper.make_model(graph, opset_imports=[opset, own], functions=[function], ir_version=8)


def test_an_order_that_the_file_cannot_have_is_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "model.onnx", tmp_path / "ordered.onnx"
    source.write_bytes(with_function().SerializeToString())
    graph = deployed(read_onnx(source))
    plan = schedule(graph, Precision.INT8)
    # The input, a widened copy and a reduced one; with both parts at once, two widened copies.
    assert plan.peak == 4 * 64 + 12 * 64 + 64
    with pytest.raises(UnsupportedOp, match=r"need 1792 bytes where the schedule needs 1088"):
        write_reordered(source, path, graph, plan.order, Precision.INT8)
    assert not path.exists()


@pytest.mark.parametrize("order", [(0, 1), (0, 0, 1), (0, 1, 7)])
def test_orders_of_other_nodes_are_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="does not run each of 3 nodes once"):
        reordered(with_function().SerializeToString(), order)


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=4))
def test_damaged_files_are_refused_or_reordered(at: int, by: bytes) -> None:
    data = branchy(1).SerializeToString()
    at %= len(data)
    damaged = data[:at] + by + data[at + len(by) :]
    order = range(len(branchy(1).graph.node))
    try:
        assert len(reordered(damaged, order)) == len(damaged)
    except (InvalidModel, UsageError):
        assert damaged != data


def test_a_source_that_is_not_there_is_named(tmp_path: Path, source: Path) -> None:
    graph = deployed(read_onnx(source))
    with pytest.raises(InvalidModel, match="absent"):
        write_reordered(tmp_path / "absent", source, graph, (), Precision.INT8)
