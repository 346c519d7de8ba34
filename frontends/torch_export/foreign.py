"""Running code that is not irprune's: a person's modules and factories, and torch under them."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from irprune.ir.errors import InvalidModel

_CALLERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
_LIBRARIES = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
_LENGTH = 300


@contextlib.contextmanager
def foreign_code(what: str, *, where: str = "", hint: str = "") -> Iterator[None]:
    """Turn any failure into one InvalidModel, and keep what is printed out of irprune's output.

    Args:
        what: what has failed if something does, in a clause.
        where: as in every error.
        hint: likewise.

    Raises:
        InvalidModel: the code raised something; the error quotes it and the line where it did.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Such code may raise anything, and even its SystemExit(0) is no success of irprune.
        raise InvalidModel(f"{what}: {_cause(error)}", where=where, hint=hint) from error


def _cause(error: BaseException) -> str:
    """What was raised, and the line of a person's own code where it was, in one line."""
    told = traceback.TracebackException.from_exception(error)
    raised = next(line for line in told.format_exception_only() if not line.startswith(" "))
    message = _cut(raised.removeprefix(f"{type(error).__module__}.").partition("\n\n")[0])
    if isinstance(error, SyntaxError) and error.filename:  # the code that could not even start
        return f"{message}, at {error.filename}:{error.lineno}: {_cut(error.text or '')}"
    frames = [frame for frame in told.stack if not frame.filename.startswith(_CALLERS)]
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    for frame in (own or frames)[-1:]:
        return f"{message}, at {frame.filename}:{frame.lineno}: {_cut(frame.line or '')}"
    return message


def _cut(text: str) -> str:
    """The text in one line of bounded length."""
    line = " ".join(text.split())
    return f"{line[:_LENGTH]} ..." if len(line) > _LENGTH else line
