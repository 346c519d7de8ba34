"""Models that onnxruntime's quantizer made, and operators on integers, beside onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import irprune
from irprune.ir.op import Op
from irprune.ir.ops import Conv2d, Dense, Dequantize, Identity
from irprune.ir.types import Array, DType, Quant, Shape
from irprune.zoo.registry import build
from tests.exporting import make_distinct
from tests.onnx_models import Form, agrees_with_onnxruntime, ints, node, reals, scalar

real = reals(3)

NETWORK = Form(
    "network",
    13,
    [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2", "c2", group=4, pads=[1, 1, 1, 1]),
        node("LeakyRelu", "c2", "l2", alpha=0.1),
        node("Add", "l2 p1", "a"),
        node("Sigmoid", "a", "s"),
        node("Mul", "s a", "m"),
        node("Concat", "m p1", "k", axis=1),
        node("AveragePool", "k", "ap", kernel_shape=[2, 2]),
        node("Conv", "ap w3", "c3"),
        node("GlobalAveragePool", "c3", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w4 b4", "d"),
        node("MatMul", "d w5", "e"),
        node("Softmax", "e", "y", axis=1),
    ],
    {"x": (1, 3, 8, 8)},
    {
        "w1": real(4, 3, 3, 3) / 4,
        "b1": real(4) / 4,
        "w2": real(4, 1, 3, 3) / 2,
        "w3": real(6, 8, 1, 1) / 2,
        "w4": real(6, 10) / 2,
        "b4": real(10) / 4,
        "w5": real(10, 5) / 2,
    },
    "y e",
)


class Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Eight random inputs."""

    def __init__(self, name: str, shape: Shape) -> None:
        rng = np.random.default_rng(2)
        arrays = rng.normal(0, 1, (8, *shape)).astype(np.float32)
        self._left: Iterator[dict[str, Array]] = iter([{name: array} for array in arrays])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)


def quantized(model: onnx.ModelProto, path: Path, **options: object) -> None:
    """Write the model as onnxruntime quantizes it, its weights to int8."""
    onnx.save(model, path.with_suffix(".float.onnx"))
    (x,) = model.graph.input
    shape = tuple(d.dim_value for d in x.type.tensor_type.shape.dim)
    logging.disable(logging.WARNING)  # it advises to optimize first
    try:
        quantize_static(
            path.with_suffix(".float.onnx"),
            path,
            Samples(x.name, shape),
            weight_type=QuantType.QInt8,
            **options,
        )
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_a_quantized_network(
    tmp_path: Path, form: QuantFormat, activations: QuantType, per_channel: bool
) -> None:
    quantized(
        NETWORK.model(),
        tmp_path / "m.onnx",
        quant_format=form,
        activation_type=activations,
        per_channel=per_channel,
    )
    graph = irprune.load(tmp_path / "m.onnx")
    integer = irprune.deployed(graph)
    layers = [n for n in integer.nodes if isinstance(n.op, Conv2d | Dense)]
    assert {n.inputs[1].type.dtype for n in layers} == {DType.I8}
    assert len(layers) == 5
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", options)
    rng = np.random.default_rng(3)
    for _ in range(4):
        x = rng.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
        for variant in (graph, integer):
            found = irprune.run(variant, [x])
            for y, wanted in zip(found, session.run(None, {"x": x}), strict=True):
                # Some of the 255 steps: a tie that is broken otherwise grows from layer to layer.
                assert np.ptp(wanted) > 0
                np.testing.assert_allclose(y, wanted, atol=np.ptp(wanted) / 24)


def zoo_model(path: Path) -> onnx.ModelProto:
    """MicroNets' KWS-S as torch exports it, with a Pad of its own before the first layer."""
    torch.manual_seed(0)
    module, inputs = build("micronet_kws_s")
    module.eval()
    make_distinct(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all are about torch's own exporter
        torch.onnx.export(module, inputs, path, dynamo=False)
    return onnx.load(path)


@pytest.mark.parametrize(
    ("activations", "dtype"),
    [
        (QuantType.QInt8, DType.I8),
        (QuantType.QInt16, DType.I16),
        (QuantType.QUInt16, DType.U16),
    ],
)
def test_a_network_costs_what_its_integers_do(
    tmp_path: Path, activations: QuantType, dtype: DType
) -> None:
    path = tmp_path / "m.onnx"
    quantized(zoo_model(tmp_path / "zoo.onnx"), path, activation_type=activations)
    graph = irprune.load(path)
    integer = irprune.deployed(graph)
    assert {v.type.dtype for n in integer.nodes[:-1] for v in n.outputs} == {dtype}
    costs = irprune.analyze(graph).costs
    # Liberis & Lane, Table 3, for bytes; biases are 8 bytes beside activations of 16 bits.
    wide = dtype.itemsize - 1
    biases = 8 * 84 + 2 * 112 + 196 + 12  # the channels that its twelve layers make
    assert (costs.macs, costs.peak_sram) == (8_351_252, 51_660 * dtype.itemsize)
    assert costs.model_size == 63_552 + wide * 4 * biases
    x = np.random.default_rng(3).normal(0, 1, (1, 1, 49, 10)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(path).run(None, {graph.inputs[0].name: x})
    for variant in (graph, integer):
        (y,) = irprune.run(variant, [x])
        np.testing.assert_allclose(y, wanted, atol=np.ptp(wanted) / (2000 if wide else 24))


def on_integers(name: str, op: str, operands: str, **more: object) -> Form:
    """Reals quantized, one operator on the integers, and back to reals."""
    tensors = {key: value for key, value in more.items() if isinstance(value, np.ndarray)}
    attributes = {key: value for key, value in more.items() if key not in tensors}
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node(op, operands, "i", **attributes),
        node("DequantizeLinear", "i s z"),
    ]
    tensors |= {"s": scalar(0.02), "z": np.asarray(-7, np.int8)}
    return Form(name, 13, nodes, {"x": (1, 4, 6, 6)}, tensors)


MOVES = [
    on_integers("reshape", "Reshape", "q to", to=ints(4, -1)),
    on_integers("transpose", "Transpose", "q", perm=[0, 2, 3, 1]),
    on_integers("max_pool", "MaxPool", "q", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    on_integers("concat", "Concat", "q q", axis=1),
    on_integers("pad", "Pad", "q p v", p=ints(0, 0, 1, 1, 0, 0, 2, 0), v=np.asarray(9, np.int8)),
    on_integers("resize", "Resize", "q - - to", to=ints(1, 4, 9, 3), nearest_mode="floor"),
    on_integers("slice", "Slice", "q a b", a=ints(0, 1), b=ints(1, 3)),
    on_integers("gather", "Gather", "q at", at=ints(2, 0), axis=1),
]


@pytest.mark.parametrize("form", MOVES, ids=lambda form: form.name)
def test_a_move_of_integers(form: Form) -> None:
    agrees_with_onnxruntime(form)


BYTES = np.random.default_rng(4).integers(0, 255, (1, 3, 7, 6)).astype(np.uint8)


def integer_model(*nodes: onnx.NodeProto, x: Array, **tensors: Array) -> onnx.ModelProto:
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        list(nodes),
        "integers",
        [helper.make_tensor_value_info("x", element, x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def byte(*numbers: int) -> Array:
    return np.asarray(numbers if len(numbers) > 1 else numbers[0], np.uint8)


W8 = np.random.default_rng(5).integers(0, 255, (4, 3, 3, 2)).astype(np.uint8)
M8 = np.random.default_rng(6).integers(0, 255, (6, 5)).astype(np.uint8)
INTEGER = [
    (node("ConvInteger", "x w", "i", pads=[1, 1, 0, 0]), {"w": W8}),
    (node("ConvInteger", "x w a b", "i", strides=[2, 1]), {"w": W8, "a": byte(3), "b": byte(7)}),
    (node("MatMulInteger", "x w", "i"), {"w": M8}),
    (node("MatMulInteger", "x w a b", "i"), {"w": M8, "a": byte(9), "b": byte(1, 2, 3, 4, 5)}),
]


@pytest.mark.parametrize(("layer", "tensors"), INTEGER)
def test_a_product_of_integers(layer: onnx.NodeProto, tensors: dict[str, Array]) -> None:
    """Followed, as the dynamic quantizer does, by a cast and a multiplication by the scales."""
    scaled = [node("Cast", "i", "f", to=TensorProto.FLOAT), node("Mul", "f s")]
    model = integer_model(layer, *scaled, x=BYTES, s=scalar(0.01), **tensors)
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": BYTES})
    graph = irprune.load(model)
    assert np.array_equal(irprune.run(graph, [BYTES])[0], wanted)
    assert np.ptp(wanted) > 1


def test_an_input_of_integers_says_what_they_stand_for() -> None:
    tensors = {"s": scalar(0.5), "z": byte(3)}
    model = integer_model(node("DequantizeLinear", "x s z"), x=BYTES, **tensors)
    graph = irprune.load(model)
    (x,) = graph.inputs
    assert (x.name, x.type.dtype, x.type.quant) == ("x", DType.U8, Quant((0.5,), (3,)))
    assert [type(n.op) for n in graph.nodes] == [Dequantize]
    assert np.array_equal(irprune.run(graph, [BYTES])[0], (BYTES.astype(np.float32) - 3) / 2)


def test_an_input_of_integers_that_is_an_output_too_stays_plain() -> None:
    tensors = {"s": scalar(0.5), "z": byte(3)}
    model = integer_model(node("DequantizeLinear", "x s z"), x=BYTES, **tensors)
    model.graph.output.append(onnx.ValueInfoProto(name="x"))
    graph = irprune.load(model)
    assert graph.inputs[0].type.quant is None
    assert [type(n.op) for n in graph.nodes] == [Identity, Dequantize]
    found, same = irprune.run(graph, [BYTES])
    assert np.array_equal(found, (BYTES.astype(np.float32) - 3) / 2)
    assert np.array_equal(same, BYTES)


def operators(graph: irprune.Graph) -> list[type[Op]]:
    return [type(n.op) for n in graph.nodes]


@pytest.mark.parametrize("rank", [3, 4])
def test_weights_stay_integers(rank: int) -> None:
    """Also where they are given another rank on the way, and for each channel its own scale."""
    stored = np.random.default_rng(7).integers(-127, 127, (4, 3, *[3] * (rank - 2))).astype(np.int8)
    scales = np.asarray([0.01, 0.02, 0.03, 0.04], np.float32)
    nodes = [
        node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("Conv", "x wd", "c"),
        node("QuantizeLinear", "c s z", "q"),
        node("DequantizeLinear", "q s z"),
    ]
    tensors: dict[str, Array] = {"w": stored, "ws": scales, "wz": np.zeros(4, np.int8)}
    tensors |= {"s": scalar(0.1), "z": np.asarray(1, np.int8)}
    form = Form("weights", 13, nodes, {"x": (1, 3, *[6] * (rank - 2))}, tensors)
    agrees_with_onnxruntime(form)
    graph = irprune.load(form.model())
    (constant,) = graph.constants
    assert constant.type.dtype is DType.I8
    assert constant.type.quant == Quant(tuple(map(float, scales)), (0,) * 4, 0)
    assert graph.constants[constant].ravel().tolist() == stored.ravel().tolist()


@pytest.mark.parametrize("swapped", [0, 1])
def test_weights_of_a_dense_layer_stay_integers(swapped: int) -> None:
    stored = np.random.default_rng(8).integers(-127, 127, (6, 5)).astype(np.int8)
    nodes = [
        node("DequantizeLinear", "w s z", "wd", axis=1),
        node("Gemm", "x wd", transB=swapped, alpha=0.5),
    ]
    scales = np.linspace(0.01, 0.05, 5).astype(np.float32)
    tensors: dict[str, Array] = {"w": stored, "s": scales, "z": np.zeros(5, np.int8)}
    form = Form("dense", 13, nodes, {"x": (2, 5 if swapped else 6)}, tensors)
    agrees_with_onnxruntime(form)
    graph = irprune.load(form.model())
    (weights,) = (v for v in graph.constants if v.type.quant is not None)
    assert weights.type.quant is not None
    assert (weights.type.shape, weights.type.quant.axis) == (
        ((6, 5), 1) if swapped else ((5, 6), 0)
    )


def test_weights_that_are_quantized_on_the_way() -> None:
    """As quantization-aware training exports them: reals, to integers and back."""
    nodes = [
        node("QuantizeLinear", "w s z", "wq"),
        node("DequantizeLinear", "wq s z", "wd"),
        node("Conv", "x wd"),
    ]
    tensors = {"w": real(4, 3, 3, 3), "s": scalar(0.02), "z": np.asarray(0, np.int8)}
    form = Form("trained", 13, nodes, {"x": (1, 3, 6, 6)}, tensors)
    agrees_with_onnxruntime(form)
    graph = irprune.load(form.model())
    assert operators(graph) == [Dequantize, Conv2d]
    (constant,) = graph.constants
    assert constant.type.dtype is DType.I8


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (["DequantizeLinear q t z i", "Relu i y"], "another scale"),
        (["Add q q i", "DequantizeLinear i s z y"], "Add"),
        (["Concat q r i", "DequantizeLinear i s z y"], "Concat"),
    ],
)
def test_what_would_compute_with_integers_is_refused(nodes: list[str], words: str) -> None:
    made = [node("QuantizeLinear", "x s z", "q"), node("QuantizeLinear", "x t z", "r")]
    for text in nodes:
        op, *operands, result = text.split()
        attributes = {"axis": 1} if op == "Concat" else {}
        made.append(node(op, " ".join(operands), result, **attributes))
    tensors = {"s": scalar(0.02), "t": scalar(0.03), "z": np.asarray(0, np.int8)}
    form = Form("mixed", 14, made, {"x": (1, 4)}, tensors)
    with pytest.raises(irprune.IrpruneError, match=words):
        irprune.load(form.model())


def test_scales_that_are_computed_are_refused() -> None:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")]
    form = Form("dynamic", 13, nodes, {"x": (1, 4), "s": ()}, {"z": np.asarray(0, np.int8)})
    with pytest.raises(irprune.IrpruneError, match="scale 's' is not constant"):
        irprune.load(form.model())
