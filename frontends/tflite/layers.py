"""Lowerings of layers: convolutions, dense layers, pools, normalizations, quantization.

TFLite is NHWC throughout. Its options and operands are those of the TFLite operator reference and
of tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import numpy as np
import tflite

from irprune.frontends.tflite.call import Call
from irprune.frontends.tflite.file import Options, name_of
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import (
    LRN,
    AveragePool2d,
    Clip,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dequantize,
    LogSoftmax,
    MatMul,
    MaxPool2d,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    Softmax,
    Tanh,
)
from irprune.ir.ops.conv import Padding, Pair, same_padding, transposed_padding
from irprune.ir.types import DType, dims

_ACTIVATIONS: dict[int, Op | None] = {
    tflite.ActivationFunctionType.NONE: None,
    tflite.ActivationFunctionType.RELU: Relu(),
    tflite.ActivationFunctionType.RELU_N1_TO_1: Clip(-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: Relu6(),
    tflite.ActivationFunctionType.TANH: Tanh(),
}


def activation(options: Options) -> Op | None:
    """The fused activation."""
    code = options.integer("FusedActivationFunction")
    if code not in _ACTIVATIONS:
        kind = name_of(code, tflite.ActivationFunctionType)
        raise UnsupportedOp(f"no lowering for fused {kind}")
    return _ACTIVATIONS[code]


def conv_2d(call: Call) -> None:
    """Operands x, weights OHWI, optionally a bias; groups follow from the channels."""
    options = call.options(tflite.Conv2DOptions)
    x, w = images(call.value(0)), images(call.value(1))
    refuse_hybrid(x, w)
    _, height, width, channels = w.type.shape
    groups = x.type.shape[3] // channels if channels else 0
    call.emit(convolution(options, x, (height, width), groups), x, w, *call.optional(2))


def depthwise_conv_2d(call: Call) -> None:
    """Operands x, weights 1HWO, optionally a bias: a convolution of as many groups as channels."""
    options = call.options(tflite.DepthwiseConv2DOptions)
    x, w = images(call.value(0)), call.permuted(1, (3, 1, 2, 0))
    refuse_hybrid(x, w)
    _, height, width, inputs = w.type.shape
    if inputs != 1:
        raise InvalidModel(f"weights have {inputs} inputs a filter, not 1")
    op = convolution(options, x, (height, width), x.type.shape[3])
    call.emit(op, x, w, *call.optional(2))


def convolution(options: Options, x: Value, kernel: Pair, groups: int) -> Conv2d:
    """The Conv2d that the options of CONV_2D or DEPTHWISE_CONV_2D describe."""
    stride = strides(options)
    dilation = (options.integer("DilationHFactor"), options.integer("DilationWFactor"))
    return Conv2d(
        stride=stride,
        padding=padding(options, x, kernel, stride, dilation),
        dilation=dilation,
        groups=groups,
        layout="NHWC",
        activation=activation(options),
    )


def transpose_conv(call: Call) -> None:
    """Operands the output's shape, weights OHWI, x, optionally a bias."""
    options = call.options(tflite.TransposeConvOptions)
    w, x = images(call.value(1)), images(call.value(2))
    refuse_hybrid(x, w)
    shape = call.integers(0)
    if len(shape) != 4:
        raise InvalidModel(f"an output of shape {shape} is no batch of images")
    stride, kernel, size = strides(options), w.type.shape[1:3], shape[1:3]
    pads, extra = [], []
    for axis in (0, 1):
        # The padding of the convolution that this one is the gradient of: it runs over the output.
        before, _ = axis_padding(
            options.integer("Padding"), size[axis], kernel[axis], stride[axis], 1
        )
        pad, more = transposed_padding(
            x.type.shape[1 + axis], size[axis], kernel[axis], stride[axis], before
        )
        pads.append(pad)
        extra.append(more)
    op = ConvTranspose2d(
        stride=stride,
        padding=(pads[0], pads[1]),
        output_padding=(extra[0], extra[1]),
        layout="NHWC",
        activation=activation(options),
    )
    call.emit(op, x, w, *call.optional(3))


def fully_connected(call: Call) -> None:
    """Operands x, weights (out, in), optionally a bias; leading axes become one unless kept."""
    options = call.options(tflite.FullyConnectedOptions)
    if options.integer("WeightsFormat") != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise UnsupportedOp("no lowering for shuffled weights")
    x, w = call.value(0), call.value(1)
    refuse_hybrid(x, w)
    if w.type.rank != 2 or 0 in w.type.shape:
        raise InvalidModel(f"weights of {dims(w.type.shape)} are no matrix")
    features = w.type.shape[1]
    kept = options.flag("KeepNumDims") and x.type.shape[-1:] == (features,)
    if not kept and x.type.shape[1:] != (features,):
        x = call.step(Reshape((x.type.elements // features, features)), x)
    call.emit(Dense(activation(options)), x, w, *call.optional(2))


def batch_matmul(call: Call) -> None:
    """Two stacks of matrices, each transposed first if asked."""
    options = call.options(tflite.BatchMatMulOptions)
    a, b = call.value(0), call.value(1)
    refuse_hybrid(a, b)
    call.emit(MatMul(options.flag("AdjX"), options.flag("AdjY")), a, b)


def pool(kind: type[MaxPool2d] | type[AveragePool2d], call: Call) -> None:
    """A pool; the average is of what lies inside the image."""
    options = call.options(tflite.Pool2DOptions)
    x = images(call.value(0))
    kernel = (options.integer("FilterHeight"), options.integer("FilterWidth"))
    stride = strides(options)
    op = kind(
        kernel,
        stride,
        padding(options, x, kernel, stride, (1, 1)),
        layout="NHWC",
        activation=activation(options),
    )
    call.emit(op, x)


def softmax(call: Call) -> None:
    """Softmax over the last axis; of 8 bits it may give 16."""
    wide = (call.value(0).type.dtype, call.output().type.dtype) == (DType.I8, DType.I16)
    beta = call.options(tflite.SoftmaxOptions).number("Beta")
    call.emit(Softmax(beta=beta, wide=wide), call.value(0))


def log_softmax(call: Call) -> None:
    """Logarithm of softmax over the last axis."""
    call.emit(LogSoftmax(), call.value(0))


def local_response_normalization(call: Call) -> None:
    """TFLite sums over ``radius`` channels on each side; ONNX's alpha is of the mean."""
    options = call.options(tflite.LocalResponseNormalizationOptions)
    size = 2 * options.integer("Radius") + 1
    call.emit(
        LRN(
            size=size,
            alpha=options.number("Alpha") * size,
            beta=options.number("Beta"),
            k=options.number("Bias"),
            axis=3,
        ),
        images(call.value(0)),
    )


def quantize(call: Call) -> None:
    """To the output's type and quantization, from reals or from another quantization."""
    declared = call.output().type
    if declared.quant is None:
        raise InvalidModel("gives a tensor without quantization")
    call.emit(Quantize(declared.dtype, declared.quant, halves="away"), call.value(0))


def dequantize(call: Call) -> None:
    """To reals; constants in half precision, which only save space, are converted at once."""
    x = call.value(0)
    if x.type.dtype is DType.F16:
        call.give(call.constant(0).array.astype(np.float32))
        return
    call.emit(Dequantize(), x)


def images(x: Value) -> Value:
    """The value, which must be a batch of images; InvalidModel where it is not."""
    if x.type.rank != 4:
        raise InvalidModel(f"wants an operand of rank 4, not {dims(x.type.shape)}")
    return x


def refuse_hybrid(x: Value, w: Value) -> None:
    """Raise UnsupportedOp where reals meet integer weights, to be quantized as they come."""
    if x.type.dtype.is_float and w.type.quant is not None:
        raise UnsupportedOp("weights alone are quantized (dynamic range)")


def strides(options: Options) -> Pair:
    """The strides for height and width."""
    return options.integer("StrideH"), options.integer("StrideW")


def padding(options: Options, x: Value, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """SAME or VALID as elements before and after, for height and width of an NHWC value."""
    scheme, size = options.integer("Padding"), x.type.shape[1:3]
    height, width = (
        axis_padding(scheme, size[a], kernel[a], stride[a], dilation[a]) for a in (0, 1)
    )
    return height, width


def axis_padding(scheme: int, size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """What SAME or VALID adds to one axis."""
    if min(kernel, stride, dilation) < 1:
        raise InvalidModel("kernel, stride and dilation must be positive")
    if scheme == tflite.Padding.VALID:
        return 0, 0
    if scheme != tflite.Padding.SAME:
        raise InvalidModel(f"padding scheme {scheme} is neither SAME nor VALID")
    return same_padding(size, kernel, stride, dilation)
