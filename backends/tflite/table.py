"""Which operator of TFLite a node becomes, and in which types TFLite-Micro runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from irprune.backends.tflite import layers, moves
from irprune.backends.tflite.record import Call, Record, require
from irprune.ir import ops
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Graph, Node
from irprune.ir.op import Op
from irprune.ir.ops.shape import View
from irprune.ir.types import DType

REALS = frozenset({DType.F32})
INT8 = frozenset({DType.F32, DType.I8})
INT16 = frozenset({DType.F32, DType.I8, DType.I16})
ALL = frozenset({DType.F32, DType.I8, DType.I16, DType.I32})


@dataclass(frozen=True)
class Row:
    """How an operator is written.

    Attributes:
        write: makes the operator of a node; UnsupportedOp where TFLite has no such form.
        types: the types of activations that TFLite-Micro has a kernel for.
    """

    write: Callable[[Call], Record]
    types: frozenset[DType]


def plain(kind: str, call: Call) -> Record:
    """An operator without options, on the operands as they are."""
    return Record(kind, call.node.inputs)


def elu(call: Call) -> Record:
    """ELU, of slope 1."""
    op = call.node.op
    assert isinstance(op, ops.Elu)
    require(op.alpha == 1, f"alpha {op.alpha}")
    return Record("ELU", call.node.inputs)


def leaky_relu(call: Call) -> Record:
    """LEAKY_RELU."""
    op = call.node.op
    assert isinstance(op, ops.LeakyRelu)
    return Record("LEAKY_RELU", call.node.inputs, "LeakyReluOptions", {"Alpha": op.alpha})


def arithmetic(kind: str, options: str, call: Call) -> Record:
    """ADD, SUB, MUL or DIV of two operands."""
    op = call.node.op
    assert isinstance(op, ops.Add | ops.Sub | ops.Mul | ops.Div)
    require(len(call.node.inputs) == 2, f"{len(call.node.inputs)} operands")
    fields = layers.fused(op.activation)
    if isinstance(op, ops.Add | ops.Sub):
        fields |= {"PotScaleInt16": False}
    return Record(kind, call.node.inputs, options, fields)


RANKS: Mapping[str, int] = {
    "BATCH_MATMUL": 5,
    "BROADCAST_TO": 5,
    "CONCATENATION": 6,
    "PAD": 5,
    "PADV2": 5,
    "PRELU": 4,
    "SLICE": 5,
    "STRIDED_SLICE": 4,
    "TRANSPOSE": 5,
}
"""The most axes for which TFLite-Micro has kernels, where it has a limit; beyond, some abort."""

TABLE: Mapping[type[Op], Row] = {
    ops.Abs: Row(partial(plain, "ABS"), INT16),
    ops.Add: Row(partial(arithmetic, "ADD", "AddOptions"), ALL),
    ops.AveragePool2d: Row(layers.pool, INT16),
    ops.Concat: Row(moves.concatenation, ALL),
    ops.Conv2d: Row(layers.conv_2d, INT16),
    ops.ConvTranspose2d: Row(layers.transpose_conv, INT16),
    ops.Dense: Row(layers.fully_connected, INT16),
    ops.DepthToSpace: Row(moves.depth_to_space, INT8),
    ops.Dequantize: Row(layers.dequantize, INT16),
    ops.Div: Row(partial(arithmetic, "DIV", "DivOptions"), INT8),
    ops.Elu: Row(elu, INT8),
    ops.Exp: Row(partial(plain, "EXP"), REALS),
    ops.Expand: Row(moves.broadcast_to, ALL),
    ops.Gather: Row(moves.gather, INT8),
    ops.HardSwish: Row(partial(plain, "HARD_SWISH"), INT8),
    ops.LeakyRelu: Row(leaky_relu, INT16),
    ops.Log: Row(partial(plain, "LOG"), REALS),
    ops.LogSoftmax: Row(moves.softmax, INT8),
    ops.MatMul: Row(layers.batch_matmul, INT16),
    ops.MaxPool2d: Row(layers.pool, INT16),
    ops.Maximum: Row(partial(plain, "MAXIMUM"), ALL),
    ops.Minimum: Row(partial(plain, "MINIMUM"), ALL),
    ops.Mul: Row(partial(arithmetic, "MUL", "MulOptions"), ALL),
    ops.Neg: Row(partial(plain, "NEG"), REALS),
    ops.PRelu: Row(partial(plain, "PRELU"), INT8),
    ops.Pad: Row(moves.pad, INT16),
    ops.Quantize: Row(layers.quantize, INT16),
    ops.ReduceMax: Row(moves.reduction, INT8),
    ops.ReduceMean: Row(moves.reduction, INT16),
    ops.ReduceSum: Row(moves.reduction, INT16),
    ops.Relu: Row(partial(plain, "RELU"), INT16),
    ops.Relu6: Row(partial(plain, "RELU6"), INT16),
    ops.Resize: Row(moves.resize, INT8),
    ops.Sigmoid: Row(partial(plain, "LOGISTIC"), INT16),
    ops.Slice: Row(moves.slice_, INT16),
    ops.Softmax: Row(moves.softmax, INT16),
    ops.SpaceToDepth: Row(moves.depth_to_space, INT8),
    ops.Split: Row(moves.split, INT16),
    ops.Sqrt: Row(partial(plain, "SQRT"), REALS),
    ops.Sub: Row(partial(arithmetic, "SUB", "SubOptions"), ALL),
    ops.Tanh: Row(partial(plain, "TANH"), INT16),
    ops.Transpose: Row(moves.transpose, ALL),
    View: Row(moves.reshape, ALL),
}


def has_kernel(op: Op, dtype: DType) -> bool:
    """Whether TFLite-Micro runs an operator on activations of a type."""
    row = TABLE.get(_key(op))
    if row is None:
        return False
    mirrors = isinstance(op, ops.Pad) and op.mode != "constant"
    return dtype in (row.types & INT8 if mirrors else row.types)


def record(graph: Graph, node: Node) -> Record:
    """The operator that a node becomes.

    Raises:
        UnsupportedOp: TFLite has no such operator, or TFLite-Micro no kernel for it.
    """
    op, name = node.op, type(node.op).__name__
    row = TABLE.get(_key(op))
    if row is None:
        raise UnsupportedOp(f"TFLite-Micro has no {name}")
    # Weights are of 8 bits beside activations of any type.
    types = {node.inputs[0].type.dtype, *(value.type.dtype for value in node.outputs)}
    if not isinstance(op, ops.Quantize | ops.Dequantize):
        missing = sorted(t.value for t in types if not has_kernel(op, t))
        require(not missing, f"TFLite-Micro has no {name} in {', '.join(missing)}")
    try:
        found = row.write(Call(graph, node))
    except UnsupportedOp as error:
        raise UnsupportedOp(f"TFLite-Micro has no {name} with {error.what}") from None
    rank = max(operand.type.rank for operand in (*found.operands, *node.outputs) if operand)
    most = RANKS.get(found.kind, rank)
    require(rank <= most, f"TFLite-Micro has no {name} of {rank} axes, {most} at the most")
    return found


def _key(op: Op) -> type[Op]:
    return View if isinstance(op, View) else type(op)
