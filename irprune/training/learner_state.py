"""What the states of learners have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from irprune.ir.errors import UsageError


def expect_same_learner(state: Mapping[str, Any], own: Mapping[str, Any], kind: str) -> None:
    """Raise UsageError where a learner cannot go on from a state.

    Args:
        state: what it is to go on from.
        own: the state that it has.
        kind: what it is called.
    """
    if state.get("graph") != own["graph"]:
        raise UsageError(f"the state is of a {kind} of another model")
    lacking = [key for key in own if key not in state]
    if lacking:
        raise UsageError(f"the state lacks {', '.join(lacking)}", hint="give a state_dict()")
