"""What a device has to give and a model takes, and the units in which people write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes, Macs

RESOURCES = ("sram", "flash", "macs")
"""What is bounded."""

_BYTES = {"": 1, "b": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2}
_COUNTS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_QUANTITY = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper bounds on a model's resources; None where a resource is not bounded.

    Attributes:
        sram: bytes of memory for activations.
        flash: bytes of storage for the model.
        macs: multiply-accumulates of one inference.
    """

    sram: Bytes | None = None
    flash: Bytes | None = None
    macs: Macs | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """A budget from text such as ``sram=64KB flash=128KiB macs=3M``.

        Raises:
            UsageError: a resource that does not exist, is named twice, or a quantity without sense.
        """
        found: dict[str, int] = {}
        for part in text.replace(",", " ").split():
            name, _, quantity = part.partition("=")
            if name not in RESOURCES:
                raise UsageError(
                    f"budget has no resource '{name}'", hint="write sram=64KB flash=128KB macs=3M"
                )
            if name in found:
                raise UsageError(f"budget names {name} twice")
            found[name] = parse_count(quantity) if name == "macs" else parse_bytes(quantity)
        if not found:
            raise UsageError("budget is empty", hint="write sram=64KB flash=128KB macs=3M")
        sram, flash, macs = (found.get(name) for name in RESOURCES)
        return Budget(
            None if sram is None else Bytes(sram),
            None if flash is None else Bytes(flash),
            None if macs is None else Macs(macs),
        )

    def lowered(self, counted: Usage, taken: Usage, budget: Budget) -> Budget:
        """Bounds to count with, where a model that was counted to keep these takes too much.

        They are as much below what was counted as the budget is below what is taken, so that a
        model is not made smaller than it has to be, whether the difference grows with it or not.

        Args:
            counted: what a model takes as it is counted.
            taken: what it really takes.
            budget: what it may take.
        """
        nearer = budget.as_counted(counted, taken)
        return replace(self, **{name: getattr(nearer, name) for name in taken.beyond(budget)})

    def as_counted(self, counted: Usage, taken: Usage) -> Budget:
        """Bounds to count with, which a model keeps by counting where it keeps these in truth.

        Args:
            counted: what a model takes as it is counted.
            taken: what it really takes.
        """
        bounds = {
            name: max(getattr(counted, name) * bound // max(getattr(taken, name), 1), 1)
            for name in RESOURCES
            if (bound := getattr(self, name)) is not None
        }
        return replace(self, **bounds)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model takes of a device.

    Attributes:
        sram: bytes of memory for activations.
        flash: bytes of storage for the model.
        macs: multiply-accumulates of one inference.
    """

    sram: Bytes
    flash: Bytes
    macs: Macs

    def beyond(self, budget: Budget) -> Mapping[str, int]:
        """How much more than the budget has it takes, of each resource of which it does."""
        over = {
            name: getattr(self, name) - bound
            for name in RESOURCES
            if (bound := getattr(budget, name)) is not None
        }
        return {name: extra for name, extra in over.items() if extra > 0}


def parse_bytes(text: str) -> Bytes:
    """Bytes from ``64KB`` (1000 bytes each), ``64KiB`` (1024), ``2MB``, ``2MiB`` or ``65536``."""
    return Bytes(_parse(text, _BYTES, "64KB (1000 bytes each) or 64KiB (1024)"))


def parse_count(text: str) -> int:
    """A count from ``3M``, ``2.5G``, ``800k`` or ``123456``."""
    return _parse(text, _COUNTS, "3M or 800k")


def _parse(text: str, units: dict[str, int], example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in units:
        raise UsageError(f"'{text}' is no quantity", hint=f"write {example}")
    return int(Fraction(match[1]) * units[match[2].lower()])
