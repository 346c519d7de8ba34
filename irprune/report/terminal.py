"""Reports as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.table import Table
from rich.text import Text

from irprune.devices import DEVICES, Device
from irprune.ir.types import dims
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.memory import Memory
from irprune.report.report import Report, Verdict

BAR = 12
"""Characters of the longest memory bar."""

_COUNTED_AS = {
    Precision.INT8: "weights and activations 1 byte, biases 4",
    Precision.FLOAT32: "4 bytes a number",
    Precision.MODEL: "the model's own types",
}


def console() -> Console:
    """Standard output; as wide as its lines need where it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=200)


def working(what: str) -> AbstractContextManager[object]:
    """Say on standard error, if that is a terminal, what takes its time."""
    errors = Console(stderr=True)
    return errors.status(what) if errors.is_terminal else nullcontext()


def print_titled(out: Console, title: str, table: Table) -> None:
    """A table under its title, which may be wider than it."""
    out.print(plain(title), style="bold")
    out.print(table)


def in_kib(size: int) -> str:
    """The unit of a number of bytes, and the number in KiB."""
    return f"bytes, {size / 1024:,.1f} KiB"


def memory_bar(out: Console, used: int, peak: int) -> str:
    """A bar as long as the share of the peak that is used."""
    block = "█" if out.encoding.startswith("utf") else "#"
    return block * round(BAR * used / peak) if peak else ""


def print_reports(
    out: Console,
    reports: Sequence[Report],
    verdicts: Sequence[tuple[Verdict, ...]],
    board: Device | None,
    *,
    per_layer: bool,
) -> None:
    """A table of one model's costs, or one that compares several; then layers and verdicts."""
    if len(reports) == 1:
        print_titled(out, reports[0].name, _details(reports[0]))
    else:
        out.print(_comparison(reports))
        out.print("sizes in bytes")
    for report in reports if per_layer else ():
        print_titled(out, f"{report.name}, layer by layer", _layers(out, report))
        out.print("sizes in bytes; SRAM is what is in memory while the layer runs")
    if any(verdicts):
        title = "Does it fit?" if board is None else f"Does it fit {board.name}?"
        print_titled(out, title, _verdicts(reports, verdicts))
        out.print("model and activations only: runtime, stack and program come on top")
    if board is not None:
        _print_estimates(out, reports, board)


def print_devices(out: Console) -> None:
    """The catalog of boards, what was measured on them, and where the figures are from."""
    catalog = Table()
    catalog.add_column("name", no_wrap=True)
    catalog.add_column("chip")
    for heading in ("SRAM", "flash", "clock"):
        catalog.add_column(heading, justify="right", no_wrap=True)
    measured = Table()
    measured.add_column("name", no_wrap=True)
    measured.add_column("model")
    for heading in ("latency", "energy"):
        measured.add_column(heading, justify="right", no_wrap=True)
    for board in DEVICES:
        sizes = _kib(board.sram), _kib(board.flash), f"{board.clock_mhz} MHz"
        catalog.add_row(board.name, board.chip, *sizes)
        for m in board.measurements:
            measured.add_row(board.name, m.model, f"{m.latency_ms:g} ms", f"{m.energy_mj:g} mJ")
    print_titled(out, "Devices", catalog)
    print_titled(out, "Measured (Liberis & Lane, Table 4)", measured)
    out.print(Text("Sources", "bold"))
    for board in DEVICES:
        out.print(f"  {board.name}: {board.source}")


def _details(report: Report) -> Table:
    costs, arena, given = report.costs, report.memory.arena, report.memory.given_peak
    table = Table(show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    rows: list[tuple[str, str, str]] = [
        ("counted as", costs.precision.value, _COUNTED_AS[costs.precision]),
        ("nodes", f"{len(costs.nodes):,}", "after folding and fusing"),
        ("parameters", f"{costs.parameters:,}", ""),
        ("model size", f"{costs.model_size:,}", in_kib(costs.model_size)),
        ("MACs", f"{costs.macs:,}", ""),
        ("MACs by weights", f"{costs.macs_weights:,}", "as other tools count"),
        ("peak SRAM", f"{costs.peak_sram:,}", in_kib(costs.peak_sram) + _proof(report.memory)),
        ("  in the given order", f"{given:,}", in_kib(given)),
        ("  arena", f"{arena.size:,}", f"bytes, places aligned to {arena.alignment}"),
        ("peak SRAM, imprecise", f"{costs.peak_sram_imprecise:,}", "largest inputs + outputs"),
        ("  with Adds in place", f"{costs.peak_sram_imprecise_in_place:,}", "bytes"),
        ("working memory (5)", f"{costs.working_memory_5:,}", "bytes, inputs + weights"),
        ("working memory (6)", f"{costs.working_memory_6:,}", "bytes, inputs + outputs"),
    ]
    rows += [("input", _plain_name(p.name), f"{dims(p.shape)} {p.dtype}") for p in report.inputs]
    rows += [("output", _plain_name(p.name), f"{dims(p.shape)} {p.dtype}") for p in report.outputs]
    for quantity, value, unit in rows:
        table.add_row(quantity, plain(value), unit)
    return table


def _proof(memory: Memory) -> str:
    plan = memory.schedule
    return ", best order" if plan.proven else f", best known order; at least {plan.lower_bound:,}"


def _comparison(reports: Sequence[Report]) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("as", no_wrap=True)
    for heading in ("parameters", "model size", "peak SRAM", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        costs = report.costs
        table.add_row(
            plain(report.name),
            costs.precision.value,
            f"{costs.parameters:,}",
            f"{costs.model_size:,}",
            f"{costs.peak_sram:,}",
            f"{costs.macs:,}",
        )
    return table


def _layers(out: Console, report: Report) -> Table:
    peak = report.costs.peak_sram
    table = Table()
    table.add_column("layer", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in ("MACs", "size", "SRAM"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cost in report.costs.nodes:
        at_peak = cost.memory == peak and peak > 0
        table.add_row(
            plain(cost.node.source.name or cost.node.name),
            type(cost.node.op).__name__,
            " ".join(dims(v.type.shape) for v in cost.node.outputs),
            f"{cost.macs:,}",
            f"{cost.model_size:,}",
            f"{cost.memory:,}",
            memory_bar(out, cost.memory, peak),
            style="bold red" if at_peak else None,
        )
    return table


def _verdicts(reports: Sequence[Report], verdicts: Sequence[tuple[Verdict, ...]]) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("resource")
    for heading in ("needed", "available", "used"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for report, found in zip(reports, verdicts, strict=True):
        for v in found:
            used = f"{100 * v.needed / v.available:.1f} %" if v.available else "-"
            over = f"too much by {v.needed - v.available:,}"
            verdict = Text("fits", "green") if v.fits else Text(over, "bold red")
            name = plain(report.name if v is found[0] else "")
            table.add_row(name, v.resource, f"{v.needed:,}", f"{v.available:,}", used, verdict)
    return table


def _print_estimates(out: Console, reports: Sequence[Report], board: Device) -> None:
    """Latency and energy of each model, and what they rest on."""
    estimates = [report.estimate(board) for report in reports]
    if None in estimates:
        out.print(f"No latency estimate: no measurements on {board.name} are known.")
        return
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    for report, found in zip(reports, estimates, strict=True):
        if found is not None:
            (fast, slow), (least, most) = found.latency_ms, found.energy_mj
            latency, energy = f"{fast:.3g} to {slow:.3g} ms", f"{least:.3g} to {most:.3g} mJ"
            table.add_row(plain(report.name), latency, energy)
    print_titled(out, "Estimate for one inference", table)
    models = " and ".join(m.model for m in board.measurements)
    out.print(f"in proportion to MACs, from {models} (Liberis & Lane, Table 4)")


def _kib(size: int) -> str:
    return f"{size // 1024:,} KiB"


def plain(text: str) -> Text:
    """Text in which square brackets are no markup, and nothing controls the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _plain_name(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
