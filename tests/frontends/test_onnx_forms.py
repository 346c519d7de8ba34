"""The same network in every opset and in both quantized forms, beside onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper, version_converter

import irprune
from irprune.ir.ops import Conv2d, Dense, Dequantize, Quantize
from irprune.ir.types import Array, DType

OPSETS = range(7, 27)
"""From the oldest that onnxruntime reads to the newest that the pinned one calls official."""

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
    "b": RNG.normal(0, 0.3, 4).astype(np.float32),
    "gamma": RNG.uniform(0.5, 2, 4).astype(np.float32),
    "beta": RNG.normal(0, 0.3, 4).astype(np.float32),
    "mean": RNG.normal(0, 0.3, 4).astype(np.float32),
    "variance": RNG.uniform(0.5, 2, 4).astype(np.float32),
    "shift": RNG.normal(0, 0.3, 5).astype(np.float32),
    "dense": RNG.normal(0, 0.3, (64, 5)).astype(np.float32),
}


def network() -> onnx.ModelProto:
    """A small classifier, in opset 7."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], auto_pad="SAME_UPPER", strides=[1, 1]),
        node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=1e-3),
        node("LeakyRelu", ["n"], ["r"], alpha=0.2),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Split", ["p"], ["s1", "s2"], axis=1, split=[1, 3]),
        node("Concat", ["s2", "s1"], ["k"], axis=1),
        node("Pad", ["k"], ["q"], pads=[0, 0, 1, 1, 0, 0, 0, 0], value=0.5),
        node("AveragePool", ["q"], ["g"], kernel_shape=[2, 2]),
        node("Clip", ["g"], ["h"], min=-0.5, max=2.0),
        node("Flatten", ["h"], ["f"]),
        node("Gemm", ["f", "dense", "shift"], ["d"], alpha=0.5),
        node("Unsqueeze", ["d"], ["u"], axes=[2]),
        node("ReduceSum", ["u"], ["v"], axes=[2], keepdims=0),
        node("Softmax", ["v"], ["y"], axis=1),
    ]
    return made(nodes, WEIGHTS, 7)


def made(nodes: Sequence[NodeProto], tensors: dict[str, Array], opset: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def by_onnxruntime(model: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("opset", OPSETS)
def test_an_opset(opset: int) -> None:
    model = network()
    if opset > 7:
        model = version_converter.convert_version(model, opset)
    x = RNG.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
    wanted = by_onnxruntime(model, x)
    graph = irprune.load(model)
    for form in (graph, irprune.deployed(graph)):
        np.testing.assert_allclose(irprune.run(form, [x])[0], wanted, rtol=1e-4, atol=1e-5)


def quantized(array: Array, axis: int | None) -> tuple[Array, Array, Array]:
    """Symmetric int8, its scale and its zero point."""
    over = None if axis is None else tuple(a for a in range(array.ndim) if a != axis)
    scale = np.asarray(np.abs(array).max(over) / 127, np.float32)
    shape = (
        [1] * array.ndim if axis is None else [-1 if a == axis else 1 for a in range(array.ndim)]
    )
    stored = np.rint(array / scale.reshape(shape)).astype(np.int8)
    return stored, scale, np.zeros(scale.shape, np.int8)


def qdq_network(axis: int | None, zero_type: type[np.generic]) -> onnx.ModelProto:
    """Convolution with Relu, then a dense layer, each between dequantizing and quantizing."""
    zero = 0 if zero_type is np.int8 else 128
    w, w_scale, w_zero = quantized(WEIGHTS["w"], axis)
    dense, d_scale, d_zero = quantized(np.ascontiguousarray(RNG.normal(0, 0.3, (5, 256))), None)
    bias = np.rint(WEIGHTS["b"] / (w_scale * np.float32(0.03))).astype(np.int32)
    tensors: dict[str, Array] = {
        "w": w,
        "ws": w_scale,
        "wz": w_zero,
        "b": bias,
        "bs": np.asarray(w_scale * np.float32(0.03)),
        "bz": np.zeros(w_scale.shape, np.int32),
        "d": dense,
        "ds": d_scale,
        "dz": d_zero,
    }
    nodes = []
    for name, scale in (("x", 0.03), ("c", 0.02), ("y", 0.05)):
        tensors[f"{name}_s"] = np.asarray(scale, np.float32)
        tensors[f"{name}_z"] = np.asarray(zero, zero_type)

    def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(op, list(inputs), [output], output, **attributes))

    def through_integers(name: str, output: str) -> None:
        key = output[0]
        node("QuantizeLinear", [name, f"{key}_s", f"{key}_z"], f"{output}_q")
        node("DequantizeLinear", [f"{output}_q", f"{key}_s", f"{key}_z"], output)

    on_axis: dict[str, Any] = {} if axis is None else {"axis": axis}
    through_integers("x", "xd")
    node("DequantizeLinear", ["w", "ws", "wz"], "wd", **on_axis)
    node("DequantizeLinear", ["b", "bs", "bz"], "bd", **({} if axis is None else {"axis": 0}))
    node("Conv", ["xd", "wd", "bd"], "conv", pads=[1, 1, 1, 1])
    node("Relu", ["conv"], "relu")
    through_integers("relu", "cd")
    node("Flatten", ["cd"], "flat")
    node("DequantizeLinear", ["d", "ds", "dz"], "dd")
    node("Gemm", ["flat", "dd"], "gemm", transB=1)
    through_integers("gemm", "yd")
    node("Identity", ["yd"], "y")
    return made(nodes, tensors, 13)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("zero_type", [np.int8, np.uint8])
def test_quantize_and_dequantize_nodes(axis: int | None, zero_type: type[np.generic]) -> None:
    model = qdq_network(axis, zero_type)
    x = RNG.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
    wanted = by_onnxruntime(model, x)
    assert np.ptp(wanted) > 0.5
    graph = irprune.load(model)
    np.testing.assert_allclose(irprune.run(graph, [x])[0], wanted, atol=0.05 + 1e-5)
    integer = irprune.deployed(graph)
    layers = [node for node in integer.nodes if isinstance(node.op, Conv2d | Dense)]
    stored = DType.of(zero_type)
    assert [node.output.type.dtype for node in layers] == [stored, stored]
    others = [n.op for n in integer.nodes if isinstance(n.op, Quantize | Dequantize)]
    assert len(others) == 2  # the float input and output of the model
    # One step of the output, and one of the hidden layer on its way there.
    np.testing.assert_allclose(irprune.run(integer, [x])[0], wanted, atol=2 * 0.05 + 1e-5)
    report = irprune.analyze(graph)
    assert report.costs.precision is irprune.Precision.MODEL
    assert report.costs.model_size == 108 + 4 * 4 + 5 * 256
