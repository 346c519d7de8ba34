"""What each operator becomes in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from irprune.backends.onnx import elements, layers, quantization, shapes
from irprune.backends.onnx.elements import arithmetic, plain, unary
from irprune.backends.onnx.terms import Call, Term
from irprune.ir import ops
from irprune.ir.graph import Graph, values
from irprune.ir.op import Op
from irprune.ir.types import DType

Row = Callable[[Call], Term | tuple[Term, ...]]
"""The output of a node, or its outputs; UnsupportedOp where ONNX cannot say it."""

TABLE: Mapping[type[Op], Row] = {
    **dict.fromkeys(elements.UNARY, unary),
    ops.Add: elements.add,
    ops.AveragePool2d: layers.average_pool,
    ops.BatchNorm: shapes.batch_norm,
    ops.Concat: shapes.concat,
    ops.Conv2d: layers.conv,
    ops.ConvTranspose2d: layers.conv_transpose,
    ops.Dense: layers.dense,
    ops.DepthToSpace: shapes.depth_to_space,
    ops.Dequantize: quantization.dequantize,
    ops.Div: partial(arithmetic, "Div"),
    ops.Expand: shapes.expand,
    ops.Flatten: shapes.flatten,
    ops.GRU: layers.gru,
    ops.Gather: shapes.gather,
    ops.Identity: shapes.identity,
    ops.LRN: shapes.lrn,
    ops.LSTM: layers.lstm,
    ops.LayerNorm: shapes.layer_norm,
    ops.LogSoftmax: elements.log_softmax,
    ops.MatMul: layers.matmul,
    ops.MaxPool2d: layers.max_pool,
    ops.Maximum: partial(plain, "Max"),
    ops.Minimum: partial(plain, "Min"),
    ops.Mul: partial(arithmetic, "Mul"),
    ops.PRelu: partial(plain, "PRelu"),
    ops.Pad: shapes.pad,
    ops.Pow: partial(plain, "Pow"),
    ops.Quantize: quantization.quantize,
    ops.ReduceMax: shapes.reduction,
    ops.ReduceMean: shapes.reduction,
    ops.ReduceSum: shapes.reduction,
    ops.Reshape: shapes.view,
    ops.Resize: shapes.resize,
    ops.Slice: shapes.slice_,
    ops.Softmax: elements.softmax,
    ops.SpaceToDepth: shapes.space_to_depth,
    ops.Split: shapes.split,
    ops.Squeeze: shapes.squeeze,
    ops.Sub: partial(arithmetic, "Sub"),
    ops.Transpose: shapes.transposition,
    ops.Unsqueeze: shapes.unsqueeze,
}
"""A row for each operator of the IR."""


def versions(graph: Graph) -> tuple[int, int]:
    """The opset in which a graph is written, and the IR version that came with it.

    16-bit integers are quantized since opset 21 only; there, onnxruntime 1.31 contradicts itself
    about signed 8-bit ones wherever it moves a reshape past QuantizeLinear.
    """
    quantized = {value.type.dtype for value in values(graph) if value.type.quant is not None}
    return (21, 10) if quantized & {DType.I16, DType.U16} else (20, 9)
