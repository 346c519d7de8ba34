"""Quantized models, in the one form that the IR has: integers, reals in between, integers.

QDQ models come in this form. QLinear operators, which take integers and give integers, are
lowered to it: Dequantize, the operator on reals, Quantize. So are ConvInteger and MatMulInteger,
whose integers stand for themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from irprune.frontends.onnx.call import Call, Lowering
from irprune.frontends.onnx.constants import AS_INTEGERS
from irprune.frontends.onnx.convolution import affine, convolve, multiply
from irprune.frontends.onnx.elementwise import along_axis
from irprune.frontends.onnx.scope import Operand, Stored
from irprune.frontends.onnx.tensors import dtype_of
from irprune.frontends.onnx.windows import average, spatial_axes
from irprune.ir.graph import Graph, Value, readers
from irprune.ir.op import Op, normalize_axis
from irprune.ir.ops import (
    Concat,
    Dequantize,
    Identity,
    LeakyRelu,
    Quantize,
    ReduceMean,
    Sigmoid,
    Softmax,
)
from irprune.ir.types import DType, Quant, TensorType, dims

_TO_INT32 = Quantize(DType.I32, AS_INTEGERS)


def quantize_linear(call: Call) -> Value:
    """QuantizeLinear with constant scales, one for the tensor or one for each index of an axis."""
    call.ignore("saturate")  # of eight-bit floats
    call.expect(call.int_("precision", 0) == 0, "a precision is not supported")
    declared = call.int_("output_dtype", 0)
    dtype = dtype_of(declared) if declared else DType.U8
    if call.has(2):
        dtype = call.operand(2).type.dtype
    x = call.operand(0)
    return call.emit(Quantize(dtype, _declared_quant(call, x.type)), x)


def dequantize_linear(call: Call) -> Operand:
    """DequantizeLinear with constant scales."""
    declared = call.int_("output_dtype", 0)
    x = call.value(0)
    dtype = dtype_of(declared) if declared else call.operand(1).type.dtype
    return _reals(call, x, _declared_quant(call, x.type), dtype)


def _declared_quant(call: Call, x: TensorType) -> Quant:
    """The quantization that operands 1 and 2 and the node's attributes describe."""
    call.expect(call.int_("block_size", 0) == 0, "scales for blocks are not supported")
    axis = call.int_("axis", 1)
    several = call.array(1, "scale").size > 1
    return _quant(call, 1, x, normalize_axis(axis, x.rank) if several else None)


def _quant(call: Call, scale: int, x: TensorType, axis: int | None = None) -> Quant:
    """The quantization that a scale and the zero point after it describe.

    Args:
        call: the node.
        scale: the position of the scale among the operands.
        x: the type of what is quantized.
        axis: the axis along which there may be several scales.

    Raises:
        UnsupportedOp: they are not constant, or are for blocks or several axes.
    """
    scales = call.array(scale, "scale")
    zeros = call.array(scale + 1, "zero point") if call.has(scale + 1) else np.zeros_like(scales)
    numbers = tuple(map(float, scales.ravel()))
    zero_points = tuple(map(int, zeros.ravel()))
    if len(numbers) == 1:
        return Quant(numbers, zero_points)
    if axis is None or scales.ndim != 1 or scales.size != x.shape[axis]:
        call.expect(False, f"scales of shape {dims(scales.shape)} for {dims(x.shape)}")
    return Quant(numbers, zero_points, axis)


def _reals(call: Call, x: Value, quant: Quant, dtype: DType, part: str = "") -> Operand:
    """What stored integers stand for under a quantization."""
    found = x.type.quant
    call.expect(found in (None, quant), "reads integers under another scale than they have")
    name = f"{call.source.name}.{part}" if part else call.outputs[0]
    if call.scope.array(x) is not None:
        return Stored(call.scope.labelled(x, quant), dtype, name, call.source)
    if found is None:
        x = call.emit(Identity(), x, part=f"{part or 'x'}.stored", quant=quant)
    return call.emit(Dequantize(dtype), x, part=part)


def _real(call: Call, index: int, axis: int | None = None) -> Operand:
    """The reals of an operand that is followed by its scale and zero point."""
    x = call.value(index)
    return _reals(call, x, _quant(call, index + 1, x.type, axis), DType.F32, f"real{index}")


def _integers(call: Call, y: Operand, scale: int) -> Value:
    """The node's result: reals under the quantization that two operands describe."""
    dtype = call.operand(scale + 1).type.dtype if call.has(scale + 1) else DType.U8
    return call.emit(Quantize(dtype, _quant(call, scale, y.type)), y)


def qlinear_conv(call: Call) -> Value:
    """QLinearConv."""
    x, weights = _real(call, 0), _real(call, 3, axis=0)
    bias = _bias(call, 8, 1, 4)
    return _integers(call, convolve(call, x, weights, bias, part="conv"), 6)


def qlinear_matmul(call: Call) -> Value:
    """QLinearMatMul, with one scale for A and one scale, or one a column, for B."""
    b = call.operand(3).type.rank - 1
    return _integers(call, multiply(call, _real(call, 0), _real(call, 3, b), part="product"), 6)


def qgemm(call: Call) -> Value:
    """com.microsoft's QGemm: Gemm of quantized operands, the bias an int32."""
    columns = 0 if call.int_("transB", 0) else 1
    a, b = _real(call, 0), _real(call, 3, columns)
    return _integers(call, affine(call, a, b, _bias(call, 6, 1, 4), part="gemm"), 7)


def _bias(call: Call, index: int, x_scale: int, weights_scale: int) -> Operand | None:
    """A bias of int32, whose scale is the product of the input's and the weights'."""
    if not call.has(index):
        return None
    factor = float(call.scalar(x_scale, "scale"))
    scales = tuple(factor * float(scale) for scale in call.numbers(weights_scale, "scale"))
    quant = Quant(scales, (0,) * len(scales), 0 if len(scales) > 1 else None)
    return _reals(call, call.value(index), quant, DType.F32, "bias")


def qlinear_binary(op: Op) -> Lowering:
    """The lowering of com.microsoft's QLinear form of an operator of two operands."""

    def lower(call: Call) -> Value:
        y = call.emit(op, _real(call, 0), _real(call, 3), part="reals")
        return _integers(call, y, 6)

    return lower


def qlinear_unary(function: Callable[[Call, Operand], Value]) -> Lowering:
    """The lowering of com.microsoft's QLinear form of an operator of one operand."""

    def lower(call: Call) -> Value:
        return _integers(call, function(call, _real(call, 0)), 3)

    return lower


def sigmoid_part(call: Call, x: Operand) -> Value:
    """Sigmoid of reals."""
    return call.emit(Sigmoid(), x, part="reals")


def leaky_relu_part(call: Call, x: Operand) -> Value:
    """LeakyRelu of reals."""
    return call.emit(LeakyRelu(call.float_("alpha", 0.01)), x, part="reals")


def softmax_part(call: Call, x: Operand) -> Value:
    """Softmax of reals, as in the opset that the node names."""
    return along_axis(call, Softmax, x, call.int_("opset"), part="reals")


def average_pool_part(call: Call, x: Operand) -> Value:
    """AveragePool of reals."""
    call.expect(call.int_("channels_last", 0) == 0, "channels_last is not supported")
    return average(call, x, part="reals")


def global_average_pool_part(call: Call, x: Operand) -> Value:
    """GlobalAveragePool of reals."""
    call.expect(call.int_("channels_last", 0) == 0, "channels_last is not supported")
    return call.emit(ReduceMean(spatial_axes(x)), x, part="reals")


def qlinear_concat(call: Call) -> Value:
    """com.microsoft's QLinearConcat: the result's scale and zero point, then three a part."""
    parts = [_real(call, i) for i in range(2, call.count, 3)]
    y = call.emit(Concat(call.int_("axis")), *parts, part="reals")
    return _integers(call, y, 0)


def conv_integer(call: Call) -> Value:
    """ConvInteger: a convolution of integers less their zero points, to int32."""
    x, weights = _less_zero(call, 0, 2), _less_zero(call, 1, 3, axis=0)
    return call.emit(_TO_INT32, convolve(call, x, weights, None, part="conv"))


def matmul_integer(call: Call) -> Value:
    """MatMulInteger: a product of integers less their zero points, to int32."""
    columns = call.operand(1).type.rank - 1
    a, b = _less_zero(call, 0, 2), _less_zero(call, 1, 3, axis=columns)
    return call.emit(_TO_INT32, multiply(call, a, b, part="product"))


def _less_zero(call: Call, index: int, zero: int, axis: int | None = None) -> Operand:
    """An operand's integers less their zero point, as reals."""
    x = call.value(index)
    zeros = call.ints(zero, "zero point") if call.has(zero) else (0,)
    several = axis if len(zeros) > 1 else None
    call.expect(len(zeros) == 1 or axis is not None, "several zero points")
    return _reals(call, x, Quant((1.0,) * len(zeros), zeros, several), DType.F32, f"real{index}")


def with_stored_inputs(graph: Graph) -> Graph:
    """The graph with the quantization of integer inputs, known from their readers, on themselves.

    ONNX says what integers stand for where they are read; the IR says it of the value. An input
    that is only ever read under one quantization can have it from the start.
    """
    labels = {value: label for value in graph.inputs if (label := _label(graph, value))}
    if not labels:
        return graph
    quantized = {
        value: Value(value.name, replace(value.type, quant=label))
        for value, label in labels.items()
    }
    renamed = {node.output: quantized[value] for value in labels for node in readers(graph)[value]}
    nodes = tuple(
        replace(node, inputs=tuple(renamed.get(value, value) for value in node.inputs))
        for node in graph.nodes
        if not renamed.keys() & set(node.outputs)
    )
    return Graph(
        graph.name,
        tuple(quantized.get(value, value) for value in graph.inputs),
        tuple(renamed.get(value, value) for value in graph.outputs),
        nodes,
        graph.constants,
    )


def _label(graph: Graph, value: Value) -> Quant | None:
    """The one quantization that all readers of an unquantized input give it."""
    if value in graph.outputs or value.type.quant is not None:
        return None
    nodes = readers(graph)[value]
    quants = {node.output.type.quant for node in nodes if isinstance(node.op, Identity)}
    all_label = all(isinstance(node.op, Identity) for node in nodes)
    return quants.pop() if all_label and len(quants) == 1 else None
