"""Edits of TFLite files that leave all else as it is, weights byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.array_utils import byte_bounds

from irprune.backends.tflite.flatbuffer import Front, Table, number, target
from irprune.frontends.tflite import read_tflite
from irprune.frontends.tflite.file import IDENTIFIER, MAX_BYTES, ModelFile
from irprune.frontends.tflite.plan import PLAN_NAME, plan_content
from irprune.ir.errors import InvalidModel, InvalidPlan, UnsupportedOp, UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Array

ALIGNMENT = 64
"""Bytes to which what moves stays aligned: the schema asks for 16, caches like 64."""

# Slots of the schema's tables (tensorflow/lite/schema/schema.fbs).
_VERSION, _SUBGRAPHS, _BUFFERS, _METADATA = 0, 2, 4, 6
_MODEL_SLOTS = 10
_TENSORS, _OPERATORS = 0, 3
_TENSOR_BUFFER = 2
_LARGE_OPTIONS_OFFSET = 9
_NAME, _BUFFER = 0, 1
_DATA, _OFFSET = 0, 1


def reordered(data: bytes, order: Sequence[int]) -> bytes:
    """A TFLite file whose operators run in another order.

    A memory plan in it stays, and may not hold in that order.

    Args:
        data: the file.
        order: operator indices of the file, as they are to run.

    Returns:
        A file of the same length, in which only the vector of operators differs.

    Raises:
        UsageError: the order is none of these operators, or lets one read what is not made yet.
        InvalidModel: the file is damaged.
        UnsupportedOp: it is of a kind that irprune does not read.
    """
    file = ModelFile(data)
    _check_order(file, order)
    places = _subgraph(data).entries(_OPERATORS)
    found = [target(data, at) for at in places]
    edited = bytearray(data)
    for at, index in zip(places, order, strict=True):
        if found[index] <= at:
            raise InvalidModel("is damaged: an operator lies within the vector of operators")
        struct.pack_into("<I", edited, at, found[index] - at)
    return bytes(edited)


def with_plan(data: bytes, offsets: Sequence[int]) -> bytes:
    """A TFLite file with a memory plan for TFLite-Micro, in place of any that it has.

    A plan of the same length is written over the old one. Otherwise the old file stays as it is,
    behind a new root that refers to it, so that no weight changes; an old plan is left unused.

    Args:
        data: the file.
        offsets: bytes from the start of the arena for each tensor; -1 for constants and for what
            the runtime is to place. They are not checked here.

    Raises:
        InvalidPlan: there are not as many offsets as tensors.
        InvalidModel: the file is damaged, or would be longer than the format allows.
        UnsupportedOp: it is of a kind that irprune does not read, or has data behind the
            flatbuffer, at positions that must not change.
    """
    count = ModelFile(data).tensor_count
    if len(offsets) != count:
        raise InvalidPlan(f"the plan has {len(offsets)} tensors, the file {count}")
    content = plan_content(offsets)
    at = _old_content(data, len(content))
    if at is not None:
        return data[:at] + content + data[at + len(content) :]
    _refuse_data_behind(data)
    edited = _with_front(data, content)
    if len(edited) > MAX_BYTES:
        raise InvalidModel(f"would have more than {MAX_BYTES} bytes with a plan")
    return edited


def with_constants(data: bytes, graph: Graph, constants: Mapping[Value, Array]) -> bytes:
    """A TFLite file in which constants have other elements, and all else is as it was.

    Args:
        data: the file.
        graph: what ``read_tflite`` makes of these very bytes.
        constants: the arrays of the graph's constants, of their types.

    Raises:
        UnsupportedOp: the file keeps a constant that changes in another form, compressed or in
            half precision, or shares its bytes with what does not change likewise.
    """
    edited = bytearray(data)
    start, end = byte_bounds(np.frombuffer(data, np.uint8))
    for value, array in constants.items():
        old = graph.constants[value]
        if array is old:
            continue
        first, last = byte_bounds(old)
        if not start <= first <= last <= end:
            raise UnsupportedOp(
                f"keeps '{value.name}' in another form, compressed or in half precision",
                hint="edit the model that it was made from",
            )
        # The old array is a view of the file: the same view of the copy takes the new elements.
        place: Array = np.ndarray(old.shape, old.dtype, edited, first - start, old.strides)
        place[...] = array
    _check_constants(bytes(edited), constants)
    return bytes(edited)


def _check_constants(data: bytes, constants: Mapping[Value, Array]) -> None:
    """Raise UnsupportedOp unless a file has these constants."""
    found = read_tflite(data).constants
    for (value, wanted), array in zip(constants.items(), found.values(), strict=True):
        if not np.array_equal(wanted, array):
            raise UnsupportedOp(
                f"shares the bytes of '{value.name}' with a constant that does not change likewise",
                hint="write the model without shared buffers",
            )


def _check_order(file: ModelFile, order: Sequence[int]) -> None:
    operators = file.operators
    if sorted(order) != list(range(len(operators))):
        raise UsageError(f"the order does not run each of {len(operators)} operators once")
    missing = {tensor for operator in operators for tensor in operator.outputs}
    for operator in (operators[index] for index in order):
        for tensor in operator.inputs:
            if tensor in missing:
                name = file.tensor(tensor).name
                raise UsageError(f"the order runs {operator.name} before '{name}' is made")
        missing -= set(operator.outputs)


def _model(data: bytes) -> Table:
    return Table(data, target(data, 0))


def _subgraph(data: bytes) -> Table:
    return _model(data).tables(_SUBGRAPHS)[0]


def _old_content(data: bytes, length: int) -> int | None:
    """The position of the only plan's bytes, if it is of this length and nothing else's too."""
    model = _model(data)
    entries = model.tables(_METADATA)
    indices = [entry.integer(_BUFFER) for entry in entries if entry.content(_NAME) == PLAN_NAME]
    contents = [buffer.target(_DATA) for buffer in model.tables(_BUFFERS)]
    if len(indices) != 1 or indices[0] >= len(contents):
        return None
    (index,) = indices
    at = contents[index]
    tensors = {tensor.integer(_TENSOR_BUFFER) for tensor in _subgraph(data).tables(_TENSORS)}
    others = sum(entry.integer(_BUFFER) == index for entry in entries) > 1 or index in tensors
    if at is None or contents.count(at) > 1 or others or number(data, at) != length:
        return None
    return at + 4


def _refuse_data_behind(data: bytes) -> None:
    outside = [buffer.integer(_OFFSET, "Q") for buffer in _model(data).tables(_BUFFERS)]
    for operator in _subgraph(data).tables(_OPERATORS):
        outside.append(operator.integer(_LARGE_OPTIONS_OFFSET, "Q"))
    if max(outside, default=0) > 1:
        raise UnsupportedOp(
            "has data behind the flatbuffer, which a plan would move",
            hint="convert the model without them",
        )


def _with_front(data: bytes, content: bytes) -> bytes:
    """The file behind a new root, whose metadata and buffers have the plan as well."""
    old = _model(data)
    if old.slots > _MODEL_SLOTS:
        raise UnsupportedOp("is of a newer schema than irprune knows")
    buffers, entries = old.targets(_BUFFERS), old.targets(_METADATA)
    entries = [at for at in entries if Table(data, at).content(_NAME) != PLAN_NAME]
    front = Front(IDENTIFIER)
    kept = {slot: to for slot in range(1, old.slots) if (to := old.target(slot)) is not None}
    model = front.table(sorted({_VERSION, _BUFFERS, _METADATA, *kept}))
    front.write(model[_VERSION], old.integer(_VERSION))
    for slot in kept.keys() - {_BUFFERS, _METADATA}:
        front.link_old(model[slot], kept[slot])
    entry = _extend(front, model[_METADATA], entries)
    buffer = _extend(front, model[_BUFFERS], buffers)
    metadata = front.table([_NAME, _BUFFER])
    front.link(entry, metadata[-1])
    front.write(metadata[_BUFFER], len(buffers))
    name = struct.pack("<I", len(PLAN_NAME)) + PLAN_NAME + b"\0"
    front.link(metadata[_NAME], front.put(name))
    holder = front.table([_DATA])
    front.link(buffer, holder[-1])
    vector = front.put(struct.pack("<I", len(content)) + content, alignment=16, ahead=4)
    front.link(holder[_DATA], vector)
    return front.before(data, model[-1], ALIGNMENT)


def _extend(front: Front, field: int, tables: Sequence[int]) -> int:
    """Let a field be a vector of old tables and one more; where the offset to that one stands."""
    vector = front.vector(len(tables) + 1)
    front.link(field, vector.start - 4)
    for at, table in zip(vector, tables, strict=False):
        front.link_old(at, table)
    return vector[-1]
