"""One operator of a TFLite file on its way into the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from irprune.frontends.tflite.compression import unpacked
from irprune.frontends.tflite.file import ModelFile, Operator, Options, Tensor
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.graph import Source, Value
from irprune.ir.op import Op
from irprune.ir.types import Array, DType, Quant, dims

MOST_FOLDED = 64
"""Shape arithmetic is on as many numbers as a shape has, or a few such."""


class Constant(NamedTuple):
    """A tensor whose elements are known."""

    name: str
    array: Array
    quant: Quant | None


class Scope:
    """The values that the tensors of a file have become so far."""

    def __init__(self, file: ModelFile, builder: Builder) -> None:
        self.file = file
        self.builder = builder
        self._values: dict[int, Value] = {}
        self._restored: dict[int, Constant] = {}

    @property
    def values(self) -> Mapping[int, Value]:
        """The value that each tensor has become, by the tensor's index."""
        return self._values

    def value(self, index: int) -> Value:
        """The value of a tensor; InvalidModel where nothing has made it yet."""
        if index not in self._values:
            tensor = self.file.tensor(index)
            constant = self.constant(index)
            if constant is None:
                raise InvalidModel(f"tensor '{tensor.name}' is read before anything makes it")
            self._values[index] = self.builder.constant(*constant)
        return self._values[index]

    def constant(self, index: int) -> Constant | None:
        """A tensor as a constant, without entering it in the graph; None where it is none."""
        if index in self._values:
            value = self._values[index]
            array = self.builder.array(value)
            return None if array is None else Constant(value.name, array, value.type.quant)
        if index in self._restored:
            return self._restored[index]
        tensor = self.file.tensor(index)
        data = tensor.data
        if data is None and tensor.type.elements == 0 and tensor.has_shape:
            data = np.empty(tensor.type.shape, tensor.type.dtype.numpy)
        return None if data is None else Constant(tensor.name, data, tensor.type.quant)

    def make(self, index: int, value: Value) -> None:
        """Note that a tensor has become a value; InvalidModel where it was one already."""
        self._expect_unmade(index)
        self._values[index] = value

    def restore(self, index: int, array: Array) -> None:
        """Note the elements of a constant that the device unpacks."""
        self._expect_unmade(index)
        tensor = self.file.tensor(index)
        self._restored[index] = Constant(tensor.name, array, tensor.type.quant)

    def _expect_unmade(self, index: int) -> None:
        tensor = self.file.tensor(index)
        if index in self._values or index in self._restored or tensor.data is not None:
            raise InvalidModel(f"tensor '{tensor.name}' is made twice")

    def stand_in(self, index: int) -> None:
        """Let a tensor that cannot be made be read all the same, to look at what follows."""
        try:
            declared = self.file.tensor(index).type
        except UnsupportedOp:
            return
        self._values.setdefault(index, Value(f"tensor{index}", declared))


class Call:
    """An operator, its operands as values of the graph, and the builder that takes its nodes.

    Args:
        scope: the values so far.
        operator: the operator to lower.
        file_name: where it stands, for the nodes' sources.
    """

    def __init__(self, scope: Scope, operator: Operator, file_name: str) -> None:
        self._scope = scope
        self._operator = operator
        self.source = Source(file_name, operator.name)

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every operand."""
        return tuple(self._scope.value(i) for i in self._operator.inputs)

    def has(self, position: int) -> bool:
        """Whether an optional operand is there."""
        inputs = self._operator.inputs
        return position < len(inputs) and inputs[position] >= 0

    def value(self, position: int) -> Value:
        """An operand; InvalidModel where it is missing."""
        if not self.has(position):
            raise InvalidModel(f"has no operand {position}")
        return self._scope.value(self._operator.inputs[position])

    def optional(self, position: int) -> tuple[Value, ...]:
        """The operand, or nothing where it is left out."""
        return (self.value(position),) if self.has(position) else ()

    def constant(self, position: int) -> Constant:
        """An operand that must be a constant; UnsupportedOp where it is computed."""
        if not self.has(position):
            raise InvalidModel(f"has no operand {position}")
        constant = self._scope.constant(self._operator.inputs[position])
        if constant is None:
            raise UnsupportedOp(f"operand {position} is computed, not constant")
        return constant

    def integers(self, position: int) -> tuple[int, ...]:
        """The whole numbers of a constant operand."""
        array = self.constant(position).array
        if array.dtype.kind not in "iu":
            raise InvalidModel(f"operand {position} is {array.dtype}, not integers")
        return tuple(array.ravel().tolist())

    def options(self, schema: type) -> Options:
        """The operator's options, of the schema's class."""
        return self._operator.options(schema)

    def output(self, position: int = 0) -> Tensor:
        """What the file declares of an output."""
        if position >= len(self._operator.outputs):
            raise InvalidModel(f"has no output {position}")
        return self._scope.file.tensor(self._operator.outputs[position])

    @property
    def operand_count(self) -> int:
        """How many operands the operator has."""
        return len(self._operator.inputs)

    @property
    def output_count(self) -> int:
        """How many outputs the operator has."""
        return len(self._operator.outputs)

    def step(self, op: Op, *operands: Value) -> Value:
        """The output of a node whose value the file does not name."""
        folded = self._fold(op, operands)
        if folded is not None:
            return self._scope.builder.constant(f"{self.source.name}.folded", folded)
        name = f"{self.source.name}.{type(op).__name__.lower()}"
        return self._scope.builder.add(op, *operands, name=name, source=self.source)

    def emit(self, op: Op, *operands: Value) -> None:
        """Add the node that makes the operator's outputs."""
        folded = self._fold(op, operands)
        if folded is not None:
            self.give(folded)
            return
        tensors = [self.output(i) for i in range(self.output_count)]
        outputs = self._scope.builder.add_node(
            op,
            operands,
            names=[t.name for t in tensors],
            name=self.source.name,
            source=self.source,
            quants=[t.type.quant for t in tensors],
        )
        if len(outputs) != len(tensors):
            raise InvalidModel(f"has {len(tensors)} outputs, not {len(outputs)}")
        for index, tensor, value in zip(self._operator.outputs, tensors, outputs, strict=True):
            self._make(index, tensor, value)

    def give(self, array: Array) -> None:
        """Let the operator's only output be a constant."""
        tensor = self.output()
        constant = self._scope.builder.constant(tensor.name, array)
        self._make(self._operator.outputs[0], tensor, constant)

    def unpack(self, position: int) -> None:
        """Let an output be the constant that a pair of operands is packed in."""
        encoded, ancillary = self.constant(2 * position), self.constant(2 * position + 1)
        array = unpacked(encoded.array, ancillary.array, self.output(position).type)
        self._scope.restore(self._operator.outputs[position], array)

    def permuted(self, position: int, perm: Sequence[int]) -> Value:
        """A constant operand with its axes permuted: a view, its quantized axis moved along."""
        name, array, quant = self.constant(position)
        if sorted(perm) != list(range(array.ndim)):
            raise InvalidModel(f"operand {position} is of rank {array.ndim}, not {len(perm)}")
        if quant is not None and quant.axis is not None:
            quant = replace(quant, axis=list(perm).index(quant.axis))
        return self._scope.builder.constant(name, array.transpose(perm), quant)

    def _make(self, index: int, tensor: Tensor, value: Value) -> None:
        """Enter an output, after a comparison with what the file declares of it."""
        declared, inferred = tensor.type, value.type
        same = not tensor.has_shape or (
            declared.rank == inferred.rank
            and all(
                axis in tensor.free_axes or declared.shape[axis] == inferred.shape[axis]
                for axis in range(inferred.rank)
            )
        )
        if not same:
            raise InvalidModel(
                f"declares an output of {dims(declared.shape)}, "
                f"but its operands give {dims(inferred.shape)}"
            )
        if declared.dtype != inferred.dtype:
            raise UnsupportedOp(f"gives {declared.dtype.value} from {inferred.dtype.value}")
        self._scope.make(index, value)

    def _fold(self, op: Op, operands: Sequence[Value]) -> Array | None:
        """The only output where it is shape arithmetic on constants, which needs no node."""
        arrays = [self._scope.builder.array(value) for value in operands]
        known = [array for array in arrays if array is not None]
        if len(known) != len(arrays) or not known:
            return None
        if any(v.type.dtype not in (DType.I32, DType.I64) for v in operands):
            return None
        outputs = op.infer([v.type for v in operands])
        small = sum(t.elements for t in (*outputs, *(v.type for v in operands))) <= MOST_FOLDED
        if len(outputs) != 1 or not small or any(v.type.quant for v in operands):
            return None
        return np.asarray(op.evaluate(known)[0])
