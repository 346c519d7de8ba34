"""What a training run is told, from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from irprune.budget import Budget
from irprune.ir.errors import UsageError
from irprune.training.resources import Peak, Scalarization
from irprune.training.width_pruner import Feedback

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Method(StrEnum):
    """How a model gets within its budget."""

    WIDTHS = "widths"
    """Widths are learned in training (``WidthPruner``)."""
    ONE_SHOT = "one-shot"
    """Half of the way through training, the channels go that matter least."""
    UNIFORM = "uniform"
    """All layers are scaled alike, before training."""
    NONE = "none"
    """It stays as it is."""


class Optimizer(StrEnum):
    """What updates the weights."""

    ADAMW = "adamw"
    SGD = "sgd"
    """With Nesterov's momentum of 0.9."""


class MixedPrecision(StrEnum):
    """In what layers are computed in training."""

    NO = "no"
    BF16 = "bf16"


class Section(BaseModel):
    """A part of the file, in which everything is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where the data are.

    Attributes:
        source: ``digits``, ``mnist``, ``cifar10``, or ``package.module:factory``.
        path: the folder with the files of MNIST or CIFAR-10.
        held_out: the share of the training data that widths are learned on.
    """

    source: str
    path: Path | None = None
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Training(Section):
    """How weights are trained.

    Attributes:
        epochs: in all, those with quantization among them.
        batch: samples in a step, over all processes.
        accumulate: parts of a batch that are computed one after another, to save memory.
        optimizer: what updates the weights.
        learning_rate: the largest one; it rises for a twentieth of the steps, then falls as a
            cosine does.
        weight_decay: of all parameters.
        mixed_precision: in what layers are computed in training; parameters stay as they are.
        checkpoint_every: the steps between two checkpoints.
    """

    epochs: Count
    batch: Count = 128
    accumulate: Count = 1
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: Positive = 3e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    mixed_precision: MixedPrecision = MixedPrecision.NO
    checkpoint_every: Count = 200


class Pruning(Section):
    """How widths are learned (``WidthOptions``).

    Attributes:
        every: the steps of training between two updates.
        rate: how fast multipliers move.
        start: the steps before the first update.
        batches: held-out batches that are used in turn.
        balance: the first task loss over the first resource loss, once both are weighed.
        alphas: the weights of resource loss and task loss, instead of the balance.
        early_termination: whether training goes on with the small model once the budget is met.
        feedback: which losses move the widths.
        scalarization: how resources become one loss.
        peak: which peak of memory counts.
    """

    every: Count = 20
    rate: Positive = 1.0
    start: NotNegative = 0
    batches: Count = 16
    balance: Positive = 2 / 3
    alphas: tuple[Positive, Positive] | None = None
    early_termination: bool = False
    feedback: Feedback = Feedback.BOTH
    scalarization: Scalarization = Scalarization.RANDOM
    peak: Peak = Peak.PRECISE


class Quantization(Section):
    """How weights get used to integers.

    Attributes:
        epochs: the last ones, with fake quantization; with none, ranges are calibrated.
        start: of these, the steps that only observe ranges; by default 20, or half of those after
            which ranges stay, if that is less.
        test_samples: the test samples that the compiled model is run on, in the runtime.
    """

    epochs: NotNegative = 1
    start: NotNegative | None = None
    test_samples: Count = 1000


class TrainConfig(Section):
    """A training run.

    Attributes:
        model: ``zoo:NAME?key=value&...`` or ``package.module:factory``.
        data: what it is trained on.
        training: how.
        budget: what the compiled model may take, as ``sram=16KB flash=32KB macs=2M``.
        method: how it gets there.
        pruning: how widths are learned.
        quantization: how weights get used to integers.
        seed: of all that is random.
    """

    model: str
    data: Data
    training: Training
    budget: str | None = None
    method: Method = Method.WIDTHS
    pruning: Pruning = Pruning()
    quantization: Quantization = Quantization()
    seed: Seed = 0

    @property
    def limits(self) -> Budget:
        """The budget as numbers; without bounds where there is none."""
        return Budget() if self.budget is None else Budget.parse(self.budget)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The settings that differ, such as ``data.path``; of sections each by itself."""
    for key in dict.fromkeys((*before, *after)):
        match before.get(key), after.get(key):
            case Mapping() as was, Mapping() as now:
                yield from (f"{key}.{name}" for name in differences(was, now))
            case was, now if was != now:
                yield key


def read_config(path: Path) -> TrainConfig:
    """The run that a file describes; its paths are relative to its folder.

    Raises:
        UsageError: it cannot be read, is no TOML, or says what makes no sense.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", where=str(path)) from None
    try:
        config = parse_config(document)
    except UsageError as error:
        raise error.at(str(path)) from None
    if config.data.path is None:
        return config
    data = config.data.model_copy(update={"path": (path.parent / config.data.path).resolve()})
    return config.model_copy(update={"data": data})


def parse_config(document: dict[str, Any]) -> TrainConfig:
    """The run that a document describes.

    Raises:
        UsageError: it says what makes no sense.
    """
    try:
        config = TrainConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UsageError(f"{place}: {first['msg'].lower()}{more}", hint="see README.md") from None
    budget = config.limits
    if (config.method is Method.NONE) != (config.budget is None):
        raise UsageError(
            f"method '{config.method}' "
            + ("takes no budget" if budget != Budget() else "needs a budget, sram=16KB flash=32KB"),
        )
    learned = config.method in (Method.WIDTHS, Method.ONE_SHOT)
    if config.quantization.epochs + learned > config.training.epochs:
        raise UsageError(
            "quantization.epochs are the last of training.epochs, of which there are too few"
        )
    return config
