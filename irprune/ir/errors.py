"""The one error family: every error says where, what, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class IrpruneError(Exception):
    """Anything wrong with what irprune was given; programming mistakes raise Python's own errors.

    Attributes:
        where: the file, node or option at fault; empty until somebody knows it.
        what: what is wrong, in a clause.
        hint: what to do next; may be empty.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.where = where
        self.what = what
        self.hint = hint

    def at(self, where: str) -> IrpruneError:
        """This error, placed at ``where`` unless it already knows its place."""
        self.where = self.where or where
        return self

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        line = " ".join(f"{place}{self.what}{advice}".split())
        # Names come from files: nothing in them may control a terminal.
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


class InvalidModel(IrpruneError):
    """A model file that is damaged, contradicts itself or may not be read."""


class InvalidGraph(IrpruneError):
    """A graph that breaks the IR's invariants; ``problems`` has each of them."""

    def __init__(self, problems: Sequence[str], *, where: str = "") -> None:
        super().__init__("; ".join(problems), where=where)
        self.problems = tuple(problems)


class ParseError(IrpruneError):
    """Text that is not a graph; it says at which line and what was expected there."""


class InvalidType(IrpruneError):
    """Operand shapes, types or attributes that an operator does not accept."""


class UnsupportedOp(IrpruneError):
    """Operators (or forms of them) that irprune does not know; all of a model's at once."""


class InvalidPlan(IrpruneError):
    """A plan that does not fit its model: of places in memory, or of channels that stay."""


class UsageError(IrpruneError):
    """A request that cannot be met as it was put: an option, a budget, a missing shape."""
