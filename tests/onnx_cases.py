"""ONNX's own single-node cases as models whose parameters are inside."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

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
    "Log",
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
