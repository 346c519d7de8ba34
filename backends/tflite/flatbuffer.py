"""The bytes of a flatbuffer: where tables keep their fields, and where offsets lead.

To edit a file in place, positions are needed that generated accessors hide. The encoding is that of
https://flatbuffers.dev/internals: a table starts with the distance back to its vtable, which holds
the place of each field; other offsets are distances forward from where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from irprune.ir.errors import InvalidModel


def number(data: bytes, at: int, form: str = "I") -> int:
    """An integer at a position; InvalidModel where that is outside of the file."""
    try:
        if at < 0:
            raise struct.error
        return int(struct.unpack_from("<" + form, data, at)[0])
    except struct.error:
        raise _leaves() from None


def target(data: bytes, at: int) -> int:
    """Where the offset at a position leads; InvalidModel where that is outside of the file."""
    found = at + number(data, at)
    if found + 4 > len(data):  # no table, vector or string is shorter
        raise _leaves()
    return found


def elements(data: bytes, vector: int, width: int = 4) -> range:
    """The positions of a vector's elements, each ``width`` bytes."""
    start = vector + 4
    end = start + width * number(data, vector)
    if end > len(data):
        raise _leaves()
    return range(start, end, width)


def _leaves() -> InvalidModel:
    return InvalidModel("is damaged: an offset in it leaves the file")


class Table:
    """A table of a flatbuffer.

    Args:
        data: the file.
        at: the table's position.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - number(data, at, "i")
        self.slots = (number(data, self._vtable, "H") - 4) // 2

    def field(self, slot: int) -> int | None:
        """The position of a field; None where it has its default."""
        if slot >= self.slots:
            return None
        place = number(self._data, self._vtable + 4 + 2 * slot, "H")
        return self._at + place if place else None

    def integer(self, slot: int, form: str = "I") -> int:
        """A number, whose default is 0."""
        at = self.field(slot)
        return 0 if at is None else number(self._data, at, form)

    def target(self, slot: int) -> int | None:
        """Where a field that is an offset leads; None where there is none."""
        at = self.field(slot)
        return None if at is None else target(self._data, at)

    def tables(self, slot: int) -> list[Table]:
        """The tables of a field that is a vector of them."""
        return [Table(self._data, at) for at in self.targets(slot)]

    def targets(self, slot: int) -> list[int]:
        """The positions of the tables of a field that is a vector of them."""
        vector = self.target(slot)
        return [] if vector is None else [target(self._data, at) for at in self.entries(slot)]

    def entries(self, slot: int, width: int = 4) -> range:
        """The positions of the elements of a field that is a vector."""
        vector = self.target(slot)
        return range(0) if vector is None else elements(self._data, vector, width)

    def content(self, slot: int) -> bytes:
        """The bytes of a field that is a string or a vector of bytes."""
        found = self.entries(slot, 1)
        return self._data[found.start : found.stop]


class Front:
    """What is put before a flatbuffer that stays as it is.

    Offsets lead forward only, so tables that refer to old ones must stand before them.
    """

    def __init__(self, identifier: bytes) -> None:
        self._bytes = bytearray(4) + identifier
        self._old: list[tuple[int, int]] = []

    def put(self, content: bytes, alignment: int = 4, ahead: int = 0) -> int:
        """The position of new bytes, of which those from ``ahead`` on are aligned."""
        self._bytes += bytes(-(len(self._bytes) + ahead) % alignment)
        self._bytes += content
        return len(self._bytes) - len(content)

    def table(self, slots: Sequence[int]) -> dict[int, int]:
        """The positions of a new table's 32-bit fields, by slot, and of the table, by -1."""
        places = {slot: 4 + 4 * i for i, slot in enumerate(slots)}
        size = 4 + 4 * len(slots)
        count = max(slots) + 1
        found = [places.get(slot, 0) for slot in range(count)]
        vtable = self.put(struct.pack(f"<{count + 2}H", 4 + 2 * count, size, *found))
        at = self.put(bytes(size))
        struct.pack_into("<i", self._bytes, at, at - vtable)
        return {-1: at} | {slot: at + place for slot, place in places.items()}

    def vector(self, count: int) -> range:
        """The positions of a new vector's 32-bit elements; the vector is 4 bytes before them."""
        at = self.put(struct.pack("<I", count) + bytes(4 * count)) + 4
        return range(at, at + 4 * count, 4)

    def write(self, at: int, value: int) -> None:
        """Write a 32-bit number."""
        struct.pack_into("<I", self._bytes, at, value)

    def link(self, at: int, to: int) -> None:
        """Let an offset lead to something new, behind it."""
        self.write(at, to - at)

    def link_old(self, at: int, to: int) -> None:
        """Let an offset lead to something in the old file."""
        self._old.append((at, to))

    def before(self, data: bytes, root: int, alignment: int) -> bytes:
        """The new file: the front, with ``root`` as its root table, and the old file behind."""
        self.link(0, root)
        end = self.put(b"", alignment)
        for at, to in self._old:
            self.write(at, end + to - at)
        return bytes(self._bytes) + data
