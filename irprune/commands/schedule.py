"""irprune schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irprune.commands.common import precision, shapes
from irprune.ir.errors import UsageError
from irprune.options import MODEL, As, ExcludeInputs, Json, Shapes


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

    source = open_source(model, shapes(shape))
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
            precision(as_) or source.precision,
            exclude_inputs=exclude_inputs,
            scratch=() if source.tflite is None else source.tflite.scratch,
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
