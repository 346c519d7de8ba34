"""The tensors of a model while it is lowered: what is known of each, and constants folded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, InvalidType, IrpruneError, UnsupportedOp
from irprune.ir.evaluate import evaluate, is_bounded
from irprune.ir.graph import Node, Source, Value
from irprune.ir.op import Op
from irprune.ir.ops import Dequantize, Expand, Quantize, Transpose
from irprune.ir.ops.shape import View
from irprune.ir.types import Array, DType, Quant, Shape, TensorType, type_of

MOST_FOLDED = 2**28
"""Bytes and multiplications that computing a model's constants may take: 256 MiB.

Weights are not computed, and a constant repeated along an axis takes no memory; what is left is
the arithmetic of shapes and of channels.
"""


@dataclass(frozen=True, eq=False)
class Stored:
    """Reals, known through a constant of the integers that stand for them.

    It becomes a Dequantize where it is read; until then the integers can be rearranged.
    """

    constant: Value
    dtype: DType
    name: str
    source: Source

    @property
    def type(self) -> TensorType:
        """The type of the reals."""
        return TensorType(self.constant.type.shape, self.dtype)


Operand = Value | Stored
"""What an ONNX tensor has become."""


class Scope:
    """Operands by tensor name, and the graph that is built of them.

    Args:
        builder: the graph's builder.
        initializers: how to get the array of each initializer; only those that are read are.
    """

    def __init__(self, builder: Builder, initializers: dict[str, Callable[[], Array]]) -> None:
        self.builder = builder
        self._initializers = initializers
        self._operands: dict[str, Operand] = {}
        self._arrays: dict[Value, Array] = {}
        # A constant enters the graph when a node reads it, so that names of others stay free.
        self._placed: dict[Operand, Value] = {}
        self._labelled: dict[tuple[Value, Quant], Value] = {}
        self._folded: dict[tuple[object, ...], tuple[Value, ...]] = {}
        self._budget = MOST_FOLDED

    def define(self, name: str, operand: Operand) -> None:
        """Let a tensor name stand for an operand."""
        self._operands[name] = operand

    def operand(self, name: str) -> Operand:
        """What a tensor has become."""
        if name not in self._operands:
            self._operands[name] = self.constant(name, self._initializers[name]())
        return self._operands[name]

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Value:
        """A new constant; the array is kept, not copied."""
        value = Value(name, type_of(array, quant))
        self._arrays[value] = array
        return value

    def labelled(self, constant: Value, quant: Quant) -> Value:
        """A constant of integers with what they stand for; always the same one."""
        if constant.type.quant == quant:
            return constant
        key = (constant, quant)
        if key not in self._labelled:
            self._labelled[key] = self.constant(constant.name, self._arrays[constant], quant)
        return self._labelled[key]

    def array(self, operand: Operand) -> Array | None:
        """The elements of a constant; None for anything else."""
        return self._arrays.get(operand) if isinstance(operand, Value) else None

    def elements(self, operand: Operand) -> Array | None:
        """The elements of a constant, of stored ones the reals; None for anything else."""
        if isinstance(operand, Stored):
            op, names = Dequantize(operand.dtype), [operand.name]
            (operand,) = self._fold(op, [operand.constant], names, operand.source, None)
        return self.array(operand)

    def placed(self, operand: Operand) -> Value:
        """The operand as a value that the graph has."""
        if operand not in self._placed:
            self._placed[operand] = self._place(operand)
        return self._placed[operand]

    def _place(self, operand: Operand) -> Value:
        if isinstance(operand, Stored):
            return self.builder.add(
                Dequantize(operand.dtype),
                self.placed(operand.constant),
                name=operand.name,
                source=operand.source,
            )
        array = self._arrays.get(operand)
        if array is None:
            return operand
        return self.builder.constant(operand.name, array, operand.type.quant)

    def spend(self, amount: int) -> None:
        """Take bytes or multiplications from the budget; InvalidModel where it is exhausted."""
        self._budget -= amount
        if self._budget < 0:
            raise InvalidModel(
                f"computing its constants takes more than {MOST_FOLDED >> 20} MiB",
                hint="fold them with the exporter, or check the shapes",
            )

    def emit(
        self,
        op: Op,
        operands: Sequence[Operand],
        names: Sequence[str],
        source: Source,
        quant: Quant | None = None,
    ) -> tuple[Value, ...]:
        """The outputs of an operator: constants where all its operands are, else of a new node.

        A layer stays a node, for it may need memory out of all proportion.

        Args:
            op: the operator.
            operands: what it takes.
            names: the node's name, then those of its outputs.
            source: where it came from.
            quant: the output's quantization, where the op does not settle it.

        Raises:
            InvalidType: the operands do not fit.
            UnsupportedOp: it would compute with integers that stand for reals, where ONNX means
                the integers.
        """
        quant = quant or _kept(op, operands)
        known = [v for v in operands if isinstance(v, Value) and v in self._arrays]
        try:
            if operands and len(known) == len(operands) and is_bounded(op):
                return self._fold(op, known, names, source, quant)
            name, *outputs = names
            return self.builder.add_node(
                op,
                [self.placed(operand) for operand in operands],
                name=name,
                names=outputs,
                source=source,
                quants=(quant,),
            )
        except IrpruneError as error:
            raise error.at(str(source)) from None

    def _fold(
        self,
        op: Op,
        inputs: Sequence[Value],
        names: Sequence[str],
        source: Source,
        quant: Quant | None,
    ) -> tuple[Value, ...]:
        """The outputs as constants; the same ones where the same was computed before."""
        key = (op, quant, *inputs)
        if key in self._folded:
            return self._folded[key]
        name, *outputs = names
        types = [
            TensorType(t.shape, t.dtype, quant or t.quant)
            for t in op.infer([value.type for value in inputs])
        ]
        outputs += [name] * (len(types) - len(outputs))
        made = tuple(Value(n, t) for n, t in zip(outputs, types, strict=False))
        arrays = [self._arrays[value] for value in inputs]
        if not _is_free(op, arrays[0]):
            shapes = [value.type.shape for value in inputs]
            self.spend(sum(t.nbytes for t in types) + op.macs(shapes, [t.shape for t in types]))
        with np.errstate(all="ignore"):
            results = evaluate(Node(op, tuple(inputs), made, name, source), arrays)
        self._folded[key] = tuple(
            self.constant(value.name, _of_type(array, value.type), value.type.quant)
            for value, array in zip(made, results, strict=True)
        )
        return self._folded[key]


def _kept(op: Op, operands: Sequence[Operand]) -> Quant | None:
    """The quantization that an operator on stored integers hands on."""
    quants = {operand.type.quant for operand in operands}
    if quants == {None} or not quants or isinstance(op, Quantize | Dequantize):
        return None
    if not op.keeps_quantization or len(quants) > 1:
        raise UnsupportedOp(f"computes {type(op).__name__} with integers that stand for reals")
    (quant,) = quants
    return quant if quant is not None and quant.axis is None else None


def _is_free(op: Op, x: Array) -> bool:
    """Whether the result is a view of the operand's memory."""
    if isinstance(op, Expand | Transpose):
        return True
    return isinstance(op, View) and (x.flags.c_contiguous or not any(x.strides))


def _of_type(array: Array, wanted: TensorType) -> Array:
    """The array, after a look at whether it is what was inferred."""
    found = np.asarray(array)
    if found.dtype != wanted.dtype.numpy or found.shape != wanted.shape:
        raise InvalidType(f"is not defined for {wanted.dtype.value}")
    return found


def repeated(element: Array, shape: Shape) -> Array:
    """An array of one element throughout, which takes the memory of one."""
    return np.broadcast_to(element, TensorType(shape, DType.of(element.dtype)).shape)
