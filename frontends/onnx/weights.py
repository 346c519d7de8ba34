"""Leave the weights where they lie in a serialized model.

Parsing copies every byte of the weights, and reading them from the parsed message copies them
again. Cut out beforehand, they stay in the file's own bytes, and arrays are views of those. The
numbers are those of onnx.proto and of the protocol buffers encoding
(https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from irprune.frontends.onnx.wire import LENGTH, VARINT, Field, Malformed, encoded, fields, varint

MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_DATA_TYPE = 2
_RAW_DATA, _FLOAT_DATA, _DOUBLE_DATA = 9, 4, 10
_PACKED = {_FLOAT_DATA: 1, _DOUBLE_DATA: 11}
"""Fields that hold elements as little-endian bytes, with the element type that they hold."""

_SMALLEST = 1024
"""Bytes below which cutting is not worth the while."""


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
    except Malformed:
        return data, {}
    found = {i: view for i, view in enumerate(cut) if view is not None}
    return (b"".join(parts), found) if found else (data, {})


def _cut_model(data: memoryview, cut: list[memoryview | None]) -> Iterator[memoryview | bytes]:
    for field in fields(data, 0, len(data)):
        if field.number == MODEL_GRAPH and field.kind == LENGTH:
            yield from _message(MODEL_GRAPH, list(_cut_graph(data, field, cut)))
        else:
            yield data[field.start : field.end]


def _cut_graph(
    data: memoryview, graph: Field, cut: list[memoryview | None]
) -> Iterator[memoryview | bytes]:
    for field in fields(data, graph.body, graph.end):
        if field.number != _GRAPH_INITIALIZER or field.kind != LENGTH:
            yield data[field.start : field.end]
            continue
        parts = list(fields(data, field.body, field.end))
        payload = _payload(data, parts)
        cut.append(payload and data[payload.body : payload.end])
        kept = [data[f.start : f.end] for f in parts if f is not payload]
        yield from _message(_GRAPH_INITIALIZER, kept)


def _payload(data: memoryview, parts: list[Field]) -> Field | None:
    """The only field of a tensor that holds its elements, where its bytes can serve as they are."""
    holders = [f for f in parts if f.number in (_RAW_DATA, *_PACKED)]
    types = [f for f in parts if f.number == _TENSOR_DATA_TYPE and f.kind == VARINT]
    if len(holders) != 1 or len(types) != 1 or holders[0].kind != LENGTH:
        return None
    (holder,), (data_type,) = holders, types
    fits = holder.number == _RAW_DATA or varint(data, data_type.body)[0] == _PACKED[holder.number]
    return holder if fits and holder.end - holder.body >= _SMALLEST else None


def _message(number: int, parts: Sequence[memoryview | bytes]) -> Iterator[memoryview | bytes]:
    """A length-delimited field made of parts."""
    yield encoded(number << 3 | LENGTH) + encoded(sum(map(len, parts)))
    yield from parts
