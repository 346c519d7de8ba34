"""Two models side by side, in a terminal and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from irprune.backends.verify import Comparison, Difference
from irprune.report.terminal import plain, print_titled


def print_comparison(out: Console, found: Comparison) -> None:
    """The differences of each output, then what TFLite-Micro took of its arena."""
    for name, model, runtime in zip("AB", found.models, found.runtimes, strict=True):
        out.print(plain(f"{name}: {model} in {runtime}"))
    moved = "; layouts differ, and arrays were transposed" if found.moved else ""
    out.print(plain(f"{found.samples} samples: {found.data}{moved}"))
    print_titled(out, "differences of B from A", _differences(found))
    if found.arenas:
        print_titled(out, "arena of TFLite-Micro, in bytes", _arenas(found))


def comparison_as_json(found: Comparison) -> str:
    """The comparison; what is not finite is null: a difference from NaN, a ratio without noise."""
    outputs = [
        {
            name: None if isinstance(figure, float) and not math.isfinite(figure) else figure
            for name, figure in asdict(output).items()
        }
        for output in found.outputs
    ]
    arenas = [
        {
            "model": arena.model,
            **{
                what: {"head": taken.head, "tail": taken.tail, "total": taken.total}
                for what, taken in (("predicted", arena.predicted), ("taken", arena.taken))
            },
        }
        for arena in found.arenas
    ]
    return json.dumps(asdict(found) | {"outputs": outputs, "arenas": arenas}, indent=2)


def _differences(found: Comparison) -> Table:
    table = Table()
    table.add_column("output", overflow="fold")
    for heading in ("largest", "mean", "SQNR", "same top-1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for output in found.outputs:
        table.add_row(plain(output.name), *_figures(output))
    return table


def _figures(output: Difference) -> tuple[str, str, str, str]:
    ratio = "equal" if output.largest == 0 else f"{output.sqnr:.1f} dB"
    share = "-" if output.agreement is None else f"{100 * output.agreement:.1f} %"
    return f"{output.largest:.3g}", f"{output.mean:.3g}", ratio, share


def _arenas(found: Comparison) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("")
    for heading in ("head", "tail", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arena in found.arenas:
        for what, taken in (("predicted", arena.predicted), ("taken", arena.taken)):
            numbers = (f"{size:,}" for size in (taken.head, taken.tail, taken.total))
            name = arena.model if what == "predicted" else ""
            table.add_row(plain(name), what, *numbers)
    return table
