"""The options that commands share, and what may be chosen."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class CountAs(StrEnum):
    """How wide the numbers of the deployed model are taken to be."""

    int8 = "int8"
    float32 = "float32"
    model = "model"


class CalibrationMethod(StrEnum):
    """How calibration samples make ranges."""

    minmax = "minmax"
    moving_average = "moving-average"
    percentile = "percentile"
    mse = "mse"


class Numbers(StrEnum):
    """What a compiled model computes with."""

    float = "float"
    int8 = "int8"
    int16x8 = "int16x8"


class Compression(StrEnum):
    """How weights are stored that the device unpacks."""

    prune = "prune"


class Io(StrEnum):
    """What a quantized model takes and gives."""

    int8 = "int8"
    float = "float"


class RuntimeName(StrEnum):
    """What models are run in."""

    tflm = "tflm"
    litert = "litert"
    onnxruntime = "onnxruntime"
    reference = "reference"


class Salience(StrEnum):
    """What stands for the importance of a channel."""

    batchnorm = "batchnorm"
    l1 = "l1"
    l2 = "l2"
    random = "random"


class Over(StrEnum):
    """How several saliences become one."""

    max = "max"
    mean = "mean"


MODEL = (
    "An .onnx or .tflite file, zoo:NAME[?key=value&...], or package.module:factory for a torch "
    "module."
)
Shapes = Annotated[
    list[str] | None,
    typer.Option(metavar="INPUT=1x3x96x96", help="The shape of an input; may be repeated."),
]
As = Annotated[
    CountAs | None,
    typer.Option(
        "--as",
        help="Count in these types; by default int8 for a float model, its own for a quantized "
        "one.",
    ),
]
DeviceName = Annotated[str | None, typer.Option(help="Does it fit this board? See 'devices'.")]
Sram = Annotated[str | None, typer.Option(help="Does it fit this memory? E.g. 64KB.")]
Flash = Annotated[str | None, typer.Option(help="Does it fit this storage?")]
Channels = Annotated[
    list[float] | None,
    typer.Option(metavar="NUMBER", help="Of images, from 0 to 1; once, or once a channel."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExcludeInputs = Annotated[
    bool, typer.Option("--exclude-inputs", help="Leave model inputs out of memory figures.")
]
