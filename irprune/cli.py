"""The command line: parse, call, and say what went wrong."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

import typer
from typer.exceptions import TyperException

from irprune.commands.analyze import analyze, devices
from irprune.commands.channels import groups, prune
from irprune.commands.common import BAD_INPUT, INTERRUPTED, fail
from irprune.commands.compile import compile_, verify
from irprune.commands.schedule import schedule
from irprune.commands.sparsify import sparsify
from irprune.commands.train import train
from irprune.ir.errors import IrpruneError

app = typer.Typer(
    name="irprune",
    help="What a neural network costs on a microcontroller, and how to make it fit.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (analyze, schedule, groups, prune, train, sparsify, compile_, verify, devices):
    app.command(command.__name__.rstrip("_"))(command)


def main() -> None:
    """Run the command line; every expected failure is one line on standard error."""
    if sys.stdout is None:
        fail("irprune: standard output is closed")
    if isinstance(sys.stdout, TextIOWrapper):  # names may have what the terminal has not
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            code = app(sys.argv[1:] or ["--help"], prog_name="irprune", standalone_mode=False)
        finally:  # what is still buffered may meet a full disk, and must be told of
            sys.stdout.flush()
        if code == INTERRUPTED:
            fail("irprune: interrupted", INTERRUPTED)
        sys.exit(code)
    except IrpruneError as error:
        fail(f"irprune: {error}")
    except TyperException as error:
        fail(f"irprune: {error.format_message().rstrip('.')} (see --help)")
    except BrokenPipeError:
        _drop_output()
        sys.exit(BAD_INPUT)
    except OSError as error:
        _drop_output()
        fail(f"irprune: {error.filename or 'cannot write the output'}: {error.strerror}")
    except MemoryError:
        fail("irprune: out of memory")


def _drop_output() -> None:
    """Let nothing more be written at exit to an output that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
