"""The calls into torch.export, which run the model's own code and may fail in any way."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import torch
from torch.export import ExportedProgram

from irprune.ir.errors import InvalidModel

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a person's own code may raise where it fails."""

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
_TORCH = Path(torch.__file__).parent
_MESSAGE_LENGTH = 300


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
        with torch.no_grad(), _failures_of(type(module).__name__):
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
    with torch.no_grad(), _failures_of(name):
        decomposed: ExportedProgram = program.run_decompositions(table)
        return decomposed


@contextlib.contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """Turn any failure into one InvalidModel, without torch's own chatter about it."""
    chatter = io.StringIO()
    try:
        with (
            _muted(_LOGGERS),
            contextlib.redirect_stderr(chatter),
            warnings.catch_warnings(),
        ):
            for message, category in _WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    except FAILURES as error:
        raise InvalidModel(
            f"torch.export cannot trace it: {cause(error)}",
            where=name,
            hint="change the module so that torch.export.export(module, inputs) succeeds",
        ) from error
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


def cause(error: BaseException) -> str:
    """What went wrong, in a line, and the line of a person's own code where it did."""
    message = " ".join(str(error).partition("\n\n")[0].split()) or type(error).__name__
    if len(message) > _MESSAGE_LENGTH:
        message = f"{message[:_MESSAGE_LENGTH]} ..."
    frames = traceback.extract_tb(error.__traceback__)
    ours = (str(_TORCH), str(Path(__file__).parent), contextlib.__file__, importlib.__file__)
    own = [f for f in frames if not f.filename.startswith((*ours, "<"))]
    return f"{message}, at {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else message
