"""What several commands need: limits, shapes, exit codes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from irprune.options import CountAs

if TYPE_CHECKING:
    from irprune.budget import Budget
    from irprune.devices import Device
    from irprune.ir.types import Shape
    from irprune.passes.analysis.deployment import Precision

DOES_NOT_FIT = 1
BAD_INPUT = 2
INTERRUPTED = 130


def shapes(texts: list[str] | None) -> dict[str, Shape]:
    """Shapes of inputs by name, from texts such as ``x=1x3x96x96``."""
    from irprune.frontends.load import parse_shapes

    return parse_shapes(texts or ())


def precision(as_: CountAs | None) -> Precision | None:
    """How wide numbers are to be counted; None for the default."""
    from irprune.passes.analysis.deployment import Precision

    return None if as_ is None else Precision(as_.value)


def limits(device: str | None, sram: str | None, flash: str | None) -> tuple[Device | None, Budget]:
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


def say_unpacked(model: str, output: Path) -> None:
    """Say on standard error that a model's weights are not packed any more in what is written."""
    print(
        f"irprune: {model}: its weights are packed, those of {output} are not "
        "(irprune compile --compress prune)",
        file=sys.stderr,
    )


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Say what is wrong on standard error, and exit."""
    print(message, file=sys.stderr)
    sys.exit(code)
