"""What a module is called with, and how many classes it tells apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from irprune.frontends.torch_export import foreign_code
from irprune.ir.errors import InvalidModel, UsageError
from irprune.ir.types import dims
from irprune.training.config import TrainConfig
from irprune.training.data import Batch, Samples, checked

SOME = 256
"""Samples that a module is tried on."""


def example_inputs_of(given: object, samples: Samples, config: TrainConfig) -> tuple[object, ...]:
    """What a module is called with: what came with it, or the first sample.

    Raises:
        UsageError: it is more than one sample, and the device runs one at a time; or the data
            cannot be used.
        InvalidModel: their code fails.
    """
    if not isinstance(given, tuple):
        x, _ = _first(samples, 1, config)
        return (x,)
    for x in given:
        if isinstance(x, Tensor) and x.shape[:1] != (1,):
            raise UsageError(
                f"the example inputs are of {dims(tuple(x.shape))}, no batch of one sample",
                where=config.model,
                hint="give those of one sample, as the device gets them",
            )
    return given


def classes_of(
    module: nn.Module, example_inputs: tuple[object, ...], samples: Samples, config: TrainConfig
) -> int:
    """How many classes a module tells apart.

    Raises:
        UsageError: it does not take the data, or makes something else of them.
    """
    x, y = _first(samples, SOME, config)
    where = config.model
    example = example_inputs[0]
    if isinstance(example, Tensor) and example.shape[1:] != x.shape[1:]:
        shapes = f"{dims(tuple(x.shape[1:]))}, and it takes {dims(tuple(example.shape[1:]))}"
        raise UsageError(f"the data are of {shapes}", where=where)
    device = next((p.device for p in module.parameters()), x.device)
    module.eval()
    try:
        with torch.no_grad(), foreign_code("does not take the data"):
            found = module(x.to(device))
    except InvalidModel as error:
        raise UsageError(error.what, where=where) from None
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise UsageError("does not give (samples, classes)", where=where)
    checked([x, y], found.shape[1])
    return found.shape[1]


def _first(samples: Samples, count: int, config: TrainConfig) -> Batch:
    """The first samples, whatever their labels."""
    with foreign_code("the data cannot be read", where=config.data.source):
        batch = next(iter(DataLoader(samples, count)))
    return checked(batch, 2**31)
