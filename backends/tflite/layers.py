"""Rows of the table for layers: convolutions, dense layers, pools and what is between reals."""

from __future__ import annotations

from dataclasses import replace

import tflite

from irprune.backends.tflite.record import Call, Constant, Operand, Record, require
from irprune.ir import ops
from irprune.ir.errors import UnsupportedOp
from irprune.ir.op import Op
from irprune.ir.ops.conv import Pair
from irprune.ir.types import Quant
from irprune.passes.rewrite.explicit_padding import NONE, is_same, is_transposed_same

_ACTIVATIONS: dict[Op | None, int] = {
    None: tflite.ActivationFunctionType.NONE,
    ops.Relu(): tflite.ActivationFunctionType.RELU,
    ops.Relu6(): tflite.ActivationFunctionType.RELU6,
    ops.Clip(-1.0, 1.0): tflite.ActivationFunctionType.RELU_N1_TO_1,
}


def fused(activation: Op | None) -> dict[str, int]:
    """The option of a fused activation."""
    if activation not in _ACTIVATIONS:
        raise UnsupportedOp(f"no fused {type(activation).__name__}")
    return {"FusedActivationFunction": _ACTIVATIONS[activation]}


def conv_2d(call: Call) -> Record:
    """CONV_2D, also in groups; DEPTHWISE_CONV_2D where each group is one channel."""
    op = call.node.op
    assert isinstance(op, ops.Conv2d)
    _expect_images(op.layout)
    weights, w, bias = call.array(1), call.node.inputs[1], _bias(call)
    kernel = _pair(weights.shape[1:3])
    valid = op.padding == NONE
    same = is_same(op, _pair(call.x.type.shape[1:3]), kernel)
    require(valid or same, f"padding {op.padding} is neither SAME nor VALID")
    fields = {
        "Padding": tflite.Padding.VALID if valid else tflite.Padding.SAME,
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
        "DilationHFactor": op.dilation[0],
        "DilationWFactor": op.dilation[1],
    } | fused(op.activation)
    channels = call.x.type.shape[3]
    if op.groups != channels or channels == 1:
        return Record("CONV_2D", (call.x, w, *bias), "Conv2DOptions", fields)
    fields |= {"DepthMultiplier": weights.shape[0] // channels}
    quant = w.type.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, axis=3)
    depthwise = call.constant("depthwise", weights.transpose(3, 1, 2, 0), quant)
    operands: tuple[Operand, ...] = (call.x, depthwise, *bias)
    return Record("DEPTHWISE_CONV_2D", operands, "DepthwiseConv2DOptions", fields)


def transpose_conv(call: Call) -> Record:
    """TRANSPOSE_CONV, whose first operand is the shape of the result."""
    op = call.node.op
    assert isinstance(op, ops.ConvTranspose2d)
    _expect_images(op.layout)
    require(op.groups == 1, f"{op.groups} groups")
    require(op.dilation == (1, 1), f"dilation {op.dilation}")
    w, bias = call.node.inputs[1], _bias(call)
    kernel, size, made = (_pair(v.type.shape[1:3]) for v in (w, call.x, call.output))
    same = is_transposed_same(op, size, made, kernel)
    require(op.padding == NONE or same, f"padding {op.padding} is neither SAME nor VALID")
    fields = {
        "Padding": tflite.Padding.VALID if op.padding == NONE else tflite.Padding.SAME,
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
    } | fused(op.activation)
    shape = call.integers("shape", call.output.type.shape)
    return Record("TRANSPOSE_CONV", (shape, w, call.x, *bias), "TransposeConvOptions", fields)


def fully_connected(call: Call) -> Record:
    """FULLY_CONNECTED over the last axis."""
    op = call.node.op
    assert isinstance(op, ops.Dense)
    x, w, *bias = call.node.inputs
    require(x.type.rank >= 2, f"an operand of rank {x.type.rank}")
    fields = {"KeepNumDims": x.type.rank != 2} | fused(op.activation)
    operands: tuple[Operand, ...] = (x, w, *bias) if bias else (x, w, None)
    return Record("FULLY_CONNECTED", operands, "FullyConnectedOptions", fields)


def batch_matmul(call: Call) -> Record:
    """BATCH_MATMUL."""
    op = call.node.op
    assert isinstance(op, ops.MatMul)
    require(op.activation is None, "a fused activation")
    fields = {"AdjX": op.transpose_a, "AdjY": op.transpose_b}
    return Record("BATCH_MATMUL", call.node.inputs, "BatchMatMulOptions", fields)


def pool(call: Call) -> Record:
    """MAX_POOL_2D and AVERAGE_POOL_2D."""
    op = call.node.op
    assert isinstance(op, ops.MaxPool2d | ops.AveragePool2d)
    _expect_images(op.layout)
    require(op.dilation == (1, 1), f"dilation {op.dilation}")
    require(not op.ceil, "windows that hang over the end")
    counts = isinstance(op, ops.AveragePool2d) and op.count_padding and op.padding != NONE
    require(not counts, "padding that counts")
    same = is_same(op, _pair(call.x.type.shape[1:3]), op.kernel)
    require(op.padding == NONE or same, f"padding {op.padding} is neither SAME nor VALID")
    fields = {
        "Padding": tflite.Padding.VALID if op.padding == NONE else tflite.Padding.SAME,
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
        "FilterHeight": op.kernel[0],
        "FilterWidth": op.kernel[1],
    } | fused(op.activation)
    kind = "MAX_POOL_2D" if isinstance(op, ops.MaxPool2d) else "AVERAGE_POOL_2D"
    return Record(kind, (call.x,), "Pool2DOptions", fields)


def quantize(call: Call) -> Record:
    """QUANTIZE; between integers it requantizes. Halves are rounded away from zero."""
    op = call.node.op
    assert isinstance(op, ops.Quantize)
    require(
        call.x.type.quant is not None or op.halves == "away",
        "halves rounded to even, as in ONNX: compile the float model",
    )
    _expect_per_tensor(op.quant)
    return Record("QUANTIZE", (call.x,), "QuantizeOptions")


def dequantize(call: Call) -> Record:
    """DEQUANTIZE."""
    quant = call.x.type.quant
    assert quant is not None
    _expect_per_tensor(quant)
    return Record("DEQUANTIZE", (call.x,), "DequantizeOptions")


def _bias(call: Call) -> tuple[Operand, ...]:
    """The bias, if there is one, without scales a channel.

    They are products of two others that are in the file, kernels do not read them, and they would
    be a fifth of all that is not weights.
    """
    if len(call.node.inputs) < 3:
        return ()
    value = call.node.inputs[2]
    quant = value.type.quant
    if quant is None or quant.axis is None:
        return (value,)
    return (Constant(value.name, call.array(2)),)


def _expect_images(layout: str) -> None:
    require(layout == "NHWC", f"images in {layout}")


def _expect_per_tensor(quant: Quant) -> None:
    require(quant.axis is None, "one scale a channel")


def _pair(numbers: tuple[int, ...]) -> Pair:
    height, width = numbers
    return height, width
