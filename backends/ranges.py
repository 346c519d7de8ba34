"""Ranges of activations as files, which training writes and the compiler reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from irprune.backends.files import write_atomically
from irprune.ir.errors import UsageError
from irprune.passes.analysis.calibration import Range

_KIND = "irprune ranges"


def write_ranges(ranges: Mapping[str, Range], path: Path) -> None:
    """Write ranges, by the names of activations, as a JSON file.

    Raises:
        UsageError: the file cannot be written.
    """
    document = {"kind": _KIND, "ranges": {name: [r.low, r.high] for name, r in ranges.items()}}
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())


def read_ranges(path: Path) -> Mapping[str, Range]:
    """The ranges in a JSON file.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {error}", where=str(path)) from None
    match document:
        case {"kind": str(kind), "ranges": dict(ranges)} if kind == _KIND:
            return {name: _range(path, name, pair) for name, pair in ranges.items()}
    raise UsageError("has no ranges", where=str(path), hint="write it with FakeQuantizer.ranges")


def _range(path: Path, name: str, pair: object) -> Range:
    match pair:
        case [int() | float() as low, int() | float() as high] if (
            math.isfinite(low) and math.isfinite(high) and low <= high
        ):
            return Range(float(low), float(high))
    raise UsageError(f"the range of '{name}' is no pair of numbers in order", where=str(path))
