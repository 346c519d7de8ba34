"""What a device has to give, and the units in which people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fractions import Fraction

from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes, Macs

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
            if name not in {f.name for f in fields(Budget)}:
                raise UsageError(
                    f"budget has no resource '{name}'", hint="write sram=64KB flash=128KB macs=3M"
                )
            if name in found:
                raise UsageError(f"budget names {name} twice")
            found[name] = parse_count(quantity) if name == "macs" else parse_bytes(quantity)
        if not found:
            raise UsageError("budget is empty", hint="write sram=64KB flash=128KB macs=3M")
        sram, flash, macs = (found.get(name) for name in ("sram", "flash", "macs"))
        return Budget(
            None if sram is None else Bytes(sram),
            None if flash is None else Bytes(flash),
            None if macs is None else Macs(macs),
        )


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
