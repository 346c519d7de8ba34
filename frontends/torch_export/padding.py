"""Padding, in all of torch's modes; a negative amount crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from irprune.frontends.torch_export.call import Call, Number, Operand, Result, lower, shape_of
from irprune.frontends.torch_export.selection import sliced
from irprune.ir.graph import Value
from irprune.ir.ops import Concat, Pad

Mode = Literal["constant", "reflect", "edge"]
_MODES: dict[str, Mode] = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@lower("aten.pad.default")
def pad(call: Call, self: Operand, pad: Sequence[int], mode: str, value: float | None) -> Result:
    """Any mode; torch lists the amounts from the last axis on."""
    if mode == "circular":
        return _circular(call, self, pad)
    return _padded(call, self, pad, _MODES[mode], value or 0.0)


@lower("aten.constant_pad_nd.default")
def constant_pad(call: Call, self: Operand, pad: Sequence[int], value: Number) -> Result:
    """With a constant."""
    return _padded(call, self, pad, "constant", float(value))


@lower("aten.reflection_pad1d.default", "aten.reflection_pad2d.default")
def reflection_pad(call: Call, self: Operand, padding: Sequence[int]) -> Result:
    """With what lies on the other side of the edge."""
    return _padded(call, self, padding, "reflect")


@lower("aten.replication_pad1d.default", "aten.replication_pad2d.default")
def replication_pad(call: Call, self: Operand, padding: Sequence[int]) -> Result:
    """With the edge."""
    return _padded(call, self, padding, "edge")


def _padded(
    call: Call, x: Operand, amounts: Sequence[int], mode: Mode, value: float = 0.0
) -> Value:
    """Crop where an amount is negative, then pad."""
    pads = _by_axis(amounts, len(shape_of(x)))
    y = call.value(x)
    for axis, (before, after) in enumerate(pads):
        kept = range(max(-before, 0), shape_of(x)[axis] - max(-after, 0))
        y = sliced(call, y, axis, kept)
    grown = tuple((max(before, 0), max(after, 0)) for before, after in pads)
    return call.add(Pad(grown, mode, value), y) if any(map(any, grown)) else y


def _circular(call: Call, x: Operand, amounts: Sequence[int]) -> Value:
    """The end before the start, and the start after the end."""
    y = call.value(x)
    for axis, (before, after) in enumerate(_by_axis(amounts, len(shape_of(x)))):
        call.require(min(before, after) >= 0, "crops a circle")
        size = shape_of(x)[axis]
        parts = [
            sliced(call, y, axis, range(size - before, size)) if before else None,
            y,
            sliced(call, y, axis, range(after)) if after else None,
        ]
        if before or after:
            y = call.add(Concat(axis), *(part for part in parts if part is not None))
    return y


def _by_axis(amounts: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """What goes before and after each axis, from the first axis on."""
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(pairs)) + pairs
