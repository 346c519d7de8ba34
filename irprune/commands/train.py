"""irprune train."""

from __future__ import annotations

import importlib.util
import json as json_
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from irprune.commands.common import DOES_NOT_FIT, INTERRUPTED, fail
from irprune.ir.errors import UsageError
from irprune.options import Json


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="What to train: .toml.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write; made where missing.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a model within a budget, compile it, and run it as the device does.

    Writes the compiled model, its weights, plan and ranges, the history and a summary. A run that
    was interrupted goes on with --resume, and ends as it would have. Exits with 1 where the
    compiled model exceeds the budget.
    """
    for package in ("torch", "accelerate", "pydantic", "safetensors"):
        if importlib.util.find_spec(package) is None:
            hint = "pip install 'irprune[train]'"
            raise UsageError(f"training needs {package}, which is not installed", hint=hint)
    from irprune.backends.files import write_atomically
    from irprune.report.terminal import console
    from irprune.report.trained import history_picture, print_outcome, progress
    from irprune.training.config import read_config
    from irprune.training.loop import CHECKPOINT, Loop
    from irprune.training.outcome import write_outcome

    settings = read_config(config)
    if resume and not (output / CHECKPOINT).exists():
        raise UsageError(
            "has no checkpoint to go on from", where=str(output), hint="begin without --resume"
        )
    with progress(settings.model) as watch, _interruption_told(output / CHECKPOINT):
        loop = Loop(settings, output, watch)
        if resume:
            loop.resume()
        elif loop.is_main and loop.checkpoint.exists():
            raise UsageError(
                "holds a run already", where=str(output), hint="use --resume, or another folder"
            )
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot be made: {error.strerror}", where=str(output)) from None
        loop.run()
    if not loop.is_main:
        return
    with _interruption_told(loop.checkpoint):
        outcome = write_outcome(loop, output)
    if json:
        print(json_.dumps(asdict(outcome), indent=1))
    else:
        print_outcome(console(), outcome)
    if importlib.util.find_spec("matplotlib") is not None:
        write_atomically(
            output / "history.png", history_picture(loop.rows, settings.limits, outcome.usage)
        )
    if outcome.exceeded:
        raise typer.Exit(DOES_NOT_FIT)


@contextmanager
def _interruption_told(checkpoint: Path) -> Iterator[None]:
    """Say what an interrupted run goes on from."""
    try:
        yield
    except KeyboardInterrupt:
        if not checkpoint.exists():
            raise
        fail(f"irprune: interrupted (go on with --resume, from {checkpoint})", INTERRUPTED)
