"""Reports as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from irprune.devices import DEVICES, Device
from irprune.ir.types import dims
from irprune.passes.analysis.deployment import Precision
from irprune.report.report import Report, Verdict

BAR = 12
"""Characters of the longest memory bar."""

_COUNTED_AS = {
    Precision.INT8: "int8: weights and activations 1 byte, biases 4",
    Precision.FLOAT32: "float32: 4 bytes a number",
    Precision.MODEL: "the model's own types",
}


def console() -> Console:
    """Standard output; as wide as its lines need where it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=200)


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
        out.print(_details(reports[0]))
    else:
        out.print(_comparison(reports))
    for report, found in zip(reports, verdicts, strict=True):
        if per_layer:
            out.print(_layers(report))
        if found:
            out.print(_verdicts(report, found, board))
        if board is not None:
            out.print(_estimate(report, board))


def print_devices(out: Console) -> None:
    """The catalog of boards, what was measured on them, and where the figures are from."""
    catalog = Table(title="Devices", title_justify="left")
    catalog.add_column("name", no_wrap=True)
    catalog.add_column("chip")
    for heading in ("SRAM", "flash", "clock"):
        catalog.add_column(heading, justify="right", no_wrap=True)
    measured = Table(title="Measured (Liberis & Lane, Table 4)", title_justify="left")
    measured.add_column("name", no_wrap=True)
    measured.add_column("model")
    for heading in ("latency", "energy"):
        measured.add_column(heading, justify="right", no_wrap=True)
    for board in DEVICES:
        sizes = _kib(board.sram), _kib(board.flash), f"{board.clock_mhz} MHz"
        catalog.add_row(board.name, board.chip, *sizes)
        for m in board.measurements:
            measured.add_row(board.name, m.model, f"{m.latency_ms:g} ms", f"{m.energy_mj:g} mJ")
    out.print(catalog)
    out.print(measured)
    out.print("Sources")
    for board in DEVICES:
        out.print(f"  {board.name}: {board.source}")


def _details(report: Report) -> Table:
    costs = report.costs
    table = Table(title=_plain(report.name), title_justify="left", show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    rows: list[tuple[str, str, str]] = [
        ("counted as", costs.precision.value, _COUNTED_AS[costs.precision].partition(": ")[2]),
        ("nodes", f"{len(costs.nodes):,}", "after folding and fusing"),
        ("parameters", f"{costs.parameters:,}", ""),
        ("model size", f"{costs.model_size:,}", _in_kib(costs.model_size)),
        ("MACs", f"{costs.macs:,}", ""),
        ("MACs by weights", f"{costs.macs_weights:,}", "as other tools count"),
        ("peak SRAM", f"{costs.peak_sram:,}", _in_kib(costs.peak_sram)),
        ("peak SRAM, imprecise", f"{costs.peak_sram_imprecise:,}", "largest inputs + outputs"),
        ("  with Adds in place", f"{costs.peak_sram_imprecise_in_place:,}", "bytes"),
        ("working memory (5)", f"{costs.working_memory_5:,}", "bytes, inputs + weights"),
        ("working memory (6)", f"{costs.working_memory_6:,}", "bytes, inputs + outputs"),
    ]
    rows += [("input", _plain_name(p.name), f"{dims(p.shape)} {p.dtype}") for p in report.inputs]
    rows += [("output", _plain_name(p.name), f"{dims(p.shape)} {p.dtype}") for p in report.outputs]
    for quantity, value, unit in rows:
        table.add_row(quantity, Text(value), unit)
    return table


def _comparison(reports: Sequence[Report]) -> Table:
    table = Table()
    table.add_column("model", overflow="fold")
    table.add_column("as", no_wrap=True)
    for heading in ("parameters", "model size", "peak SRAM", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        costs = report.costs
        table.add_row(
            _plain(report.name),
            costs.precision.value,
            f"{costs.parameters:,}",
            f"{costs.model_size:,}",
            f"{costs.peak_sram:,}",
            f"{costs.macs:,}",
        )
    table.caption = "sizes in bytes"
    return table


def _layers(report: Report) -> Table:
    peak = report.costs.peak_sram
    table = Table(title=_plain(f"{report.name}, layer by layer"), title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in ("MACs", "size", "SRAM"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for cost in report.costs.nodes:
        at_peak = cost.memory == peak and peak > 0
        table.add_row(
            _plain(cost.node.source.name or cost.node.name),
            type(cost.node.op).__name__,
            " ".join(dims(v.type.shape) for v in cost.node.outputs),
            f"{cost.macs:,}",
            f"{cost.model_size:,}",
            f"{cost.memory:,}",
            "█" * round(BAR * cost.memory / peak) if peak else "",
            style="bold red" if at_peak else None,
        )
    table.caption = "sizes in bytes; SRAM is what is in memory while the layer runs"
    return table


def _verdicts(report: Report, verdicts: tuple[Verdict, ...], board: Device | None) -> Table:
    title = f"{report.name} on {board.name}" if board is not None else report.name
    table = Table(title=_plain(title), title_justify="left")
    table.add_column("resource")
    for heading in ("needed", "available", "used"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    for v in verdicts:
        used = f"{100 * v.needed / v.available:.1f} %" if v.available else "-"
        over = f"too much by {v.needed - v.available:,}"
        verdict = Text("fits", "green") if v.fits else Text(over, "bold red")
        table.add_row(v.resource, f"{v.needed:,}", f"{v.available:,}", used, verdict)
    if board is not None:
        table.caption = "model and activations only: runtime, stack and program come on top"
    return table


def _estimate(report: Report, board: Device) -> str:
    found = report.estimate(board)
    if found is None:
        return f"No latency estimate: nobody has measured models on {board.name} for us."
    (fast, slow), (least, most) = found.latency_ms, found.energy_mj
    models = " and ".join(m.model for m in board.measurements)
    return (
        f"Estimate on {board.name}: {fast:.3g} to {slow:.3g} ms, {least:.3g} to {most:.3g} mJ an "
        f"inference, in proportion to MACs from {models} (Liberis & Lane, Table 4)."
    )


def _kib(size: int) -> str:
    return f"{size // 1024:,} KiB"


def _in_kib(size: int) -> str:
    return f"bytes, {size / 1024:,.1f} KiB"


def _plain(text: str) -> Text:
    """Text in which square brackets are no markup."""
    return Text(text)


def _plain_name(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
