"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from irprune.ir.errors import IrpruneError, UsageError

if TYPE_CHECKING:
    from irprune.budget import Budget
    from irprune.devices import Device
    from irprune.report.report import Report

DOES_NOT_FIT = 1
BAD_INPUT = 2

app = typer.Typer(
    name="irprune",
    help="What a neural network costs on a microcontroller.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class CountAs(StrEnum):
    """How wide the numbers of the deployed model are taken to be."""

    int8 = "int8"
    float32 = "float32"
    model = "model"


@app.command()
def analyze(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="An .onnx or .tflite file, zoo:NAME[?key=value&...], or package.module:factory "
            "for a torch module.",
            show_default=False,
        ),
    ],
    device: Annotated[
        str | None, typer.Option(help="Does it fit this board? See 'devices'.")
    ] = None,
    sram: Annotated[str | None, typer.Option(help="Does it fit this memory? E.g. 64KB.")] = None,
    flash: Annotated[str | None, typer.Option(help="Does it fit this storage?")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT=1x3x96x96", help="The shape of an input; may be repeated."),
    ] = None,
    as_: Annotated[
        CountAs | None,
        typer.Option(
            "--as",
            help="Count in these types; by default int8 for a float model, its own for a "
            "quantized one.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show every layer.")] = False,
    exclude_inputs: Annotated[
        bool, typer.Option("--exclude-inputs", help="Leave model inputs out of memory figures.")
    ] = False,
) -> None:
    """Say what models cost: peak SRAM, model size, MACs.

    Exits with 1 where a model does not fit the device or budget, with 2 on bad input.
    """
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
    board, budget = _limits(device, sram, flash)
    reports = [_report(model, shape or [], as_, exclude_inputs) for model in models]
    verdicts = [report.verdicts(budget) for report in reports]
    if json or csv:
        from irprune.report.serialize import as_csv, as_json

        text = as_csv(reports, per_layer=per_layer) if csv else as_json(reports, verdicts, board)
        print(text)
    else:
        from irprune.report.terminal import console, print_reports

        print_reports(console(), reports, verdicts, board, per_layer=per_layer)
    if not all(verdict.fits for found in verdicts for verdict in found):
        raise typer.Exit(DOES_NOT_FIT)


@app.command()
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


def main() -> None:
    """Run the command line; every expected failure is one line on standard error."""
    try:
        try:
            app()
        finally:  # what is still buffered may meet a full disk, and must be told of
            sys.stdout.flush()
    except IrpruneError as error:
        _fail(f"irprune: {error}")
    except BrokenPipeError:
        _drop_output()
        sys.exit(BAD_INPUT)
    except OSError as error:
        _drop_output()
        _fail(f"irprune: {error.filename or 'cannot write the output'}: {error.strerror}")
    except MemoryError:
        _fail("irprune: out of memory")


def _report(model: str, shapes: list[str], as_: CountAs | None, exclude_inputs: bool) -> Report:
    from irprune.frontends.load import load, parse_shape
    from irprune.passes.analysis.deployment import Precision
    from irprune.report.report import analyze as analyze_graph

    graph = load(model, shapes=dict(parse_shape(text) for text in shapes))
    precision = None if as_ is None else Precision(as_.value)
    return analyze_graph(graph, precision, exclude_inputs=exclude_inputs)


def _limits(
    device: str | None, sram: str | None, flash: str | None
) -> tuple[Device | None, Budget]:
    """The board, and the budget: the board's memory unless an option says less or more."""
    from irprune.budget import Budget, parse_bytes
    from irprune.devices import device as find_device

    board = None if device is None else find_device(device)
    limits = Budget() if board is None else Budget(board.sram, board.flash)
    if sram is not None:
        limits = replace(limits, sram=parse_bytes(sram))
    if flash is not None:
        limits = replace(limits, flash=parse_bytes(flash))
    return board, limits


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(BAD_INPUT)


def _drop_output() -> None:
    """Let nothing more be written at exit to an output that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
