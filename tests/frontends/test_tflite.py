"""Real TFLite models, against the runtimes; and what a graph keeps of its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite

from irprune.backends.reference import run, run_all
from irprune.frontends.tflite import read_tflite
from irprune.ir.ops import AveragePool2d, Conv2d, Dense, Relu, Reshape, Softmax
from irprune.ir.types import Array, DType, Quant
from irprune.ir.verify import verify
from tests.int8 import integers
from tests.tflite_files import Micro, TFLiteFile, litert, small_model

INT8_MODELS = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]
FLOAT_MODELS = ["pretrainedResnet", "vww_96_float"]


def tensor_names(data: bytes) -> dict[str, int]:
    """The index of each tensor of a file, by its name."""
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    return {graph.Tensors(i).Name().decode(): i for i in range(graph.TensorsLength())}


def assert_every_value_is_equal(data: bytes, rounds: int) -> None:
    """Every activation, not the outputs alone, is the one that TFLite-Micro computes."""
    graph, micro, index = read_tflite(data), Micro(data), tensor_names(data)
    rng = np.random.default_rng(11)
    for _ in range(rounds):
        image = integers(rng, graph.inputs[0].type.shape)
        micro(image)
        compared = 0
        for value, array in run_all(graph, [image]).items():
            if value not in graph.constants:
                theirs = micro.tensor(index[value.name]).reshape(array.shape)
                np.testing.assert_array_equal(array, theirs, err_msg=value.name)
                compared += 1
        assert compared == len(graph.nodes) + 1


@pytest.mark.parametrize("name", INT8_MODELS)
def test_int8_models_are_bit_equal_to_tflite_micro(shared: Path, name: str) -> None:
    assert_every_value_is_equal((shared / "models" / f"{name}.tflite").read_bytes(), 20)


def test_a_small_int8_model_is_bit_equal_to_tflite_micro() -> None:
    assert_every_value_is_equal(small_model(), 20)


def test_one_zero_point_may_stand_for_all_the_channels() -> None:
    file = TFLiteFile()
    weights = np.random.default_rng(3).integers(-127, 128, (2, 1, 1, 3)).astype(np.int8)
    x = file.tensor((1, 4, 4, 3), np.int8, scale=0.1, zero_point=5, name="x")
    w = file.constant(weights, scale=[0.01, 0.03], zero_point=[0])
    bias = file.constant(np.array([10, -20], np.int32), scale=[0.001, 0.003], zero_point=[0])
    y = file.tensor((1, 4, 4, 2), np.int8, scale=0.2, zero_point=-7, name="y")
    file.operator("CONV_2D", (x, w, bias), (y,), "Conv2DOptions", strideH=1, strideW=1)
    assert_every_value_is_equal(file.finish((x,), (y,)), 5)


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_float_models_agree_with_litert(shared: Path, name: str) -> None:
    path = shared / "models" / f"{name}.tflite"
    graph, runtime = read_tflite(path), litert(path.read_bytes())
    rng = np.random.default_rng(12)
    for _ in range(5):
        image = rng.normal(size=graph.inputs[0].type.shape).astype(np.float32)
        (theirs,) = runtime(image)
        np.testing.assert_allclose(run(graph, [image])[0], theirs, atol=1e-4)


@pytest.mark.parametrize("name", INT8_MODELS + FLOAT_MODELS)
def test_a_model_has_a_node_an_operator_and_nothing_else(shared: Path, name: str) -> None:
    path = shared / "models" / f"{name}.tflite"
    graph = read_tflite(path)
    verify(graph)
    operators = tflite.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0).OperatorsLength()
    assert len(graph.nodes) == operators
    assert graph.name == name
    index = tensor_names(path.read_bytes())
    assert {v.name for node in graph.nodes for v in node.outputs} <= index.keys()
    assert {v.name for v in graph.constants} <= index.keys()


def test_the_small_model_as_a_graph() -> None:
    graph = read_tflite(small_model(), "small.tflite")
    conv, add, pool, reshape, dense, softmax = graph.nodes
    layer = Conv2d((1, 1), ((1, 1), (1, 1)), layout="NHWC", activation=Relu())
    assert conv.op == layer
    assert [node.op for node in (pool, reshape, dense, softmax)] == [
        AveragePool2d((6, 6), (6, 6), layout="NHWC"),
        Reshape((1, 4)),
        Dense(),
        Softmax(),
    ]
    assert str(add) == "small.tflite: node 'ADD#1'"
    assert [v.name for v in (*graph.inputs, *graph.outputs)] == ["image", "scores"]
    assert graph.inputs[0].type.quant == Quant((float(np.float32(0.05)),), (-3,))
    weights, bias = conv.inputs[1:]
    assert weights.type.dtype is DType.I8
    assert bias.type.dtype is DType.I32
    assert weights.type.quant is not None
    assert weights.type.quant.axis == 0
    assert len(weights.type.quant.scale) == 4
    assert len(dense.inputs) == 2


def test_constants_are_read_only_views_of_the_file() -> None:
    data = small_model()
    whole = np.frombuffer(data, np.uint8)
    for array in read_tflite(data).constants.values():
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable


def test_constants_may_lie_behind_the_flatbuffer() -> None:
    """As in files of more than 2 GiB, whose buffers are given by an offset into the file."""
    file = TFLiteFile()
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    numbers = np.array([[1, 2, 3, 4]], np.float32)
    c = file.constant(numbers)
    file.operator("ADD", (x, c), (y,), "AddOptions")
    buffer = file.model.buffers[1]
    buffer.data, buffer.offset, buffer.size = None, 2, 16
    short = len(file.finish((x,), (y,)))
    buffer.offset = short
    data = file.finish((x,), (y,)) + numbers.tobytes()
    assert len(data) == short + 16
    (found,) = run(read_tflite(data), [np.ones((1, 4), np.float32)])
    np.testing.assert_array_equal(found, numbers + 1)


def test_a_constant_may_be_an_output() -> None:
    file = TFLiteFile()
    x, c = file.tensor((1, 2)), file.constant(np.array([3.0], np.float32))
    graph = read_tflite(file.finish((x,), (x, c)))
    one: Array = np.ones((1, 2), np.float32)
    first, second = run(graph, [one])
    np.testing.assert_array_equal(first, one)
    np.testing.assert_array_equal(second, [3.0])


def test_a_tensor_without_name_gets_one() -> None:
    file = TFLiteFile()
    x, y = file.tensor((1, 2)), file.tensor((1, 2))
    file.graph.tensors[y].name = ""
    file.operator("RELU", (x,), (y,))
    assert read_tflite(file.finish((x,), (y,))).outputs[0].name == "tensor1"
