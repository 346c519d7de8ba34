"""Leave the weights where they lie in a serialized model.

Parsing copies every byte of the weights, and reading them from the parsed message copies them
again. Cut out beforehand, they stay in the file's own bytes, and arrays are views of those. The
numbers are those of onnx.proto and of the protocol buffers encoding
(https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DATA_TYPE = 2
_RAW_DATA, _FLOAT_DATA, _DOUBLE_DATA = 9, 4, 10
_PACKED = {_FLOAT_DATA: 1, _DOUBLE_DATA: 11}
"""Fields that hold elements as little-endian bytes, with the element type that they hold."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SMALLEST = 1024
"""Bytes below which cutting is not worth the while."""


class _Malformed(Exception):
    """The bytes are no protocol buffer message; protobuf says so better."""


class _Field(NamedTuple):
    """One field: from ``start`` (its key) over ``body`` (its content) to ``end``."""

    number: int
    kind: int
    start: int
    body: int
    end: int


def cut_weights(data: bytes) -> tuple[bytes, dict[int, memoryview]]:
    """A serialized model without the contents of its large initializers, and those contents.

    Args:
        data: a serialized ``onnx.ModelProto``.

    Returns:
        The serialized model without them, and views of ``data`` by the position of the
        initializer; ``data`` itself and no views where it holds none or is malformed.
    """
    cut: list[memoryview | None] = []
    try:
        parts = list(_cut_model(memoryview(data), cut))
    except _Malformed:
        return data, {}
    found = {i: view for i, view in enumerate(cut) if view is not None}
    return (b"".join(parts), found) if found else (data, {})


def _cut_model(data: memoryview, cut: list[memoryview | None]) -> Iterator[memoryview | bytes]:
    for field in _fields(data, 0, len(data)):
        if field.number == _MODEL_GRAPH and field.kind == _LENGTH:
            yield from _message(_MODEL_GRAPH, list(_cut_graph(data, field, cut)))
        else:
            yield data[field.start : field.end]


def _cut_graph(
    data: memoryview, graph: _Field, cut: list[memoryview | None]
) -> Iterator[memoryview | bytes]:
    for field in _fields(data, graph.body, graph.end):
        if field.number != _GRAPH_INITIALIZER or field.kind != _LENGTH:
            yield data[field.start : field.end]
            continue
        fields = list(_fields(data, field.body, field.end))
        payload = _payload(data, fields)
        cut.append(payload and data[payload.body : payload.end])
        kept = [data[f.start : f.end] for f in fields if f is not payload]
        yield from _message(_GRAPH_INITIALIZER, kept)


def _payload(data: memoryview, fields: list[_Field]) -> _Field | None:
    """The only field of a tensor that holds its elements, where its bytes can serve as they are."""
    holders = [f for f in fields if f.number in (_RAW_DATA, *_PACKED)]
    types = [f for f in fields if f.number == _TENSOR_DATA_TYPE and f.kind == _VARINT]
    if len(holders) != 1 or len(types) != 1 or holders[0].kind != _LENGTH:
        return None
    (holder,), (data_type,) = holders, types
    fits = holder.number == _RAW_DATA or _varint(data, data_type.body)[0] == _PACKED[holder.number]
    return holder if fits and holder.end - holder.body >= _SMALLEST else None


def _message(number: int, parts: Sequence[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    """A length-delimited field made of parts."""
    yield _encoded(number << 3 | _LENGTH) + _encoded(sum(map(len, parts)))
    yield from parts


def _fields(data: memoryview, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        key, body = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            stop = _varint(data, body)[1]
        elif kind == _LENGTH:
            length, body = _varint(data, body)
            stop = body + length
        elif kind in (_FIXED32, _FIXED64):
            stop = body + (4 if kind == _FIXED32 else 8)
        else:
            raise _Malformed
        if stop > end:
            raise _Malformed
        yield _Field(number, kind, at, body, stop)
        at = stop


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at a position and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _Malformed


def _encoded(number: int) -> bytes:
    """A number as a varint."""
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
