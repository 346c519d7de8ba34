"""Protocol buffers as they lie in a file: the fields of a message, without parsing their content.

The encoding is that of https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Kinds of fields that ONNX has."""


class Malformed(Exception):
    """The bytes are no protocol buffer message; protobuf says so better."""


class Field(NamedTuple):
    """One field: from ``start`` (its key) over ``body`` (its content) to ``end``."""

    number: int
    kind: int
    start: int
    body: int
    end: int


def fields(data: memoryview, at: int, end: int) -> Iterator[Field]:
    """The fields of the message from one position to another; raises Malformed where it is none."""
    while at < end:
        key, body = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            stop = varint(data, body)[1]
        elif kind == LENGTH:
            length, body = varint(data, body)
            stop = body + length
        elif kind in (FIXED32, FIXED64):
            stop = body + (4 if kind == FIXED32 else 8)
        else:
            raise Malformed
        if stop > end:
            raise Malformed
        yield Field(number, kind, at, body, stop)
        at = stop


def varint(data: memoryview, at: int) -> tuple[int, int]:
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
    raise Malformed


def encoded(number: int) -> bytes:
    """A number as a varint."""
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
