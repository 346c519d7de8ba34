"""One ONNX node while it is lowered: its operands and attributes, each of which must be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from irprune.frontends.lowering import add_over_width
from irprune.frontends.onnx.scope import Operand, Scope, Stored
from irprune.ir.errors import InvalidModel, InvalidType, UnsupportedOp
from irprune.ir.graph import Source, Value
from irprune.ir.op import Op
from irprune.ir.ops import Transpose, Unsqueeze
from irprune.ir.types import Array, Quant, TensorType, dims

_MOST_NUMBERS = 2**16
"""Elements of a constant that becomes an attribute, such as indices: more are no attribute."""


class Call:
    """One node, its operands already lowered.

    Args:
        node: the ``onnx_graphsurgeon.Node``.
        tensors: the arrays of those of its attributes that are tensors.
        opset: the version of its operator set.
        scope: what the tensors before it have become.
        source: where the node is.

    Attributes:
        opset: the version of its operator set.
        outputs: the names of its outputs; made up for one that it leaves nameless.
    """

    def __init__(
        self,
        node: Any,
        tensors: Mapping[str, Array],
        opset: int,
        scope: Scope,
        source: Source,
    ) -> None:
        self.opset = opset
        self.scope = scope
        self.source = source
        self.outputs = [t.name or f"{source.name}.{i}" for i, t in enumerate(node.outputs)]
        self._inputs = [tensor.name for tensor in node.inputs]
        self._attributes: dict[str, Any] = {**node.attrs, **tensors}
        self._unread_inputs = {i for i, name in enumerate(self._inputs) if name}
        self._unread_attributes = set(self._attributes)

    # Operands

    @property
    def count(self) -> int:
        """How many operands there are, absent ones among them counted."""
        return len(self._inputs)

    def has(self, index: int) -> bool:
        """Whether an optional operand is there."""
        return index < len(self._inputs) and self._inputs[index] != ""

    def operand(self, index: int) -> Operand:
        """What the operand has become; InvalidModel where it is absent."""
        if not self.has(index):
            raise InvalidModel(f"lacks operand {index}", where=str(self.source))
        self._unread_inputs.discard(index)
        return self.scope.operand(self._inputs[index])

    def optional(self, index: int) -> Operand | None:
        """What the operand has become; None where it is absent."""
        return self.operand(index) if self.has(index) else None

    def operands(self) -> list[Operand]:
        """All operands of a variadic operator."""
        return [self.operand(i) for i in range(self.count)]

    def value(self, index: int) -> Value:
        """The operand as a value: a constant, or one that the graph has."""
        operand = self.operand(index)
        return operand if isinstance(operand, Value) else self.scope.placed(operand)

    def array(self, index: int, what: str) -> Array:
        """The elements of a constant operand; UnsupportedOp where it is none."""
        operand = self.operand(index)
        array = self.scope.elements(operand)
        if array is None:
            raise UnsupportedOp(f"{what} '{self._inputs[index]}' is not constant")
        return array

    def numbers(self, index: int, what: str) -> tuple[Any, ...]:
        """The elements of a small constant operand as Python numbers."""
        array = self.array(index, what)
        if array.size > _MOST_NUMBERS:
            raise UnsupportedOp(f"{what} has {array.size} elements")
        return tuple(array.ravel().tolist())

    def ints(self, index: int, what: str) -> tuple[int, ...]:
        """The elements of a small constant operand of integers."""
        numbers = self.numbers(index, what)
        if not all(type(number) is int for number in numbers):
            raise InvalidType(f"{what} is not of integers", where=str(self.source))
        return numbers

    def optional_ints(self, index: int, what: str) -> tuple[int, ...] | None:
        """Likewise; None where the operand is absent."""
        return self.ints(index, what) if self.has(index) else None

    def scalar(self, index: int, what: str) -> Any:
        """The only element of a constant operand."""
        numbers = self.numbers(index, what)
        if len(numbers) != 1:
            raise InvalidType(f"{what} has {len(numbers)} elements", where=str(self.source))
        return numbers[0]

    # Attributes

    def has_attribute(self, name: str) -> bool:
        """Whether the node has the attribute."""
        return name in self._attributes

    def int_(self, name: str, default: int | None = None) -> int:
        """An attribute that is an integer."""
        return int(self._attribute(name, int, default))

    def float_(self, name: str, default: float | None = None) -> float:
        """An attribute that is a real number."""
        return float(self._attribute(name, float, default))

    def text(self, name: str, default: str, *allowed: str) -> str:
        """An attribute that is a word; UnsupportedOp unless it is the default or allowed."""
        word = str(self._attribute(name, str, default))
        if word not in (default, *allowed):
            raise UnsupportedOp(f"{name} '{word}' is not supported")
        return word

    def int_list(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers; None where it is absent."""
        return self._list(name, int)

    def float_list(self, name: str) -> tuple[float, ...] | None:
        """An attribute that is a list of real numbers; None where it is absent."""
        return self._list(name, float)

    def text_list(self, name: str) -> tuple[str, ...] | None:
        """An attribute that is a list of words; None where it is absent."""
        return self._list(name, str)

    def tensor(self, name: str) -> Array | None:
        """An attribute that is a tensor; None where it is absent."""
        found = self._raw(name)
        if found is not None and not isinstance(found, np.ndarray):
            raise self._mistyped(name)
        return found

    def ignore(self, *names: str) -> None:
        """Pass over attributes that mean nothing at inference."""
        self._unread_attributes -= set(names)

    def ignore_operand(self, index: int) -> None:
        """Pass over an operand that means nothing at inference."""
        self._unread_inputs.discard(index)

    def expect(self, condition: bool, what: str) -> None:
        """Raise UnsupportedOp(what) unless the condition holds."""
        if not condition:
            raise UnsupportedOp(what)

    def expect_all_read(self) -> None:
        """Raise UnsupportedOp where the lowering left an operand or attribute unread."""
        if self._unread_attributes:
            raise UnsupportedOp(f"attribute '{min(self._unread_attributes)}' is not supported")
        if self._unread_inputs:
            raise UnsupportedOp(f"operand {min(self._unread_inputs)} is not supported")

    # Results

    def emit(
        self,
        op: Op,
        *operands: Operand,
        part: str = "",
        output: int = 0,
        quant: Quant | None = None,
    ) -> Value:
        """The output of an operator.

        Args:
            op: the operator.
            operands: what it takes.
            part: what this is of the node's computation; empty for its result.
            output: which of the node's results it is.
            quant: the output's quantization, where the op does not settle it.
        """
        name = self.source.name
        names = [f"{name}.{part}"] if part else [name, *self.outputs[output : output + 1]]
        (value,) = self.scope.emit(op, operands, names, self.source, quant)
        return value

    def chain(self, *steps: tuple[Op, *tuple[Operand, ...]], part: str = "") -> Value:
        """The output of operators in a row.

        Args:
            steps: each operator and its operands; after the first step, the previous output
                comes before them.
            part: what this is of the node's computation; empty for its result.
        """
        *before, last = steps
        made: tuple[Value, ...] = ()
        for op, *operands in before:
            made = (self.emit(op, *made, *operands, part=type(op).__name__.lower()),)
        op, *operands = last
        return self.emit(op, *made, *operands, part=part)

    def emit_all(self, op: Op, *operands: Operand, part: str = "") -> tuple[Value, ...]:
        """The outputs of an operator that makes what the node makes, or a part of it."""
        name = self.source.name
        names = [f"{name}.{part}"] if part else [name, *self.outputs]
        return self.scope.emit(op, operands, names, self.source)

    def emit_over_width(self, op: Op, x: Operand, *weights: Operand, part: str = "") -> Value:
        """A two-dimensional operator's output over an operand of one spatial dimension."""
        name = f"{self.source.name}.{part}" if part else self.source.name
        values = [self.scope.placed(w) for w in weights]
        return add_over_width(
            self.scope.builder,
            op,
            self.scope.placed(x),
            values,
            source=Source(self.source.file, name),
            output="" if part else self.outputs[0],
        )

    def constant(self, array: Array, part: str = "", quant: Quant | None = None) -> Value:
        """A constant: the node's result, or a part of its computation."""
        name = f"{self.source.name}.{part}" if part else self.outputs[0]
        return self.scope.constant(name, array, quant)

    def like(self, x: Operand, number: float, part: str) -> Value:
        """A constant number of an operand's element type."""
        return self.constant(np.asarray(number, x.type.dtype.numpy), part)

    def rearranged(self, weights: Operand, op: Transpose | Unsqueeze) -> Operand:
        """Weights under another order or number of axes; stored integers stay stored."""
        if isinstance(weights, Value):
            return self._rearranged(op, weights, None)
        constant = weights.constant
        moved = self._rearranged(op, constant, _moved(constant.type, op))
        return Stored(moved, weights.dtype, weights.name, weights.source)

    def _rearranged(self, op: Op, weights: Value, quant: Quant | None) -> Value:
        name = f"{weights.name}.{type(op).__name__.lower()}d"
        (value,) = self.scope.emit(op, (weights,), [name], self.source, quant)
        return value

    # Internals

    def _raw(self, name: str) -> Any:
        self._unread_attributes.discard(name)
        return self._attributes.get(name)

    def _attribute(self, name: str, kind: type[Any], default: Any) -> Any:
        found = self._raw(name)
        if found is None and default is None:
            raise InvalidModel(f"lacks the attribute '{name}'", where=str(self.source))
        if found is not None and type(found) is not kind:
            raise self._mistyped(name)
        return default if found is None else found

    def _list(self, name: str, kind: type[Any]) -> tuple[Any, ...] | None:
        found = self._raw(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(type(item) is kind for item in found):
            raise self._mistyped(name)
        return tuple(found)

    def _mistyped(self, name: str) -> InvalidModel:
        return InvalidModel(f"attribute '{name}' is of the wrong kind", where=str(self.source))


Lowering = Callable[[Call], Operand | Sequence[Operand]]
"""How an ONNX operator becomes operators of the IR; it returns its output or outputs."""


def _moved(stored: TensorType, op: Transpose | Unsqueeze) -> Quant | None:
    """The quantization of stored weights after their axes were rearranged."""
    quant = stored.quant
    if quant is None or quant.axis is None:
        return quant
    if isinstance(op, Transpose):
        return Quant(quant.scale, quant.zero_point, op.perm.index(quant.axis))
    before = sum(axis <= quant.axis for axis in op.axes)
    return Quant(quant.scale, quant.zero_point, quant.axis + before)


def expect_rank(x: Operand, *ranks: int) -> None:
    """Raise InvalidType unless the operand is of one of these ranks."""
    if x.type.rank not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise InvalidType(f"wants an operand of rank {wanted}, not {dims(x.type.shape)}")
