"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from irprune.ir.errors import UsageError


def expect_writable(path: Path, *, source: Path | None = None, force: bool = False) -> None:
    """Raise UsageError where ``write_atomically`` would, as far as that can be seen beforehand.

    Args:
        path: the file to write.
        source: the file that its contents are to be made from.
        force: whether that may be written over.
    """
    if source is not None and not force and _is_same(path, source):
        raise UsageError(
            "would overwrite its input", where=str(path), hint="name another file, or use --force"
        )
    try:
        if path.exists() and not path.is_file():
            raise UsageError("is no file", where=str(path), hint="name a file")
        path.resolve().parent.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _unwritable(path, error) from None


def write_atomically(
    path: Path, data: bytes, *, source: Path | None = None, force: bool = False
) -> None:
    """Write a file so that, whatever happens, it is there whole, or is what it was before.

    The bytes go to a new file beside it, onto the disk, and then into its place at once. A link is
    followed; permissions are those of the file before, or those of any new file.

    Args:
        path: the file to write.
        data: its contents.
        source: the file that the contents were made from.
        force: whether it may be written over.

    Raises:
        UsageError: the file is the source and ``force`` is not given, or it cannot be written;
            nothing is left behind.
    """
    expect_writable(path, source=source, force=force)
    try:
        _replace(path.resolve(), data)
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError | RuntimeError) -> UsageError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return UsageError(f"cannot be written: {why}", where=str(path))


def _is_same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:  # one of them is not there yet
        return False


def _replace(target: Path, data: bytes) -> None:
    beside = target.with_name(f".irprune-{secrets.token_hex(8)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
