"""Costs against worked figures: SpArSe's LeNet, and nets small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.ops import (
    Add,
    AveragePool2d,
    Conv2d,
    Dense,
    Dequantize,
    Div,
    Expand,
    Flatten,
    MatMul,
    MaxPool2d,
    Mul,
    Quantize,
    ReduceMean,
    ReduceSum,
    Relu,
    Sub,
)
from irprune.ir.types import Array, DType, Quant
from irprune.passes.analysis.costs import costs
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.pipeline import deployed


def weights(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def conv(b: Builder, x: Value, out: int, kernel: int, op: Conv2d) -> Value:
    w = b.constant("w", weights(out, x.type.shape[1] // op.groups, kernel, kernel))
    return b.add(op, x, w, b.constant("b", weights(out)))


def dense(b: Builder, x: Value, out: int) -> Value:
    w = b.constant("w", weights(out, x.type.shape[-1]))
    return b.add(Dense(), x, w, b.constant("b", weights(out)))


def lenet() -> Graph:
    """LeNet with 20 and 50 channels and 500 units, as Caffe has it."""
    b = Builder("lenet")
    x = b.input("x", (1, 1, 28, 28))
    y = conv(b, x, 20, 5, Conv2d())
    y = b.add(MaxPool2d((2, 2), (2, 2)), y)
    y = conv(b, y, 50, 5, Conv2d())
    y = b.add(MaxPool2d((2, 2), (2, 2)), y)
    y = dense(b, b.add(Flatten(), y), 500)
    return b.finish([dense(b, y, 10)])


def test_working_memory_of_lenet(shared: Path) -> None:
    case = json.loads((shared / "cases" / "formulas.json").read_text())["sparse_lenet"]
    found = costs(lenet(), Precision.INT8)
    biases = 20 + 50 + 500 + 10
    assert found.parameters == case["model_size"] + biases
    assert found.model_size == case["model_size"] + 4 * biases
    assert found.working_memory_5 == case["wm1"]
    assert found.working_memory_6 == case["wm2"]
    layers = [n for n in found.nodes if n.working_memory_6]
    assert [n.working_memory_5 for n in layers] == [c["x"] + c["w"] for c in case["layers"]]
    assert [n.working_memory_6 for n in layers] == [c["x"] + c["y"] for c in case["layers"]]


def test_a_merge_reads_both_summands(shared: Path) -> None:
    case = json.loads((shared / "cases" / "formulas.json").read_text())["sparse_merge"]
    b = Builder("merge")
    x1, x2 = b.input("x1", (1, case["x1"])), b.input("x2", (1, case["x2"]))
    found = costs(b.finish([b.add(Add(), x1, x2)]), Precision.INT8)
    assert found.working_memory_5 == case["wm1"]
    assert found.working_memory_6 == case["wm2"]
    assert found.peak_sram == case["x1"] + case["x2"]  # in place, unlike SpArSe's model


def test_macs_by_hand() -> None:
    b = Builder("macs")
    x = b.input("x", (1, 4, 8, 8))
    pointwise = conv(b, x, 6, 1, Conv2d())
    depthwise = conv(b, pointwise, 6, 3, Conv2d(padding=((1, 1), (1, 1)), groups=6))
    total = b.add(Add(), pointwise, depthwise, depthwise)
    less = b.add(Sub(activation=Relu()), total, pointwise)
    scaled = b.add(Mul(), less, less)
    pooled = b.add(AveragePool2d((3, 3), (2, 2)), scaled)
    mean = b.add(ReduceMean((2, 3), keepdims=False), pooled)
    y = dense(b, mean, 5)
    found = costs(b.finish([y]), Precision.INT8)
    by_weights = [64 * 6 * 4, 64 * 6 * 9]
    others = [2 * 6 * 64, 6 * 64, 0, 6 * 3 * 3 * 9, 6 * 3 * 3]
    assert [n.macs for n in found.nodes] == [*by_weights, *others, 5 * 6]
    assert found.macs == sum(by_weights) + sum(others) + 5 * 6
    assert found.macs_weights == sum(by_weights) + 5 * 6


def test_a_product_of_activations_is_no_product_by_weights() -> None:
    b = Builder("attention")
    x, y = b.input("x", (2, 3, 4)), b.input("y", (2, 4, 5))
    found = costs(b.finish([b.add(MatMul(), x, y)]), Precision.INT8)
    assert (found.macs, found.macs_weights) == (2 * 3 * 4 * 5, 0)


def test_precision_sets_the_width_of_numbers() -> None:
    graph = lenet()
    weight_count, bias_count = 430_500, 580
    assert default_precision(graph) is Precision.INT8
    as_float = costs(graph, Precision.FLOAT32)
    assert as_float.model_size == 4 * (weight_count + bias_count)
    assert as_float.peak_sram == 4 * (11_520 + 2_880)
    assert costs(graph, Precision.MODEL).model_size == as_float.model_size


def test_a_quantized_model_is_counted_in_its_own_types() -> None:
    b = Builder("quantized")
    quant = Quant((0.5,), (0,))
    x = b.input("x", (1, 10), DType.I16, quant)
    w = b.constant("w", np.ones((3, 10), np.int8), quant)
    bias = b.constant("b", np.ones(3, np.int64), Quant((0.25,), (0,)))
    graph = b.finish([b.add(Dense(), x, w, bias, quant=quant)])
    assert default_precision(graph) is Precision.MODEL
    own = costs(graph, Precision.MODEL)
    assert (own.peak_sram, own.model_size) == (2 * 10 + 2 * 3, 30 + 8 * 3)
    int8 = costs(graph, Precision.INT8)
    assert (int8.peak_sram, int8.model_size) == (10 + 3, 30 + 4 * 3)


def test_a_weight_used_twice_is_stored_once() -> None:
    b = Builder("tied")
    x = b.input("x", (1, 7))
    w = b.constant("w", weights(7, 7))
    found = costs(b.finish([b.add(Dense(), b.add(Dense(), x, w), w)]), Precision.INT8)
    assert [n.parameters for n in found.nodes] == [49, 0]
    assert (found.parameters, found.macs) == (49, 98)


def test_inputs_can_be_left_out() -> None:
    b = Builder("inputs")
    graph = b.finish([dense(b, b.input("x", (1, 100)), 10)])
    found = costs(graph, Precision.INT8, exclude_inputs=True)
    assert (found.peak_sram, found.peak_sram_imprecise, found.working_memory_6) == (10, 10, 10)
    assert found.working_memory_5 == 1000


def test_an_expansion_for_arithmetic_is_free() -> None:
    """A vector divided by its own sum; the same where each step is quantized."""
    n = 64
    b = Builder("normalize")
    x = b.input("x", (1, n))
    total = b.add(ReduceSum((1,)), x)
    graph = b.finish([b.add(Div(), x, b.add(Expand((1, n)), total))])
    assert costs(deployed(graph), Precision.INT8).peak_sram == n + n + 1
    b = Builder("quantized")
    quant = Quant((0.1,), (0,))
    x, row = (b.input(name, shape, DType.I8, quant) for name, shape in (("x", (4, n)), ("r", (n,))))
    expanded = b.add(Expand((4, n)), b.add(Dequantize(), row))
    stored = b.add(Quantize(DType.I8, quant), expanded)
    y = b.add(Add(), b.add(Dequantize(), x), b.add(Dequantize(), stored))
    graph = b.finish([b.add(Quantize(DType.I8, quant), y)])
    assert [type(node.op) for node in deployed(graph).nodes] == [Add]
    assert costs(deployed(graph), Precision.MODEL).peak_sram == 4 * n + n
