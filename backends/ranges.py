"""Ranges of activations as files, which training writes and the compiler reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from irprune.backends.files import write_atomically
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import fingerprint
from irprune.passes.analysis.calibration import Range

_KIND = "irprune ranges"


def write_ranges(ranges: Mapping[str, Range], graph: Graph, path: Path) -> None:
    """Write ranges of a graph's lowered form, by the names of activations, as a JSON file.

    Raises:
        UsageError: the file cannot be written.
    """
    pairs = {name: [found.low, found.high] for name, found in ranges.items()}
    document = {"kind": _KIND, "graph": fingerprint(graph), "ranges": pairs}
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())


def read_ranges(path: Path, graph: Graph) -> Mapping[str, Range]:
    """The ranges of a graph in a JSON file.

    Raises:
        UsageError: it cannot be read, holds none, or those of another graph.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {error}", where=str(path)) from None
    match document:
        case {"kind": str(kind), "graph": str(of), "ranges": dict(ranges)} if kind == _KIND:
            if of != fingerprint(graph):
                raise UsageError(
                    f"has the ranges of another model than {graph.name}",
                    where=str(path),
                    hint="name the model that was trained, as it was pruned",
                )
            return {name: _range(path, name, pair) for name, pair in ranges.items()}
    raise UsageError("has no ranges", where=str(path), hint="write it with FakeQuantizer.ranges")


def _range(path: Path, name: str, pair: object) -> Range:
    match pair:
        case [int() | float() as low, int() | float() as high] if (
            math.isfinite(low) and math.isfinite(high) and low <= high
        ):
            return Range(float(low), float(high))
    raise UsageError(f"the range of '{name}' is no pair of numbers in order", where=str(path))
