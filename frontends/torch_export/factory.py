"""Torch modules that a function of the user's own code makes."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path

import torch

from irprune.frontends.torch_export.constants import dtype_of
from irprune.frontends.torch_export.foreign import foreign_code
from irprune.frontends.torch_export.read import read_torch
from irprune.ir.errors import IrpruneError, UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Shape, TensorType


def read_factory(spec: str, shapes: Mapping[str, Shape]) -> Graph:
    """The graph of the torch module that ``package.module:factory`` gives when called.

    Args:
        spec: what to import and call; it is also found in the current folder. It gives a module,
            or a module and a tuple of its example inputs.
        shapes: shapes of arguments of the module's ``forward``, by name. They take the place of
            the factory's own example inputs, whose element types stay; others are float32.

    Raises:
        InvalidModel: the code fails, or there is no such factory.
        UsageError: it gives something else, or the inputs that are known are not those of
            ``forward``.
        InvalidType: a shape has more elements than a tensor may have.
    """
    module, example_inputs = made_module(spec)
    try:
        return read_torch(module, _inputs(module, example_inputs, shapes))
    except IrpruneError as error:
        raise error.at(spec) from error.__cause__


def made_module(spec: str) -> tuple[torch.nn.Module, object]:
    """The module that ``package.module:factory`` gives, and its example inputs or None.

    Raises:
        InvalidModel: the code fails, or there is no such factory.
        UsageError: it gives something else.
    """
    made = called(spec)
    module, example_inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"gives {type(module).__name__}, not a torch module", where=spec)
    return module, example_inputs


def _inputs(
    module: torch.nn.Module, examples: object, shapes: Mapping[str, Shape]
) -> tuple[object, ...]:
    """What ``forward`` is called with: the examples, but for what is given another shape."""
    hint = "let the factory return (module, (input, ...)), or give --shape x=1x3x96x96"
    if examples is not None and not isinstance(examples, tuple):
        raise UsageError(f"its example inputs are a {type(examples).__name__}, no tuple", hint=hint)
    if examples is not None and not shapes:
        return examples
    own = examples or ()
    with foreign_code("its forward has no signature"):
        arguments = list(inspect.signature(module.forward).parameters.values())
    # What stands behind *args goes by name alone, and here nothing is given by name.
    arguments = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    places = {argument.name: place for place, argument in enumerate(arguments)}
    inputs = [*own, *(argument.default for argument in arguments[len(own) :])]
    for name, shape in shapes.items():
        if name not in places:
            known = ", ".join(places) or "none by name"
            raise UsageError(f"its forward has no input '{name}'", hint=f"it takes {known}")
        inputs[places[name]] = _tensor(name, shape, inputs[places[name]])
    for name, place in places.items():
        if inputs[place] is Parameter.empty:
            raise UsageError(f"the shape of its input '{name}' is not known", hint=hint)
    # Defaults behind the last input that is given are left to forward.
    return tuple(inputs[: max([len(own), *(places[name] + 1 for name in shapes)])])


def _tensor(name: str, shape: Shape, example: object) -> torch.Tensor:
    """A tensor of that shape, of the example's element type where it is a tensor."""
    unknown = example is None or example is Parameter.empty
    if not unknown and not isinstance(example, torch.Tensor):
        raise UsageError(f"its input '{name}' is a {type(example).__name__}, no tensor")
    dtype = example.dtype if isinstance(example, torch.Tensor) else torch.float32
    TensorType(shape, dtype_of(dtype))  # raises where it is too large
    with foreign_code(f"no memory for input '{name}'"):
        return torch.empty(shape, dtype=dtype)  # nobody reads it: no memory is really taken


def called(spec: str) -> object:
    """What ``package.module:factory`` gives when called; it is also found in the current folder.

    Raises:
        InvalidModel: the code fails, or there is no such factory.
        UsageError: that is no name of one.
    """
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
