"""A training run: as it goes, as a table once it is over, and as a picture."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from irprune.budget import RESOURCES, Budget, Usage
from irprune.report.terminal import plain, print_titled

if TYPE_CHECKING:
    from irprune.training.history import Row, Stage
    from irprune.training.loop import Watch
    from irprune.training.outcome import Outcome


@contextmanager
def progress(name: str) -> Iterator[Watch]:
    """Show on standard error how far a run is: a bar in a terminal, elsewhere a line an epoch."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield _told_by_epoch
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(name, total=None, state="")

        def watch(step: int, total: int, row: Row | None) -> None:
            if row is None:
                bar.update(task, completed=step, total=total)
            else:
                bar.update(task, completed=step, total=total, state=_line(row))

        yield watch


def _told_by_epoch(step: int, total: int, row: Row | None) -> None:
    if row is not None and row.accuracy is not None:
        print(f"step {step} of {total}: {_line(row)}", file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    accuracy = "" if row.accuracy is None else f"  held-out accuracy {100 * row.accuracy:.1f} %"
    usage = f"sram {row.sram:,}  flash {row.flash:,}  macs {row.macs:,}"
    return f"{row.stage}  loss {row.loss:.3f}{accuracy}  {usage}"


def print_outcome(out: Console, outcome: Outcome) -> None:
    """What the model was, and what it is on the device."""
    table = Table()
    table.add_column("")
    for heading in ("accuracy", "flash", "peak SRAM", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    whole, usage = outcome.whole, outcome.usage
    table.add_row(
        "whole model, compiled", "", f"{whole.flash:,}", f"{whole.sram:,}", f"{whole.macs:,}"
    )
    table.add_row("trained, on reals", _percent(outcome.float_accuracy), "", "", "")
    if outcome.quantized_accuracy is not None:
        table.add_row("fake-quantized", _percent(outcome.quantized_accuracy), "", "", "")
    runtime = "int8, compiled" if outcome.arena is None else "int8, in TFLite-Micro"
    table.add_row(
        f"{runtime}",
        _percent(outcome.int8_accuracy),
        f"{usage.flash:,}",
        f"{usage.sram:,}",
        f"{usage.macs:,}",
    )
    if outcome.budget is not None:
        budget = Budget.parse(outcome.budget)
        bounds = (budget.flash, budget.sram, budget.macs)
        table.add_row("budget", "", *("" if b is None else f"{b:,}" for b in bounds))
    print_titled(out, f"{outcome.model}, {outcome.method}", table)
    if outcome.arena is None:
        out.print("sizes in bytes; TFLite-Micro is not installed: pip install 'irprune[runtime]'")
    else:
        arena = outcome.arena
        out.print(
            f"sizes in bytes; accuracy in the runtime on {outcome.samples:,} test samples; "
            f"its arena: {arena.head:,} for tensors, {arena.tail:,} beside"
        )
    for name, extra in outcome.exceeded.items():
        out.print(plain(f"exceeds the budget: {extra:,} too much of {name}"), style="bold red")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def history_picture(rows: Sequence[Row], budget: Budget, compiled: Usage) -> bytes:
    """Resources over their bounds, and accuracy, over the steps; a PNG.

    Lines are as irprune counts, dots what the compiled model takes. Without a bound a resource is
    drawn over what it was at first.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [row.step for row in rows]
    for name in RESOURCES:
        bound = getattr(budget, name)
        label = name if bound is not None else f"{name}, of the whole"
        over = bound or getattr(rows[0], name)
        (line,) = above.plot(steps, [getattr(row, name) / over for row in rows], label=label)
        above.plot(steps[-1], getattr(compiled, name) / over, "o", color=line.get_color())
    above.plot([], [], "o", color="0.5", label="compiled")
    above.axhline(1, color="black", linestyle="--", linewidth=1)
    above.set(ylabel="counted, over the budget", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=len(RESOURCES) + 1, frameon=False)
    told = [row for row in rows if row.accuracy is not None]
    below.plot([row.step for row in told], [row.accuracy for row in told], marker=".")
    below.set(ylabel="held-out accuracy", xlabel="step")
    for step, stage in _starts(rows):
        above.axvline(step, color="0.8", linewidth=1, zorder=0)
        below.axvline(step, color="0.8", linewidth=1, zorder=0)
        late = step > 3 * steps[-1] / 4
        below.annotate(
            stage.value,
            (step, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if late else 3, 4),
            textcoords="offset points",
            horizontalalignment="right" if late else "left",
            fontsize=8,
        )
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()


def _starts(rows: Sequence[Row]) -> Iterator[tuple[int, Stage]]:
    """The steps after which stages have begun, as far as rows tell."""
    yield 0, rows[0].stage
    for before, after in itertools.pairwise(rows):
        if before.stage != after.stage:
            yield before.step, after.stage
