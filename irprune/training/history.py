"""What happened in a training run, row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path

from irprune.backends.files import write_atomically


class Stage(StrEnum):
    """What a step trains for."""

    PRUNE = "prune"
    TRAIN = "train"
    QUANTIZE = "quantize"


@dataclass(frozen=True)
class Row:
    """The state of a run after some step.

    Attributes:
        step: how many steps have been taken.
        epoch: how many epochs, in parts.
        stage: what the step trained for.
        loss: the loss of the last batch.
        learning_rate: that of the last step.
        accuracy: the share of held-out samples that are told right; measured after each epoch.
        sram: the peak of memory of the widths by then, in bytes, as irprune counts it.
        flash: the size of the model, likewise.
        macs: its multiply-accumulates.
    """

    step: int
    epoch: float
    stage: Stage
    loss: float
    learning_rate: float
    accuracy: float | None
    sram: int
    flash: int
    macs: int


def write_history(rows: Sequence[Row], folder: Path) -> None:
    """Write ``history.csv`` and ``history.json``.

    Raises:
        UsageError: they cannot be written.
    """
    names = [field.name for field in fields(Row)]
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(folder / "history.csv", table.getvalue().encode())
    text = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    write_atomically(folder / "history.json", text.encode())
