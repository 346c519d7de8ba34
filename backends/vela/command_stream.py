"""Which stored bytes an Ethos-U reads as weights, by the commands that Vela has written.

A stream is words of 32 bits: the tag of a driver's payload and its actions, of which one is the
stream of commands. A command is one word, of 10 bits of its number, or two with a payload. Weights
are read where registers say, straight from flash or from where a DMA has put them before. The
layout is that of Vela's ``driver_actions.py`` and ``ethos_u55_regs.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WORDS_OF_ACTION = {1: 3, 5: 1}
"""Of actions before the commands, by their numbers: a configuration, and none."""
COMMANDS = 2
"""The action whose words are commands."""

PAYLOAD = 1 << 14
"""The bit of a command that has another word."""
CONV, DEPTHWISE, DMA = 0x002, 0x003, 0x010
WEIGHT_REGION, SOURCE_REGION, TARGET_REGION = 0x128, 0x130, 0x131
SOURCE, TARGET, LENGTH = (PAYLOAD | number for number in (0x030, 0x031, 0x032))
WEIGHTS = {
    "ethos-u85": (0x020, 0x090, 0x092, 0x094),
    "ethos-u65": (0x020, 0x090),
    "ethos-u55": (0x020,),
}
"""The registers of where weights start, one for each stream that is read at once."""

Place = tuple[int, int]
"""A region of memory and a byte in it."""


@dataclass(frozen=True)
class Copy:
    """Bytes that a DMA has put elsewhere."""

    source: Place
    target: Place
    length: int

    def origin(self, place: Place) -> Place | None:
        """Where what is at a place comes from; None where this has not put it there."""
        offset = place[1] - self.target[1]
        if place[0] != self.target[0] or not 0 <= offset < self.length:
            return None
        return self.source[0], self.source[1] + offset


def stored_weights(streams: Iterable[bytes], accelerator: str) -> int:
    """Bytes of encoded weights, each counted once however many operators read it.

    Args:
        streams: of one model, the commands of each of its operators on the accelerator, which have
            their read-only memory in common.
        accelerator: its name, as ``ethos-u55-128``.
    """
    registers = WEIGHTS[accelerator.rpartition("-")[0]]
    read: set[tuple[Place, int]] = set()
    for stream in streams:
        read.update(_weights(np.frombuffer(stream, "<u4").tolist(), registers))
    total, upto = 0, (0, 0)
    for (region, start), length in sorted(read):
        begin, end = max((region, start), upto), (region, start + length)
        total += max(0, end[1] - begin[1])
        upto = max(upto, end)
    return total


def _weights(words: Sequence[int], registers: Sequence[int]) -> Iterator[tuple[Place, int]]:
    """Where the weights of each convolution are stored, and their bytes."""
    state: dict[int, int] = {}
    copies: list[Copy] = []
    for command, value in _commands(words):
        state[command] = value
        if command == DMA:
            source, target = (
                (state.get(region, 0), state.get(at, 0))
                for region, at in ((SOURCE_REGION, SOURCE), (TARGET_REGION, TARGET))
            )
            copies.insert(0, Copy(source, target, state.get(LENGTH, 0)))
        elif command in (CONV, DEPTHWISE):
            yield from _read(state, copies, registers)


def _read(
    state: Mapping[int, int], copies: Sequence[Copy], registers: Sequence[int]
) -> Iterator[tuple[Place, int]]:
    """The weights that registers say, where they were before they were copied."""
    for register in registers:
        place = state.get(WEIGHT_REGION, 0), state.get(PAYLOAD | register, 0)
        origins = (copy.origin(place) for copy in copies)
        stored = next((origin for origin in origins if origin is not None), place)
        yield stored, state.get(PAYLOAD | (register + 1), 0)


def _commands(words: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each command and what it says."""
    at = 1
    while words[at] & 0xFF != COMMANDS:
        at += WORDS_OF_ACTION[words[at] & 0xFF]
    at += 1
    while at < len(words):
        word = words[at]
        command, high = word & (PAYLOAD | 0x3FF), word >> 16
        yield command, high << 32 | words[at + 1] if command & PAYLOAD else high
        at += 2 if command & PAYLOAD else 1
