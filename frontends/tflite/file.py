"""A TFLite file as plain data, every offset and count in it checked.

The accessors of the ``tflite`` package follow any offset they find. Here is the one place that
calls them: what leaves the file becomes InvalidModel, vectors all together are no longer than the
file, and the data of constants are views of the file's bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tflite

from irprune.frontends.tflite.plan import PLAN_NAME, parse_plan
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.types import Array, DType, Quant, Shape, TensorType

IDENTIFIER = b"TFL3"
MAX_BYTES = 2**31
"""The format's offsets reach no further."""
MOST_DIMENSIONS = 8
"""No kernel of TFLite takes more."""

_DTYPES = {
    tflite.TensorType.FLOAT16: DType.F16,
    tflite.TensorType.FLOAT32: DType.F32,
    tflite.TensorType.FLOAT64: DType.F64,
    tflite.TensorType.INT8: DType.I8,
    tflite.TensorType.INT16: DType.I16,
    tflite.TensorType.INT32: DType.I32,
    tflite.TensorType.INT64: DType.I64,
    tflite.TensorType.UINT8: DType.U8,
    tflite.TensorType.UINT16: DType.U16,
    tflite.TensorType.UINT32: DType.U32,
    tflite.TensorType.UINT64: DType.U64,
    tflite.TensorType.BOOL: DType.BOOL,
}


def name_of(code: int, enumeration: type) -> str:
    """What a schema's enumeration calls a number."""
    names = {number: name for name, number in vars(enumeration).items() if name[0] != "_"}
    return str(names.get(code, f"{enumeration.__name__} {code}"))


def dtype_of(code: int) -> DType:
    """The element type of a TensorType number; UnsupportedOp where irprune has none."""
    if code not in _DTYPES:
        kind = name_of(code, tflite.TensorType)
        raise UnsupportedOp(f"element type {kind} is not supported")
    return _DTYPES[code]


def read(accessor: Callable[..., Any], *args: object) -> Any:
    """What a flatbuffer accessor finds; InvalidModel where it follows an offset out of the file."""
    try:
        return accessor(*args)
    except (struct.error, TypeError, ValueError):  # what flatbuffers and numpy raise there
        raise InvalidModel("is damaged: an offset in it leaves the file") from None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file declares it.

    Attributes:
        name: its name.
        type: its type; the shape is the file's static one.
        free_axes: the axes whose size the file leaves open (-1 in its signature).
        has_shape: whether the file says the shape of an operator's output at all.
        data: the elements of a constant.
    """

    name: str
    type: TensorType
    free_axes: tuple[int, ...]
    has_shape: bool
    data: Array | None


class Options:
    """The fields of an operator's options, read with checks."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def integer(self, field: str) -> int:
        """A field that holds a whole number."""
        return int(self._read(field))

    def number(self, field: str) -> float:
        """A field that holds a real number."""
        return float(self._read(field))

    def flag(self, field: str) -> bool:
        """A field that is true or false."""
        return bool(self._read(field))

    def integers(self, field: str) -> tuple[int, ...]:
        """A field that holds a few whole numbers, one a dimension."""
        if self._read(field + "Length") > MOST_DIMENSIONS:
            raise InvalidModel(f"{field} has more than {MOST_DIMENSIONS} numbers")
        found = self._read(field + "AsNumpy")
        return () if isinstance(found, int) else tuple(int(i) for i in found)

    def _read(self, field: str) -> Any:
        return read(getattr(self._table, field))


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: its builtin code, what people call it, and indices of tensors (-1 for none)."""

    index: int
    code: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Any

    @property
    def name(self) -> str:
        """The operator's name in error messages and sources."""
        return f"{self.kind}#{self.index}"

    def options(self, schema: type) -> Options:
        """The options, which must be of the schema's class."""
        wanted = getattr(tflite.BuiltinOptions, schema.__name__)
        table = read(self.table.BuiltinOptions)
        if table is None or read(self.table.BuiltinOptionsType) != wanted:
            raise InvalidModel(f"has no {schema.__name__}")
        options = schema()
        read(options.Init, table.Bytes, table.Pos)
        return Options(options)


class ModelFile:
    """The only subgraph of a file.

    Args:
        data: the file's bytes; they are kept, since constants are views of them.

    Raises:
        InvalidModel: the bytes are no TFLite file, or a damaged one.
        UnsupportedOp: there are several subgraphs.
    """

    def __init__(self, data: bytes) -> None:
        if data[4:8] != IDENTIFIER:
            raise InvalidModel("is no TFLite file")
        self._data = data
        self._unread = len(data)
        self._model = read(tflite.Model.GetRootAs, data, 0)
        if read(self._model.Version) != 3:
            raise InvalidModel(f"is of version {read(self._model.Version)}, not 3")
        count = read(self._model.SubgraphsLength)
        if count == 0:
            raise InvalidModel("has no graph")
        if count > 1:
            raise UnsupportedOp(f"has {count} subgraphs", hint="irprune reads models of one")
        self._graph = read(self._model.Subgraphs, 0)
        self._tensors: dict[int, Tensor] = {}

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's inputs."""
        return self._indices(self._graph, "Inputs")

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Tensor indices of the graph's outputs."""
        return self._indices(self._graph, "Outputs")

    @cached_property
    def operators(self) -> tuple[Operator, ...]:
        """The operators, in execution order."""
        codes = [self._code(table) for table in self._tables(self._model, "OperatorCodes")]
        found = []
        for index, table in enumerate(self._tables(self._graph, "Operators")):
            opcode = read(table.OpcodeIndex)
            if opcode >= len(codes):
                raise InvalidModel(f"operator {index} is number {opcode} of {len(codes)} kinds")
            inputs, outputs = (self._indices(table, field) for field in ("Inputs", "Outputs"))
            code, kind = codes[opcode]
            found.append(Operator(index, code, kind, inputs, outputs, table))
        return tuple(found)

    def tensor(self, index: int) -> Tensor:
        """A tensor by its index; UnsupportedOp where it is of a kind that irprune lacks."""
        if index not in self._tensors:
            if not 0 <= index < self.tensor_count:
                raise InvalidModel(f"there is no tensor {index}")
            self._tensors[index] = self._tensor(read(self._graph.Tensors, index), index)
        return self._tensors[index]

    @cached_property
    def tensor_count(self) -> int:
        """How many tensors there are, constants among them."""
        return int(read(self._graph.TensorsLength))

    @cached_property
    def plan(self) -> tuple[int, ...] | None:
        """The offsets of the memory plan, which may be for another model; None where it has none.

        Raises:
            InvalidPlan: the plan is damaged.
        """
        found = None
        for entry in self._tables(self._model, "Metadata"):
            name = read(entry.Name) or b""
            self._spend(len(name))
            if name == PLAN_NAME:  # the runtime follows the last
                found = self._content(read(entry.Buffer), "the memory plan")
                found = np.empty(0, np.uint8) if found is None else found
                self._spend(found.size)
        return None if found is None else parse_plan(found.tobytes())

    def _tensor(self, table: Any, index: int) -> Tensor:
        name = self._text(table.Name) or f"tensor{index}"
        if read(table.IsVariable):
            raise UnsupportedOp(f"tensor '{name}' keeps a state between runs")
        if read(table.Sparsity) is not None:
            raise UnsupportedOp(f"tensor '{name}' is stored sparsely")
        shape = self._vector(table, "Shape", MOST_DIMENSIONS)
        signature = self._vector(table, "ShapeSignature", MOST_DIMENSIONS)
        dtype = dtype_of(read(table.Type))
        quant = self._quantization(table, dtype, shape)
        declared = TensorType(shape, dtype, quant)
        return Tensor(
            name=name,
            type=declared,
            free_axes=tuple(axis for axis, size in enumerate(signature) if size < 0),
            has_shape=bool(shape) or bool(read(table.HasRank)),
            data=self._constant(read(table.Buffer), declared, name),
        )

    def _quantization(self, table: Any, dtype: DType, shape: Shape) -> Quant | None:
        parameters = read(table.Quantization)
        if parameters is None or not dtype.is_integer:
            return None
        if read(parameters.DetailsType) != 0:
            raise UnsupportedOp("a custom quantization is not supported")
        scale = self._vector(parameters, "Scale")
        zero_point = self._vector(parameters, "ZeroPoint") or (0,)
        if not scale:
            return None
        if len(zero_point) == 1:  # TFLite-Micro takes one for all the channels
            zero_point *= len(scale)
        axis = int(read(parameters.QuantizedDimension)) if len(scale) > 1 else None
        if axis is not None and (axis < 0 or shape[axis : axis + 1] != (len(scale),)):
            raise InvalidModel(f"has {len(scale)} scales for axis {axis} of shape {shape}")
        return Quant(tuple(map(float, scale)), tuple(map(int, zero_point)), axis)

    def _constant(self, index: int, declared: TensorType, name: str) -> Array | None:
        """The data of a tensor: a read-only view of the file's bytes; None where it has none."""
        data = self._content(index, f"tensor '{name}'")
        if data is None:
            return None
        if data.size != declared.nbytes:
            raise InvalidModel(f"tensor '{name}' is {declared} but has {data.size} bytes of data")
        return np.frombuffer(data, declared.dtype.numpy).reshape(declared.shape)

    def _content(self, index: int, what: str) -> Array | None:
        """The bytes of a buffer: a view of the file's; None where there are none."""
        if index >= read(self._model.BuffersLength):
            raise InvalidModel(f"{what} is in buffer {index}, which is not there")
        buffer = read(self._model.Buffers, index)
        data = read(buffer.DataAsNumpy)
        offset, size = read(buffer.Offset), read(buffer.Size)
        if offset > 1 and size > 1:  # beyond the flatbuffer, as files of 2 GiB and more have it
            if offset + size > len(self._data):
                raise InvalidModel(f"the data of {what} lie outside the file")
            return np.frombuffer(self._data, np.uint8, size, offset)
        return None if isinstance(data, int) or data.size == 0 else np.asarray(data)

    def _code(self, table: Any) -> tuple[int, str]:
        """An operator code and its name; the code was a byte before there were too many."""
        code = max(read(table.BuiltinCode), read(table.DeprecatedBuiltinCode))
        if code == tflite.BuiltinOperator.CUSTOM:
            return code, f"CUSTOM {self._text(table.CustomCode)}"
        return code, name_of(code, tflite.BuiltinOperator)

    def _text(self, accessor: Callable[[], Any]) -> str:
        found = read(accessor) or b""
        self._spend(len(found))
        return str(read(found.decode))

    def _indices(self, table: Any, field: str) -> tuple[int, ...]:
        return tuple(map(int, self._vector(table, field)))

    def _vector(self, table: Any, field: str, most: int | None = None) -> tuple[Any, ...]:
        """A vector of numbers; InvalidModel where it has more than ``most``."""
        count = read(getattr(table, field + "Length"))
        if most is not None and count > most:
            raise InvalidModel(f"a {field.lower()} has {count} numbers, more than {most}")
        self._spend(4 * count)
        return tuple(read(getattr(table, field + "AsNumpy")).tolist()) if count else ()

    def _tables(self, table: Any, field: str) -> list[Any]:
        count = read(getattr(table, field + "Length"))
        self._spend(4 * count)
        return [read(getattr(table, field), i) for i in range(count)]

    def _spend(self, count: int) -> None:
        """Count bytes read: those of names and vectors, none of which overlap in a sound file."""
        self._unread -= count
        if self._unread < 0:
            raise InvalidModel("is damaged: its vectors are longer than the file")
