"""From a graph to the bytes of a TFLite file (schema version 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version as installed
from typing import Any

import flatbuffers
import numpy as np
import tflite

from irprune.backends.tflite.compression import Step, smallest
from irprune.backends.tflite.record import Constant, Operand, Record
from irprune.backends.tflite.table import record
from irprune.backends.tflite.versions import version
from irprune.frontends.lowering import Unsupported
from irprune.frontends.tflite.compression import DECODE
from irprune.frontends.tflite.file import IDENTIFIER, MAX_BYTES
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.graph import Graph, Source, Value
from irprune.ir.types import Array, DType, Quant, TensorType

ALIGNMENT = 16
"""Bytes to which the schema aligns the contents of buffers."""

METADATA = "irprune"
"""The name of the metadata that holds irprune's version."""

_TYPES = {
    DType.F32: tflite.TensorType.FLOAT32,
    DType.F16: tflite.TensorType.FLOAT16,
    DType.F64: tflite.TensorType.FLOAT64,
    DType.I8: tflite.TensorType.INT8,
    DType.I16: tflite.TensorType.INT16,
    DType.I32: tflite.TensorType.INT32,
    DType.I64: tflite.TensorType.INT64,
    DType.U8: tflite.TensorType.UINT8,
    DType.U16: tflite.TensorType.UINT16,
    DType.U32: tflite.TensorType.UINT32,
    DType.U64: tflite.TensorType.UINT64,
    DType.BOOL: tflite.TensorType.BOOL,
}


def write_tflite(graph: Graph, *, pack: bool = False) -> bytes:
    """The graph as a TFLite file that TFLite-Micro runs.

    Each node becomes one operator, each value a tensor of its name. Equal constants are stored
    once; the same graph gives the same bytes.

    Args:
        graph: a graph in forms that TFLite-Micro has (``passes.pipeline.lowering``).
        pack: whether weights are stored without their zeros where that is smaller
            (``backends.tflite.compression``); only TFLite-Micro runs such a file.

    Raises:
        UnsupportedOp: it has others; all of them in one message.
        InvalidModel: the file would be longer than the format allows.
    """
    unsupported = Unsupported()
    steps: list[Step] = []
    for node in graph.nodes:
        try:
            steps.append((record(graph, node), node.outputs))
        except UnsupportedOp as error:
            unsupported.add(Source(name=node.source.name or node.name), error.what)
    unsupported.raise_if_any(graph.name)
    constants = sum(array.nbytes for array in graph.constants.values())
    if constants > MAX_BYTES:
        raise InvalidModel(
            f"has {constants} bytes of constants, and the format holds {MAX_BYTES}",
            where=graph.name,
        )

    def write(steps: Sequence[Step]) -> bytes:
        return _File(graph, steps).data

    return smallest(graph, steps, write) if pack else write(steps)


class _File:
    """The flatbuffer of a model in the making: what is referred to comes first.

    Attributes:
        data: the file.
    """

    def __init__(self, graph: Graph, steps: Sequence[Step]) -> None:
        self._builder = flatbuffers.Builder(1 << 16)
        self._arrays = graph.constants
        self._tensors: list[int] = []
        self._indices: dict[Value | Constant, int] = {}
        self._contents: dict[bytes, int] = {b"": 0}
        self._codes: dict[tuple[str, int], int] = {}
        self._vectors: dict[tuple[object, bytes], int] = {}
        inputs = [self._tensor(value) for value in graph.inputs]
        operators = [self._operator(found, made) for found, made in steps]
        outputs = [self._tensor(value) for value in graph.outputs]
        subgraph = self._table(
            "SubGraph",
            Tensors=self._tables(self._tensors),
            Inputs=self._integers(inputs),
            Outputs=self._integers(outputs),
            Operators=self._tables(operators),
            Name=self._builder.CreateString("main"),
        )
        release = installed("irprune")
        metadata = self._table(
            "Metadata",
            Name=self._builder.CreateString(METADATA),
            Buffer=self._buffer(release.encode()),
        )
        model = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._tables([self._code(*key) for key in self._codes]),
            Subgraphs=self._tables([subgraph]),
            Description=self._builder.CreateString(f"irprune {release}"),
            Buffers=self._tables([self._content(data) for data in self._contents]),
            Metadata=self._tables([metadata]),
        )
        self._builder.Finish(model, IDENTIFIER)
        self.data = bytes(self._builder.Output())

    def _operator(self, found: Record, made: Sequence[Value]) -> int:
        operands = [None if operand is None else operand.type for operand in found.operands]
        key = (found.kind, version(found, operands, made[0].type))
        code = self._codes.setdefault(key, len(self._codes))
        inputs = [-1 if o is None else self._tensor(o) for o in found.operands]
        outputs = [self._tensor(value) for value in made]
        fields: dict[str, Any] = {
            "OpcodeIndex": code,
            "Inputs": self._integers(inputs),
            "Outputs": self._integers(outputs),
        }
        if found.options:
            fields["BuiltinOptions"] = self._table(found.options, **found.fields)
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, found.options)
        return self._table("Operator", **fields)

    def _code(self, kind: str, number: int) -> int:
        if kind == DECODE:
            name = self._builder.CreateString(kind)
            custom = tflite.BuiltinOperator.CUSTOM
            return self._table(
                "OperatorCode",
                DeprecatedBuiltinCode=custom,
                CustomCode=name,
                BuiltinCode=custom,
                Version=number,
            )
        code = getattr(tflite.BuiltinOperator, kind)
        old = min(code, tflite.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=old, BuiltinCode=code, Version=number
        )

    def _tensor(self, operand: Operand) -> int:
        """The index of a tensor, which is entered where it is new."""
        assert operand is not None
        if operand not in self._indices:
            array = operand.array if isinstance(operand, Constant) else self._arrays.get(operand)
            buffer = 0 if array is None else self._buffer(_bytes(array))
            self._indices[operand] = len(self._tensors)
            self._tensors.append(self._described(operand.name, operand.type, buffer))
        return self._indices[operand]

    def _described(self, name: str, t: TensorType, buffer: int) -> int:
        fields: dict[str, Any] = {
            "Shape": self._integers(t.shape),
            "Type": _TYPES[t.dtype],
            "Buffer": buffer,
            "HasRank": True,
        }
        if name:
            fields["Name"] = self._builder.CreateString(name)
        if t.quant is not None:
            fields["Quantization"] = self._quantization(t.quant)
        return self._table("Tensor", **fields)

    def _quantization(self, quant: Quant) -> int:
        return self._table(
            "QuantizationParameters",
            Scale=self._numbers(np.asarray(quant.scale, np.float32)),
            ZeroPoint=self._numbers(np.asarray(quant.zero_point, np.int64)),
            QuantizedDimension=quant.axis or 0,
        )

    def _buffer(self, data: bytes) -> int:
        """The number of a buffer; 0 is the empty one, which no constant may have."""
        return self._contents.setdefault(data, len(self._contents))

    def _content(self, data: bytes) -> int:
        if not data:
            return self._table("Buffer")
        builder = self._builder
        builder.StartVector(1, len(data), ALIGNMENT)
        builder.head = builder.head - len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return self._table("Buffer", Data=builder.EndVector())

    def _integers(self, numbers: Sequence[int]) -> int:
        return self._numbers(np.asarray(numbers, np.int32))

    def _numbers(self, numbers: Array) -> int:
        """A vector of numbers; equal ones are one, as the zero points of most weights are."""
        key = (numbers.dtype, numbers.tobytes())
        if key not in self._vectors:
            self._vectors[key] = int(self._builder.CreateNumpyVector(numbers))
        return self._vectors[key]

    def _tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def _table(self, kind: str, **fields: Any) -> int:
        """A table of the schema with these fields."""
        _function(kind, "Start")(self._builder)
        for field, content in fields.items():
            _function(kind, f"Add{field}")(self._builder, content)
        return int(_function(kind, "End")(self._builder))


def _function(kind: str, what: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(tflite, kind + what)
    return function


def _bytes(array: Array) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
