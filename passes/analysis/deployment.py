"""The element types in which a model is counted: a float model is deployed as int8."""

from __future__ import annotations

from enum import Enum

from irprune.ir.analysis import analysis
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Bytes, DType, TensorType


class Precision(Enum):
    """How wide the numbers of the deployed model are."""

    INT8 = "int8"
    """Activations and weights one byte, biases 32-bit integers."""
    FLOAT32 = "float32"
    """Every real number four bytes."""
    MODEL = "model"
    """The model's own types."""


@analysis
def default_precision(graph: Graph) -> Precision:
    """MODEL for a graph with quantized activations, INT8 for a float one."""
    activations = (v for n in graph.nodes for v in n.inputs if v not in graph.constants)
    quantized = any(v.type.quant is not None for v in activations)
    return Precision.MODEL if quantized else Precision.INT8


@analysis
def biases(graph: Graph) -> frozenset[Value]:
    """Constants read only where an int8 kernel wants a 32-bit bias."""
    as_bias: set[Value] = set()
    otherwise: set[Value] = set()
    for node in graph.nodes:
        for index, value in enumerate(node.inputs):
            (as_bias if index == node.op.bias else otherwise).add(value)
    return frozenset((as_bias - otherwise) & graph.constants.keys())


@analysis
def weights(graph: Graph) -> tuple[Value, ...]:
    """Constants that activations are multiplied by, in the order in which they are first read."""
    return tuple(
        dict.fromkeys(
            value
            for node in graph.nodes
            for index, value in enumerate(node.inputs)
            if node.op.linear and value in graph.constants and index != node.op.bias
        )
    )


def stored_bytes(t: TensorType, precision: Precision, *, bias: bool = False) -> Bytes:
    """Bytes of a tensor in the deployed model.

    Numbers that stand for reals (floats, quantized integers) have the precision's width;
    others, such as token indices, keep their own.
    """
    return Bytes(t.elements * stored_type(t, precision, bias=bias).itemsize)


def stored_type(t: TensorType, precision: Precision, *, bias: bool = False) -> DType:
    """The element type of a tensor in the deployed model, or another that is as wide."""
    real = t.dtype.is_float or t.quant is not None
    if precision is Precision.MODEL or not real:
        return t.dtype
    return DType.I8 if precision is Precision.INT8 and not bias else DType.I32
