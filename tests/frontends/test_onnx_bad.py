"""What no ONNX model may be: each kind of damage is one IrpruneError that says where and what."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

import irprune
from irprune.ir.errors import InvalidModel

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8, 8])


def model(
    nodes: Sequence[NodeProto],
    *tensors: TensorProto,
    x: ValueInfoProto = X,
    y: Sequence[int] | None = None,
) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, y)
    graph = helper.make_graph(list(nodes), "net", [x], [output], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def tensor(*shape: int, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.full(shape, 0.5, np.float32), name)


def convolution() -> NodeProto:
    return helper.make_node("Conv", ["x", "w"], ["y"], "conv")


def stored(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(irprune.IrpruneError) as raised:
        irprune.load(path)
    text = str(raised.value)
    assert "\n" not in text
    for word in (path.name, *words):
        assert word in text


def external(location: str, length: int = 4 * 2 * 9 * 4) -> onnx.ModelProto:
    """A convolution whose weights are in another file."""
    outside = tensor(4, 2, 3, 3)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        outside.external_data.add(key=key, value=value)
    return model([convolution()], outside)


def test_a_cycle(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["y"], "third"),
    ]
    refused(stored(tmp_path / "m.onnx", model(nodes)), "cycle", "first", "second")


def test_shapes_that_contradict(tmp_path: Path) -> None:
    wrong_weights = model([convolution()], tensor(4, 3, 3, 3))
    refused(stored(tmp_path / "m.onnx", wrong_weights), "conv", "4x3x3x3", "1x2x8x8")
    wrong_claim = model([convolution()], tensor(4, 2, 3, 3), y=[1, 7, 6, 6])
    refused(stored(tmp_path / "m.onnx", wrong_claim), "conv", "1x7x6x6", "1x4x6x6")


def test_a_tensor_of_a_trillion_elements(tmp_path: Path) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [10**6, 10**6])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"], "fill"),
        helper.make_node("ReduceSum", ["huge"], ["sum"], "sum"),
        helper.make_node("Add", ["x", "sum"], ["y"], "add"),
    ]
    refused(stored(tmp_path / "m.onnx", model(nodes, shape)), "1000000x1000000")


def test_every_unsupported_operator_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sin", ["x"], ["a"], "one"),
        helper.make_node("Det", ["a"], ["b"], "two"),
        helper.make_node("Relu", ["b"], ["c"], "fine"),
        helper.make_node("Custom", ["c"], ["y"], "three", domain="my.own"),
    ]
    path = stored(tmp_path / "m.onnx", model(nodes))
    refused(path, "'one'", "Sin", "'two'", "Det", "'three'", "Custom")


def test_what_is_known_on_constants_alone_is_named_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sin", ["x"], ["a"], "one"),
        helper.make_node("Cos", ["a"], ["b"], "two"),
        helper.make_node("Shape", ["a"], ["size"], "size"),
        helper.make_node("Floor", ["size"], ["whole"], "fine"),
        helper.make_node("Reshape", ["b", "whole"], ["y"], "reshape"),
    ]
    path = stored(tmp_path / "m.onnx", model(nodes))
    refused(path, "'one'", "Sin", "'two'", "Cos")
    with pytest.raises(irprune.IrpruneError, match=r"^((?!fine).)*$"):
        irprune.load(path)


@pytest.mark.parametrize("operands", [[], ["w"], ["w", "w"]])
def test_an_operator_newer_than_the_opset(tmp_path: Path, operands: list[str]) -> None:
    node = helper.make_node("GreaterOrEqual", operands, ["y"], "compare")
    proto = model([node], tensor(2))
    proto.opset_import[0].version = 8
    refused(stored(tmp_path / "m.onnx", proto), "compare", "GreaterOrEqual", "opset 8")


def test_symbolic_dimensions(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, "height", 8])
    proto = model([helper.make_node("Relu", ["x"], ["y"])], x=x)
    path = stored(tmp_path / "m.onnx", proto)
    refused(path, "batch", "height", "--shape x=")
    assert irprune.load(path, shapes={"x": (1, 2, 4, 8)}).outputs[0].type.shape == (1, 2, 4, 8)
    with pytest.raises(irprune.IrpruneError, match="wrong"):
        irprune.load(path, shapes={"wrong": (1, 2, 4, 8)})
    with pytest.raises(irprune.IrpruneError):
        irprune.load(path, shapes={"x": (1, 3, 4, 8)})


def test_external_data(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    content = np.full(4 * 2 * 9, 0.5, np.float32).tobytes()
    path = stored(folder / "m.onnx", external("w.bin"))
    refused(path, "w.bin", "missing")
    (folder / "w.bin").write_bytes(content[:-1])
    refused(path, "w.bin")
    (folder / "w.bin").write_bytes(content)
    (value,) = irprune.load(path).constants.values()
    assert value.tobytes() == content


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "link", "/{root}/secret"])
def test_external_data_stays_in_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4 * 2 * 9 * 4))
    (folder / "link").symlink_to(tmp_path / "secret")
    location = location.replace("/{root}", str(tmp_path))
    refused(stored(folder / "m.onnx", external(location)), "folder")


@pytest.mark.parametrize("missing", ["x", "w"])
def test_a_tensor_that_nobody_makes(tmp_path: Path, missing: str) -> None:
    node = convolution()
    node.input[:] = ["absent" if name == missing else name for name in node.input]
    refused(stored(tmp_path / "m.onnx", model([node], tensor(4, 2, 3, 3))), "absent")


def constant(name: str, *numbers: float, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(numbers, dtype), name)


@pytest.mark.parametrize(
    ("node", "tensors"),
    [
        (
            helper.make_node("ReduceProd", ["c"], ["y"], "n", axes=[0, -1]),
            [constant("c", 1, 2)],
        ),
        (helper.make_node("Resize", ["x", "", "c"], ["y"], "n"), [constant("c", 1, 1, 3e38, 1)]),
        (
            helper.make_node("Pow", ["x", "c"], ["y"], "n"),
            [constant("c", 1e300, dtype=np.float64)],
        ),
        (
            helper.make_node("Pow", ["b", "c"], ["y"], "n"),
            [constant("b", 2, dtype=np.int64), constant("c", np.nan)],
        ),
    ],
    ids=["axis twice", "scale", "exponent", "exponent of integers"],
)
def test_numbers_beyond_bounds(
    tmp_path: Path, node: NodeProto, tensors: Sequence[TensorProto]
) -> None:
    refused(stored(tmp_path / "m.onnx", model([node], *tensors)), "'n'")


def test_a_constant_may_overflow(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceProd", ["c"], ["product"], "n", keepdims=0),
        helper.make_node("Add", ["x", "product"], ["y"], "sum"),
    ]
    path = stored(tmp_path / "m.onnx", model(nodes, constant("c", 3e38, 3e38)))
    assert [array.item() for array in irprune.load(path).constants.values()] == [np.inf]


def small() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"], "norm"),
        helper.make_node("Reshape", ["b", "shape"], ["c"], "reshape"),
        helper.make_node("Gemm", ["c", "g"], ["d"], "gemm", transB=1),
        helper.make_node("Softmax", ["d"], ["y"], "softmax"),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, -1])
    weights = (tensor(4, 2, 3, 3), tensor(4, name="s"), tensor(5, 64, name="g"))
    return bytes(model(nodes, shape, *weights).SerializeToString())


SMALL = small()


@given(st.binary(max_size=400))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    expect_graph_or_error(tmp_path_factory.getbasetemp() / "random.onnx", content)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(SMALL)),
)
def test_mutated_bytes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(SMALL)
    for at, byte in changes:
        content[at] = byte
    path = tmp_path_factory.getbasetemp() / "mutated.onnx"
    expect_graph_or_error(path, bytes(content))
    expect_graph_or_error(path, bytes(content[:cut]))


def expect_graph_or_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(irprune.IrpruneError):
        irprune.verify(irprune.load(path))


def test_a_function_called_with_too_many_operands() -> None:
    opset = helper.make_opsetid("", 17)
    body = [helper.make_node("Relu", ["a"], ["b"])]
    found = model([helper.make_node("Mine", ["x", "x"], ["y"], domain="own")])
    found.opset_import.append(helper.make_opsetid("own", 1))
    found.functions.append(helper.make_function("own", "Mine", ["a"], ["b"], body, [opset]))
    with pytest.raises(InvalidModel, match="a function of its own with operands"):
        irprune.load(found)
