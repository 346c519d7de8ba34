"""Torch modules that a function of the user's own code makes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from irprune.frontends.torch_export.foreign import foreign_code
from irprune.frontends.torch_export.read import read_torch
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Shape


def read_factory(spec: str, shapes: Mapping[str, Shape]) -> Graph:
    """The graph of the torch module that ``package.module:factory`` gives when called.

    Args:
        spec: what to import and call; it is also found in the current folder. It gives a module,
            or a module and a tuple of its example inputs.
        shapes: shapes of float inputs, in order, in place of the factory's example inputs.

    Raises:
        UsageError: there is no such factory, it gives something else, or no inputs are known.
    """
    made = _called(spec)
    module, example_inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"gives {type(module).__name__}, not a torch module", where=spec)
    if shapes:
        example_inputs = tuple(torch.zeros(shape) for shape in shapes.values())
    if not isinstance(example_inputs, tuple):
        raise UsageError(
            "does not say its example inputs",
            where=spec,
            hint="let the factory return (module, (input, ...)), or give --shape x=1x3x96x96",
        )
    return read_torch(module, example_inputs)


def _called(spec: str) -> object:
    module_name, _, attribute = spec.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UsageError("no such file", where=spec, hint="check the path")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    hint = "package.module:factory is called without arguments"
    with foreign_code("cannot be imported and called", where=spec, hint=hint):
        factory = getattr(importlib.import_module(module_name), attribute)
        is_module = isinstance(factory, torch.nn.Module)
        return factory() if callable(factory) and not is_module else factory
