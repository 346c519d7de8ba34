"""The package ethos-u-vela, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from irprune.ir.errors import UsageError


def is_installed() -> bool:
    """Whether Vela is there."""
    return importlib.util.find_spec("ethosu") is not None


@contextmanager
def importing() -> Iterator[None]:
    """Imports of Vela's modules; UsageError where it is not installed, or does not load."""
    try:
        yield
    except ImportError as error:
        what = f"does not load: {error}" if is_installed() else "is not installed"
        raise UsageError(f"ethos-u-vela {what}", hint="pip install 'irprune[vela]'") from None
