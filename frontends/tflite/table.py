"""Which function lowers which builtin operator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tflite
from tflite import BuiltinOperator as Code

from irprune.frontends.tflite import layers, shapes
from irprune.frontends.tflite.call import Call
from irprune.frontends.tflite.compression import DECODE
from irprune.frontends.tflite.file import Operator
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.op import Op
from irprune.ir.ops import (
    Abs,
    Add,
    AveragePool2d,
    Clip,
    Div,
    Elu,
    Exp,
    Gelu,
    HardSwish,
    LeakyRelu,
    Log,
    Maximum,
    MaxPool2d,
    Minimum,
    Mul,
    Neg,
    Pow,
    PRelu,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Relu6,
    Sigmoid,
    Sqrt,
    Sub,
    Tanh,
)


def plain(op: Op, call: Call) -> None:
    """An operator without options, on the operands as they are."""
    call.emit(op, *call.operands)


def arithmetic(
    kind: type[Add] | type[Sub] | type[Mul] | type[Div], schema: type, call: Call
) -> None:
    """Element-wise arithmetic with a fused activation."""
    call.emit(kind(layers.activation(call.options(schema))), *call.operands)


def add_n(call: Call) -> None:
    """A sum of any number of reals; of 8-bit integers the runtimes have no sound one."""
    if any(value.type.quant for value in call.operands):
        raise UnsupportedOp("no lowering for a quantized ADD_N")
    call.emit(Add(), *call.operands)


def square(call: Call) -> None:
    """An operand times itself."""
    call.emit(Mul(), call.value(0), call.value(0))


def leaky_relu(call: Call) -> None:
    """The slope below zero is an option."""
    call.emit(LeakyRelu(call.options(tflite.LeakyReluOptions).number("Alpha")), call.value(0))


def gelu(call: Call) -> None:
    """Exact, or approximated with tanh."""
    call.emit(Gelu(call.options(tflite.GeluOptions).flag("Approximate")), call.value(0))


def decode(call: Call) -> None:
    """Constants that the device unpacks before the operator that reads them."""
    if call.operand_count != 2 * call.output_count:
        raise InvalidModel(f"makes {call.output_count} tensors of {call.operand_count} operands")
    for position in range(call.output_count):
        call.unpack(position)


def lowering(operator: Operator) -> Callable[[Call], None]:
    """What lowers an operator; UnsupportedOp where nothing does."""
    found = CUSTOM.get(operator.kind) if operator.code == Code.CUSTOM else None
    found = found or LOWERINGS.get(operator.code)
    if found is None:
        raise UnsupportedOp(f"no lowering for {operator.kind}")
    return found


CUSTOM: dict[str, Callable[[Call], None]] = {f"CUSTOM {DECODE}": decode}
"""Custom operators, by what ``file.Operator`` calls them."""

LOWERINGS: dict[int, Callable[[Call], None]] = {
    Code.ABS: partial(plain, Abs()),
    Code.ADD: partial(arithmetic, Add, tflite.AddOptions),
    Code.ADD_N: add_n,
    Code.AVERAGE_POOL_2D: partial(layers.pool, AveragePool2d),
    Code.BATCH_MATMUL: layers.batch_matmul,
    Code.BROADCAST_TO: shapes.broadcast_to,
    Code.CAST: shapes.cast,
    Code.CONCATENATION: shapes.concatenation,
    Code.CONV_2D: layers.conv_2d,
    Code.DEPTHWISE_CONV_2D: layers.depthwise_conv_2d,
    Code.DEPTH_TO_SPACE: shapes.depth_to_space,
    Code.DEQUANTIZE: layers.dequantize,
    Code.DIV: partial(arithmetic, Div, tflite.DivOptions),
    Code.ELU: partial(plain, Elu()),
    Code.EXP: partial(plain, Exp()),
    Code.EXPAND_DIMS: shapes.expand_dims,
    Code.FULLY_CONNECTED: layers.fully_connected,
    Code.GATHER: shapes.gather,
    Code.GELU: gelu,
    Code.HARD_SWISH: partial(plain, HardSwish()),
    Code.LEAKY_RELU: leaky_relu,
    Code.LOCAL_RESPONSE_NORMALIZATION: layers.local_response_normalization,
    Code.LOG: partial(plain, Log()),
    Code.LOGISTIC: partial(plain, Sigmoid()),
    Code.LOG_SOFTMAX: layers.log_softmax,
    Code.MAXIMUM: partial(plain, Maximum()),
    Code.MAX_POOL_2D: partial(layers.pool, MaxPool2d),
    Code.MEAN: partial(shapes.reduction, ReduceMean),
    Code.MINIMUM: partial(plain, Minimum()),
    Code.MIRROR_PAD: shapes.mirror_pad,
    Code.MUL: partial(arithmetic, Mul, tflite.MulOptions),
    Code.NEG: partial(plain, Neg()),
    Code.PACK: shapes.pack,
    Code.PAD: shapes.pad,
    Code.PADV2: shapes.pad,
    Code.POW: partial(plain, Pow()),
    Code.PRELU: partial(plain, PRelu()),
    Code.QUANTIZE: layers.quantize,
    Code.REDUCE_MAX: partial(shapes.reduction, ReduceMax),
    Code.RELU: partial(plain, Relu()),
    Code.RELU6: partial(plain, Relu6()),
    Code.RELU_0_TO_1: partial(plain, Clip(0.0, 1.0)),
    Code.RELU_N1_TO_1: partial(plain, Clip(-1.0, 1.0)),
    Code.RESHAPE: shapes.reshape,
    Code.RESIZE_BILINEAR: shapes.resize_bilinear,
    Code.RESIZE_NEAREST_NEIGHBOR: shapes.resize_nearest_neighbor,
    Code.SHAPE: shapes.shape_of,
    Code.SLICE: shapes.slice_,
    Code.SOFTMAX: layers.softmax,
    Code.SPACE_TO_DEPTH: shapes.space_to_depth,
    Code.SPLIT: shapes.split,
    Code.SPLIT_V: shapes.split_v,
    Code.SQRT: partial(plain, Sqrt()),
    Code.SQUARE: square,
    Code.SQUEEZE: shapes.squeeze,
    Code.STRIDED_SLICE: shapes.strided_slice,
    Code.SUB: partial(arithmetic, Sub, tflite.SubOptions),
    Code.SUM: partial(shapes.reduction, ReduceSum),
    Code.TANH: partial(plain, Tanh()),
    Code.TRANSPOSE: shapes.transpose,
    Code.TRANSPOSE_CONV: layers.transpose_conv,
}
