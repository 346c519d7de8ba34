"""The calls into torch.export, which run the model's own code and may fail in any way."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Collection, Iterator

import torch
from torch.export import ExportedProgram

from irprune.frontends.torch_export.foreign import foreign_code

# Before these raise they log what they are about to raise, with a traceback.
_LOGGERS = (
    "torch._subclasses.fake_tensor",
    "torch.export._trace",
    "torch.fx.experimental.symbolic_shapes",
)
# torch's use of its own deprecated classes, a cache of recurrent modules that export restores, and
# how fast torch itself would run.
_WARNINGS = (
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
    (r"The tensor attributes? (self\.([\w.]+\.)?_flat_weights\[\d+\](, )?)+ w", UserWarning),
    (r"Using padding='same' with even kernel lengths", UserWarning),
)


def export(module: torch.nn.Module, example_inputs: tuple[object, ...]) -> ExportedProgram:
    """The module's program as it runs at inference, whatever mode the module is in.

    Every training flag is set back afterwards; nothing else of the module is touched.

    Args:
        module: any module that torch.export can trace.
        example_inputs: the arguments of its ``forward``; their shapes become the program's.

    Raises:
        InvalidModel: the module cannot be exported; the error quotes the cause and its line.
    """
    modes = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in modes:
            m.training = False
        with torch.no_grad(), _exporting(type(module).__name__):
            return torch.export.export(module, example_inputs)
    finally:
        for m, training in modes:
            m.training = training


def decompose(program: ExportedProgram, kept: Collection[str], name: str) -> ExportedProgram:
    """The program with no operator in place, and all that torch can decompose decomposed.

    Args:
        program: it is not changed.
        kept: the names of the operators not to decompose.
        name: the model's name, for errors.

    Raises:
        InvalidModel: torch cannot do it.
    """
    table = torch.export.default_decompositions()
    for op in [op for op in table if str(op) in kept]:
        del table[op]
    with torch.no_grad(), _exporting(name):
        decomposed: ExportedProgram = program.run_decompositions(table)
        return decomposed


@contextlib.contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Run torch.export on somebody's model as foreign code, without torch's own chatter."""
    chatter = io.StringIO()
    with (
        _muted(_LOGGERS),
        contextlib.redirect_stderr(chatter),
        warnings.catch_warnings(),
        foreign_code(
            "torch.export cannot trace it",
            where=name,
            hint="change the module so that torch.export.export(module, inputs) succeeds",
        ),
    ):
        for message, category in _WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        yield
    sys.stderr.write(chatter.getvalue())


@contextlib.contextmanager
def _muted(names: Collection[str]) -> Iterator[None]:
    """Let these loggers say nothing."""
    nothing: Callable[[logging.LogRecord], bool] = lambda record: False  # noqa: E731
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(nothing)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(nothing)
