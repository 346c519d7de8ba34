"""irprune analyze, irprune devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from irprune.commands.common import DOES_NOT_FIT, limits, precision, shapes
from irprune.ir.errors import UsageError
from irprune.options import MODEL, As, CountAs, DeviceName, ExcludeInputs, Flash, Json, Shapes, Sram

if TYPE_CHECKING:
    from irprune.report.compressed import CompressedTable
    from irprune.report.report import Report


def analyze(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help=MODEL, show_default=False),
    ],
    device: DeviceName = None,
    sram: Sram = None,
    flash: Flash = None,
    shape: Shapes = None,
    as_: As = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show every layer.")] = False,
    exclude_inputs: ExcludeInputs = False,
    compressed: Annotated[
        bool, typer.Option("--compressed", help="Show how small weights get where they are coded.")
    ] = False,
) -> None:
    """Say what models cost: peak SRAM, model size, MACs.

    Exits with 1 where a model does not fit the device or budget, with 2 on bad input.
    """
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
    if compressed and csv:
        raise UsageError("--compressed and --csv exclude each other")
    if compressed and as_ is CountAs.float32:
        raise UsageError("--compressed is of weights of 8 bits: drop --as float32")
    board, budget = limits(device, sram, flash)
    from irprune.report.terminal import console, print_reports, working

    reports = []
    for model in models:
        with working(model):
            reports.append(_report(model, shape, as_, exclude_inputs))
    verdicts = [report.verdicts(budget) for report in reports]
    if csv:
        from irprune.report.serialize import as_csv

        print(as_csv(reports, verdicts, per_layer=per_layer))
    elif json:
        from irprune.report.serialize import as_json

        print(as_json(reports, verdicts, board, _weights(reports) if compressed else ()))
    else:
        # Made first: weights that cannot be coded are told of before anything is shown.
        tables = _tables(reports) if compressed else []
        print_reports(console(), reports, verdicts, board, per_layer=per_layer)
        for table in tables:
            table.print(console())
    if not all(verdict.fits for found in verdicts for verdict in found):
        raise typer.Exit(DOES_NOT_FIT)


def devices(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, sizes in bytes.")] = False,
) -> None:
    """List the boards that are known, with their memory and what was measured on them."""
    if json:
        from irprune.report.serialize import devices_as_json

        print(devices_as_json())
        return
    from irprune.report.terminal import console, print_devices

    print_devices(console())


def _weights(reports: Sequence[Report]) -> list[dict[str, object]]:
    """The sizes of each model's coded weights."""
    from irprune.report.compressed import compressed

    return [compressed(report) for report in reports]


def _tables(reports: Sequence[Report]) -> list[CompressedTable]:
    """The same for the terminal."""
    from irprune.report.compressed import compressed_table

    return [compressed_table(report) for report in reports]


def _report(
    model: str, texts: list[str] | None, as_: CountAs | None, exclude_inputs: bool
) -> Report:
    from irprune.frontends.load import load, load_packed
    from irprune.report.report import analyze as analyze_graph
    from irprune.report.report import analyze_packed

    packed = load_packed(model)
    if packed is not None:
        return analyze_packed(packed, precision(as_), exclude_inputs=exclude_inputs)
    graph = load(model, shapes=shapes(texts))
    return analyze_graph(graph, precision(as_), exclude_inputs=exclude_inputs)
