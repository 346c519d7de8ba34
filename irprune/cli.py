"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from irprune.ir.errors import IrpruneError, UsageError
from irprune.options import (
    MODEL,
    As,
    CalibrationMethod,
    Channels,
    CountAs,
    DeviceName,
    ExcludeInputs,
    Flash,
    Io,
    Json,
    Numbers,
    RuntimeName,
    Shapes,
    Sram,
)

if TYPE_CHECKING:
    from irprune.budget import Budget
    from irprune.devices import Device
    from irprune.ir.types import Shape
    from irprune.passes.analysis.deployment import Precision
    from irprune.report.report import Report

DOES_NOT_FIT = 1
BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="irprune",
    help="What a neural network costs on a microcontroller.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
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
) -> None:
    """Say what models cost: peak SRAM, model size, MACs.

    Exits with 1 where a model does not fit the device or budget, with 2 on bad input.
    """
    if json and csv:
        raise UsageError("--json and --csv exclude each other")
    board, budget = _limits(device, sram, flash)
    from irprune.report.terminal import console, print_reports, working

    reports = []
    for model in models:
        with working(model):
            reports.append(_report(model, shape or [], as_, exclude_inputs))
    verdicts = [report.verdicts(budget) for report in reports]
    if json or csv:
        from irprune.report.serialize import as_csv, as_json

        text = (
            as_csv(reports, verdicts, per_layer=per_layer)
            if csv
            else as_json(reports, verdicts, board)
        )
        print(text)
    else:
        print_reports(console(), reports, verdicts, board, per_layer=per_layer)
    if not all(verdict.fits for found in verdicts for verdict in found):
        raise typer.Exit(DOES_NOT_FIT)


@app.command()
def schedule(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the model's file with its operators reordered."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Put the memory plan into the .tflite file, too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Let the output overwrite the model.")
    ] = False,
    shape: Shapes = None,
    as_: As = None,
    json: Json = False,
    exclude_inputs: ExcludeInputs = False,
    time_limit: Annotated[
        float, typer.Option(min=0, help="Seconds to look for the best order, and the best arena.")
    ] = 10.0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw memory over time into a .png or .svg file.")
    ] = None,
) -> None:
    """Find the order of a model's operators that needs least memory, and a place for every buffer.

    A .tflite file is scheduled as the device runs it: its own operators, in its own types. Other
    models are scheduled in the form that would be deployed.
    """
    from irprune.backends.scheduled import check_output, open_source, write_scheduled
    from irprune.passes.analysis.memory import memory_of
    from irprune.report.terminal import console, working

    source = open_source(model, _shapes(shape))
    check_output(source, output, plan=plan, force=force)
    if plan and (as_ or exclude_inputs):
        raise UsageError("a plan is for the file's own types and inputs: drop --as and the like")
    if plot is not None:
        from irprune.backends.files import expect_writable
        from irprune.report.plot import check_plot

        check_plot(plot)
        expect_writable(plot)
    with working(f"{model}: looking for the best order"):
        memory = memory_of(
            source.graph,
            _precision(as_) or source.precision,
            exclude_inputs=exclude_inputs,
            time_limit=time_limit,
        )
    planned = None if plan else source.planned
    if output is not None:
        planned = write_scheduled(source, memory, output, plan=plan, force=force)
    if plot is not None:
        from irprune.backends.files import write_atomically
        from irprune.report.plot import picture

        write_atomically(plot, picture(memory, plot.suffix))
    if json:
        from irprune.report.serialize import memory_as_json

        print(memory_as_json(memory, planned))
    else:
        from irprune.report.timeline import print_memory

        print_memory(console(), memory, planned)


@app.command()
def verify(
    first: Annotated[str, typer.Argument(metavar="A", help=MODEL, show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="The same.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Samples: .npy, .npz or a folder of images; random by default."),
    ] = None,
    mean: Channels = None,
    std: Channels = None,
    samples: Annotated[int, typer.Option(min=1, help="The most samples to run on.")] = 8,
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="What to run in, where it takes the model.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Fail where a difference is larger.")
    ] = None,
    shape: Shapes = None,
    json: Json = False,
) -> None:
    """Run two models on the same data and say how far apart they are.

    ONNX runs in onnxruntime, TFLite in TFLite-Micro, other models in irprune's interpreter. Exits
    with 1 where a difference is larger than the tolerance.
    """
    from irprune.backends.runtimes import Kind
    from irprune.backends.verify import compare
    from irprune.report.terminal import console, working
    from irprune.report.verified import comparison_as_json, print_comparison

    with working(f"{first} and {second}: running"):
        found = compare(
            first,
            second,
            data=data,
            count=samples,
            runtime=None if runtime is None else Kind(runtime),
            shapes=_shapes(shape),
            mean=mean,
            std=std,
        )
    if json:
        print(comparison_as_json(found))
    else:
        print_comparison(console(), found)
    if tolerance is not None and not found.largest <= tolerance:
        raise typer.Exit(DOES_NOT_FIT)


@app.command("compile")
def compile_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .tflite file to write.")],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Samples to take scales from: .npy, .npz or a folder of images."),
    ] = None,
    mean: Channels = None,
    std: Channels = None,
    samples: Annotated[int, typer.Option(min=1, help="The most samples to calibrate on.")] = 128,
    method: Annotated[
        CalibrationMethod, typer.Option(help="How samples make ranges.")
    ] = CalibrationMethod.minmax,
    float_: Annotated[bool, typer.Option("--float", help="Keep 32-bit floats.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit integers; the default.")] = False,
    int16x8: Annotated[
        bool, typer.Option("--int16x8", help="Activations of 16 bits, weights of 8.")
    ] = False,
    io: Annotated[
        Io, typer.Option(help="The type of inputs and outputs of a quantized model.")
    ] = Io.int8,
    keep_io_layout: Annotated[
        bool, typer.Option("--keep-io-layout", help="Do not put the channels of images last.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Put the memory plan into the file, too.")
    ] = False,
    c_array: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write model.cc and model.h into this folder, too."),
    ] = None,
    device: DeviceName = None,
    sram: Sram = None,
    flash: Flash = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let the output overwrite the model.")
    ] = False,
    shape: Shapes = None,
    json: Json = False,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show every layer.")] = False,
    time_limit: Annotated[
        float, typer.Option(min=0, help="Seconds to look for the best order, and the best arena.")
    ] = 10.0,
) -> None:
    """Compile a model to a TFLite file that TFLite-Micro runs, its operators in the best order.

    Exits with 1, and writes nothing, where it does not fit the device or budget.
    """
    chosen = [name for name, is_set in zip(Numbers, (float_, int8, int16x8), strict=True) if is_set]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    if output.suffix != ".tflite":
        raise UsageError("must end in .tflite", where=str(output))
    _, budget = _limits(device, sram, flash)
    from irprune.backends import compile as backend
    from irprune.backends.files import expect_writable
    from irprune.passes.analysis.calibration import Method
    from irprune.report.terminal import console, working

    expect_writable(output, source=Path(model), force=force)
    options = backend.CompileOptions(
        numbers=backend.Numbers(chosen[0]) if chosen else None,
        method=Method(method),
        float_io=io is Io.float,
        keep_io_layout=keep_io_layout,
        plan=plan,
        time_limit=time_limit,
    )
    with working(f"{model}: compiling"):
        compiled = backend.compile_model(
            model, options, calibration, mean=mean, std=std, limit=samples, shapes=_shapes(shape)
        )
    excess = compiled.excess(budget)
    if excess:
        _fail(f"irprune: {model}: {excess}; nothing is written", DOES_NOT_FIT)
    backend.write_compiled(compiled, output, c_array, source=model, force=force)
    from irprune.report.compiled import compiled_as_json, print_compiled

    if json:
        print(compiled_as_json(compiled))
    else:
        print_compiled(console(), compiled, per_layer=per_layer)


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
    if sys.stdout is None:
        _fail("irprune: standard output is closed")
    if isinstance(sys.stdout, TextIOWrapper):  # names may have what the terminal has not
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            code = app(sys.argv[1:] or ["--help"], prog_name="irprune", standalone_mode=False)
        finally:  # what is still buffered may meet a full disk, and must be told of
            sys.stdout.flush()
        if code == INTERRUPTED:
            _fail("irprune: interrupted", INTERRUPTED)
        sys.exit(code)
    except IrpruneError as error:
        _fail(f"irprune: {error}")
    except TyperException as error:
        _fail(f"irprune: {error.format_message().rstrip('.')} (see --help)")
    except BrokenPipeError:
        _drop_output()
        sys.exit(BAD_INPUT)
    except OSError as error:
        _drop_output()
        _fail(f"irprune: {error.filename or 'cannot write the output'}: {error.strerror}")
    except MemoryError:
        _fail("irprune: out of memory")


def _report(model: str, shapes: list[str], as_: CountAs | None, exclude_inputs: bool) -> Report:
    from irprune.frontends.load import load
    from irprune.report.report import analyze as analyze_graph

    graph = load(model, shapes=_shapes(shapes))
    return analyze_graph(graph, _precision(as_), exclude_inputs=exclude_inputs)


def _shapes(texts: list[str] | None) -> dict[str, Shape]:
    from irprune.frontends.load import parse_shapes

    return parse_shapes(texts or ())


def _precision(as_: CountAs | None) -> Precision | None:
    from irprune.passes.analysis.deployment import Precision

    return None if as_ is None else Precision(as_.value)


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


def _fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _drop_output() -> None:
    """Let nothing more be written at exit to an output that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
