"""Arrays that repeat themselves: an axis of stride zero holds one element, however long it is."""

from __future__ import annotations

from irprune.ir.types import Array, Bytes


def held(array: Array) -> Array:
    """The part of an array that is in memory: axes of stride zero are cut to size 1.

    What is computed element by element from it broadcasts to what is computed from the array, in
    the time and the memory of the part.
    """
    part = (slice(0, 1) if step == 0 else slice(None) for step in array.strides)
    return array[(*part, ...)]


def held_bytes(array: Array) -> Bytes:
    """The bytes of memory that an array's elements fill."""
    return Bytes(held(array).nbytes)
