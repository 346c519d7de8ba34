"""ONNX's own single-node cases: each is run, or refused for a reason given here."""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import irprune

OPERATORS = {
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "GRU",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Upsample",
}

ACTIVATIONS = {
    "QLinearMatMul": (0, 3),
    "ConvInteger": (0,),
    "MatMulInteger": (0, 1),
} | dict.fromkeys(
    ("Add", "Concat", "Div", "MatMul", "Max", "Min", "Mul", "Sub", "Sum"), tuple(range(9))
)
"""The operands that are no parameters; the first only, where nothing is said."""

UNREAD = {"Mean", "InvStdDev"}
"""Outputs of training that are left out of a case; its other outputs are compared."""

REFUSED = {
    r"(averagepool|convtranspose|maxpool)_3d": "3 spatial dimensions are not supported",
    r"batchnorm_\w+_training_mode": "training_mode is not supported",
    r"training_dropout": "training_mode",
    r"(e4m3fn|e5m2|float4e2m1|uint4|int4|uint2|int2)(_|$)": "element type",
    r"linear_blocked": "scales for blocks are not supported",
    r"identity_(sequence|opt)": "is no tensor",
    r"maxpool_with_argmax": "output 'z' is not supported",
    r"wrap_pad": "mode 'wrap' is not supported",
    r"reduce_max_\w*bool": "wants numbers, not bool",
    r"resize_\w*cubic": "mode 'cubic' is not supported",
    r"resize_tf_crop_and_resize": "tf_crop_and_resize",
    r"resize_\w*antialias": "antialias is not supported",
    r"spacetodepth_crd_mode": "mode 'CRD' is not supported",
}
"""Why a case is refused, by its name."""

NOT_AS_RUNTIMES = {"test_resize_downsample_scales_linear_align_corners"}
"""Cases whose expected output onnxruntime does not give either: it divides by whole sizes."""


@cache
def cases() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the cases overflow on purpose
        found = collect_testcases(None)
    return {case.name: case for case in found if is_listed(case.model)}


def is_listed(model: onnx.ModelProto | None) -> bool:
    nodes = [] if model is None else list(model.graph.node)
    return len(nodes) == 1 and nodes[0].op_type in OPERATORS


def bound(case: Any) -> tuple[onnx.ModelProto, dict[str, Any], list[Any]]:
    """The case as a model with its parameters inside, its inputs by name, its outputs in order."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    inputs, outputs = case.data_sets[0]
    data = {port.name: array for port, array in zip(graph.input, inputs, strict=True)}
    operands = list(graph.node[0].input)
    activations = {
        operands[i] for i in ACTIVATIONS.get(graph.node[0].op_type, (0,))[: len(operands)]
    }
    kept = []
    for port in graph.input:
        if port.name in activations or not isinstance(data[port.name], np.ndarray | np.generic):
            kept.append(port)
        else:
            array = np.asarray(data[port.name])
            graph.initializer.append(numpy_helper.from_array(array, port.name))
    del graph.input[:]
    graph.input.extend(kept)
    wanted = [
        array for port, array in zip(graph.output, outputs, strict=True) if port.name not in UNREAD
    ]
    left = [port for port in graph.output if port.name not in UNREAD]
    del graph.output[:]
    graph.output.extend(left)
    return model, data, wanted


def refusal(name: str) -> str | None:
    reasons = [why for pattern, why in REFUSED.items() if re.search(pattern, name)]
    return reasons[0] if reasons else None


@pytest.mark.parametrize("name", sorted(cases()))
def test_a_node(name: str) -> None:
    model, data, wanted = bound(cases()[name])
    reason = refusal(name)
    if reason is not None:
        with pytest.raises(irprune.IrpruneError, match=re.escape(reason)):
            irprune.load(model)
        return
    graph = irprune.load(model)
    found = irprune.run(graph, [data[value.name] for value in graph.inputs])
    assert len(found) == len(wanted)
    if name in NOT_AS_RUNTIMES:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        wanted = session.run(None, {value.name: data[value.name] for value in graph.inputs})
    for y, expected in zip(found, wanted, strict=True):
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_most_cases_run() -> None:
    assert sum(refusal(name) is None for name in cases()) >= 300
    unused = [p for p in REFUSED if not any(re.search(p, name) for name in cases())]
    assert unused == []
