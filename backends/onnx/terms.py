"""What becomes of a node: an expression of ONNX operators, before it is messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Node, Value
from irprune.ir.types import Array, DType, Quant, TensorType

Attribute = int | float | str | Sequence[int] | None
"""An attribute; None for one that is left out."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that the graph does not have as such: a shape, axes, a scale."""

    name: str
    array: Array


@dataclass(frozen=True)
class Operand:
    """A value of the graph.

    Attributes:
        value: the value.
        quant: what its integers stand for, where the reals are wanted.
        perm: the order in which its axes are wanted; () for the order that they have.
    """

    value: Value
    quant: Quant | None = None
    perm: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Apply:
    """An ONNX operator applied to operands, None for one that is absent.

    One that stands in several places of an expression is computed once.
    """

    kind: str
    inputs: Sequence[Term | None]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    outputs: int = 1


@dataclass(frozen=True)
class Part:
    """One output of an operator that has several."""

    of: Apply
    index: int


Term = Constant | Operand | Apply | Part


class Call:
    """A node, as the rows of the table read it.

    Attributes:
        node: the node.
        dtype: the element type that it computes in: reals where integers stand for them.
    """

    def __init__(self, node: Node, *, reals: bool) -> None:
        self.node = node
        self._reals = reals
        first = (*node.inputs, *node.outputs)[0].type
        self.dtype = DType.F32 if reals and not first.dtype.is_float else first.dtype

    @property
    def x(self) -> Term:
        """The first operand."""
        return self.operand(0)

    @property
    def type(self) -> TensorType:
        """The type of the first operand."""
        return self.node.inputs[0].type

    @property
    def output(self) -> TensorType:
        """The type of the first output."""
        return self.node.outputs[0].type

    def operand(self, index: int) -> Term:
        """An operand; the reals that it stands for, if it does."""
        return Operand(self.node.inputs[index], self._quant(index))

    def operands(self, start: int = 0) -> list[Term]:
        """All operands, from one on."""
        return [self.operand(i) for i in range(start, len(self.node.inputs))]

    def transposed(self, index: int, perm: Sequence[int]) -> Term:
        """An operand, its axes in another order; that of a constant is settled in the file."""
        return Operand(self.node.inputs[index], self._quant(index), tuple(perm))

    def integers(self, part: str, numbers: object) -> Constant:
        """A constant of ONNX's shape arithmetic."""
        return Constant(f"{self.node.name}.{part}", np.asarray(numbers, np.int64))

    def floats(self, part: str, numbers: object) -> Constant:
        """Likewise in single precision."""
        return Constant(f"{self.node.name}.{part}", np.asarray(numbers, np.float32))

    def like(self, part: str, numbers: object) -> Constant:
        """A constant of the element type that the node computes in."""
        return Constant(f"{self.node.name}.{part}", np.asarray(numbers, self.dtype.numpy))

    def _quant(self, index: int) -> Quant | None:
        """What the integers of an operand stand for; None where they are taken as they are."""
        t, op = self.node.inputs[index].type, self.node.op
        if not self._reals or t.dtype.is_float or t.quant is not None:
            return t.quant if self._reals else None
        x, w = (value.type.quant for value in self.node.inputs[:2])
        if index != op.bias or x is None or w is None:
            raise UnsupportedOp(f"operand {index} is {t} without a scale")
        # Sums of products, which a bias is added to, have the product of the scales.
        scales = tuple(x.scale[0] * scale for scale in w.scale)
        return Quant(scales, (0,) * len(scales), 0 if len(scales) > 1 else None)


def transpose(x: Term, perm: Sequence[int]) -> Apply:
    """The operand, its axes in another order."""
    return Apply("Transpose", (x,), {"perm": tuple(perm)})


def reshape(call: Call, x: Term, shape: Sequence[int], part: str = "shape") -> Apply:
    """The operand under another shape."""
    copies = {"allowzero": 1} if 0 in shape else {}  # a 0 would mean what the operand has there
    return Apply("Reshape", (x, call.integers(part, shape)), copies)


def require(condition: bool, why: str) -> None:
    """Raise UnsupportedOp(why) unless the condition holds."""
    if not condition:
        raise UnsupportedOp(why)
