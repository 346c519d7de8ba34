"""Nodes that scale and shift every channel by constants, whatever operator spells them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from irprune.ir import ops
from irprune.ir.arrays import held
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import normalize_axis
from irprune.ir.types import Array, TensorType


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift for each channel.

    Attributes:
        scale: float64, one number a channel or one for all.
        shift: likewise; None where nothing is added, which is less than adding zeros: it needs
            no bias.
    """

    scale: Array
    shift: Array | None = None

    def then(self, after: Affine) -> Affine:
        """This map, followed by another."""
        shift = after.shift if self.shift is None else after.shifted(self.shift)
        return Affine(self.scale * after.scale, shift)

    def shifted(self, shift: Array) -> Array:
        """What is added after this map, where ``shift`` is added before it."""
        return shift * self.scale + (0.0 if self.shift is None else self.shift)


ONE = np.ones((), np.float64)


def affine_of(graph: Graph, node: Node, x: Value, axis: int) -> Affine | None:
    """How the node maps its operand ``x`` to its output, channels along ``axis`` of both.

    None where it is no such map, or one whose numbers are no constants or not finite. The node's
    activation is not considered.
    """
    if not x.type.dtype.is_float or node.output.type != x.type:
        return None
    with np.errstate(all="ignore"):
        found = _batchnorm(graph, node, axis) or _arithmetic(graph, node, x, axis)
    return found if found is not None and _finite(found) else None


def axis_after(node: Node, axis: int) -> int | None:
    """Where the channels are in the output of a node that moves them as a whole; None if torn."""
    before, after = node.inputs[0].type.shape, node.output.type.shape
    if isinstance(node.op, ops.Transpose):
        return node.op.perm.index(axis)
    if node.op.alias() is None:
        return None
    outer = math.prod(before[:axis])
    return next(
        (
            at
            for at, size in enumerate(after)
            if size == before[axis] and math.prod(after[:at]) == outer
        ),
        None,
    )


def _batchnorm(graph: Graph, node: Node, axis: int) -> Affine | None:
    if not isinstance(node.op, ops.BatchNorm):
        return None
    statistics = [graph.constants.get(value) for value in node.inputs[1:]]
    gamma, beta, mean, variance = (
        None if array is None else array.astype(np.float64) for array in statistics
    )
    if gamma is None or beta is None or mean is None or variance is None:
        return None
    if gamma.size > 1 and normalize_axis(node.op.axis, node.output.type.rank) != axis:
        return None
    scale = gamma / np.sqrt(variance + node.op.epsilon)
    shift = beta - mean * scale
    return Affine(scale, shift) if scale.size > 1 else Affine(scale.reshape(()), shift.reshape(()))


def _arithmetic(graph: Graph, node: Node, x: Value, axis: int) -> Affine | None:
    """Arithmetic between ``x`` and constants."""
    position = node.inputs.index(x)
    others = [
        _per_channel(graph.constants.get(value), x.type, axis)
        for i, value in enumerate(node.inputs)
        if i != position
    ]
    match node.op, others, position:
        case ops.Neg(), [], _:
            return Affine(-ONE)
        case ops.Add(), [first, *rest], _ if first is not None:
            total = first
            for array in rest:
                if array is None:
                    return None
                total = total + array
            return Affine(ONE, total)
        case ops.Mul(), [factor], _ if factor is not None:
            return Affine(factor)
        case ops.Div(), [divisor], 0 if divisor is not None:
            return Affine(1 / divisor)
        case ops.Sub(), [subtrahend], 0 if subtrahend is not None:
            return Affine(ONE, -subtrahend)
        case ops.Sub(), [minuend], 1 if minuend is not None:
            return Affine(-ONE, minuend)
        case _:
            return None


def _per_channel(array: Array | None, t: TensorType, axis: int) -> Array | None:
    """A constant operand as float64, one number a channel or one for all; None if it is neither."""
    if array is None:
        return None
    part = held(array)
    shape = (1,) * (t.rank - part.ndim) + part.shape
    if any(size != 1 for at, size in enumerate(shape) if at != axis):
        return None
    return part.reshape(-1 if part.size > 1 else ()).astype(np.float64)


def _finite(affine: Affine) -> bool:
    shift = ONE if affine.shift is None else affine.shift
    return bool(np.isfinite(affine.scale).all() and np.isfinite(shift).all())
