"""The lowering table: what each ONNX operator becomes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from irprune.frontends.onnx import (
    constants,
    convolution,
    elementwise,
    quantization,
    recurrent,
    resizing,
    shaping,
    windows,
)
from irprune.frontends.onnx.call import Lowering
from irprune.frontends.onnx.elementwise import binary, unary, variadic
from irprune.ir import ops

OF_CONSTANTS: Mapping[str, Lowering] = {
    "And": constants.elementwise(np.logical_and),
    "Ceil": constants.elementwise(np.ceil),
    "Equal": constants.elementwise(np.equal),
    "Floor": constants.elementwise(np.floor),
    "Greater": constants.elementwise(np.greater),
    "GreaterOrEqual": constants.elementwise(np.greater_equal),
    "Less": constants.elementwise(np.less),
    "LessOrEqual": constants.elementwise(np.less_equal),
    "Mod": constants.mod,
    "NonZero": constants.nonzero,
    "Not": constants.elementwise(np.logical_not),
    "Or": constants.elementwise(np.logical_or),
    "Range": constants.range_,
    "ReduceMin": constants.reduction(np.min, axes_since=18),
    "ReduceProd": constants.reduction(np.prod, axes_since=18),
    "Round": constants.elementwise(np.rint),
    "Tile": constants.tile,
    "Where": constants.where,
}
"""Operators that are known on constants alone."""

SHAPES = frozenset({"Shape", "Size"})
"""Operators whose results are constant whatever they read."""

STANDARD: Mapping[str, Lowering] = {
    "Abs": unary(ops.Abs()),
    "Add": binary(ops.Add()),
    "AveragePool": windows.average_pool,
    "BatchNormalization": elementwise.batch_norm,
    "Cast": constants.cast,
    "CastLike": constants.cast_like,
    "Clip": elementwise.clip,
    "Concat": shaping.concat,
    "Constant": constants.constant,
    "ConstantOfShape": constants.constant_of_shape,
    "Conv": convolution.conv,
    "ConvInteger": quantization.conv_integer,
    "ConvTranspose": convolution.conv_transpose,
    "DepthToSpace": shaping.depth_to_space,
    "DequantizeLinear": quantization.dequantize_linear,
    "Div": binary(ops.Div()),
    "Dropout": elementwise.dropout,
    "Elu": elementwise.elu,
    "Erf": unary(ops.Erf()),
    "Exp": unary(ops.Exp()),
    "Expand": shaping.expand,
    "Flatten": shaping.flatten,
    "Gather": shaping.gather,
    "Gelu": elementwise.gelu,
    "Gemm": convolution.gemm,
    "GlobalAveragePool": windows.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "GRU": recurrent.gru,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": unary(ops.HardSwish()),
    "Identity": unary(ops.Identity()),
    "LayerNormalization": elementwise.layer_norm,
    "LeakyRelu": elementwise.leaky_relu,
    "LogSoftmax": elementwise.log_softmax,
    "LRN": elementwise.lrn,
    "LSTM": recurrent.lstm,
    "Log": unary(ops.Log()),
    "MatMul": convolution.matmul,
    "MatMulInteger": quantization.matmul_integer,
    "Max": variadic(ops.Maximum()),
    "MaxPool": windows.max_pool,
    "Min": variadic(ops.Minimum()),
    "Mul": binary(ops.Mul()),
    "Neg": unary(ops.Neg()),
    "Pad": shaping.pad,
    "Pow": elementwise.pow_,
    "PRelu": binary(ops.PRelu()),
    "QLinearConv": quantization.qlinear_conv,
    "QLinearMatMul": quantization.qlinear_matmul,
    "QuantizeLinear": quantization.quantize_linear,
    "Reciprocal": elementwise.reciprocal,
    "ReduceMax": shaping.reduction(ops.ReduceMax, axes_since=18),
    "ReduceMean": shaping.reduction(ops.ReduceMean, axes_since=18),
    "ReduceSum": shaping.reduction(ops.ReduceSum, axes_since=13),
    "Relu": unary(ops.Relu()),
    "Reshape": shaping.reshape,
    "Resize": resizing.resize,
    "Shape": constants.shape,
    "Sigmoid": unary(ops.Sigmoid()),
    "Size": constants.size,
    "Slice": shaping.slice_,
    "Softmax": elementwise.softmax,
    "SpaceToDepth": shaping.space_to_depth,
    "Split": shaping.split,
    "Sqrt": unary(ops.Sqrt()),
    "Squeeze": shaping.squeeze,
    "Sub": binary(ops.Sub()),
    "Sum": elementwise.sum_,
    "Swish": elementwise.swish,
    "Tanh": unary(ops.Tanh()),
    "Transpose": shaping.transpose,
    "Unsqueeze": shaping.unsqueeze,
    "Upsample": resizing.upsample,
    **OF_CONSTANTS,
}
"""Operators of the standard domain, in every opset that is read."""

MICROSOFT: Mapping[str, Lowering] = {
    "DequantizeLinear": quantization.dequantize_linear,
    "QGemm": quantization.qgemm,
    "QLinearAdd": quantization.qlinear_binary(ops.Add()),
    "QLinearAveragePool": quantization.qlinear_unary(quantization.average_pool_part),
    "QLinearConcat": quantization.qlinear_concat,
    "QLinearGlobalAveragePool": quantization.qlinear_unary(quantization.global_average_pool_part),
    "QLinearLeakyRelu": quantization.qlinear_unary(quantization.leaky_relu_part),
    "QLinearMul": quantization.qlinear_binary(ops.Mul()),
    "QLinearSigmoid": quantization.qlinear_unary(quantization.sigmoid_part),
    "QLinearSoftmax": quantization.qlinear_unary(quantization.softmax_part),
    "QuantizeLinear": quantization.quantize_linear,
}
"""What onnxruntime's quantizer writes beside the standard operators."""


def lowering_of(operator: str, domain: str) -> Lowering | None:
    """How an operator is lowered; None where it is not known."""
    if domain in ("", "ai.onnx"):
        return STANDARD.get(operator)
    return MICROSOFT.get(operator) if domain == "com.microsoft" else None
