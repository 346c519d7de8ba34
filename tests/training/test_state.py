"""States of runs in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from irprune.ir.errors import UsageError
from irprune.training.state import read_state, write_state


def test_state_in_a_file(tmp_path: Path) -> None:
    state: dict[Any, Any] = {
        "text": "é\n",
        "none": None,
        "numbers": [1, 2.5, float("inf"), True],
        3: (1, ("a",)),
        "tensors": {"x": torch.arange(3), "y": torch.tensor(True), "z": torch.zeros(0)},
    }
    write_state(state, tmp_path / "state")
    found = read_state(tmp_path / "state")
    tensors = state.pop("tensors")

    for name, tensor in found.pop("tensors").items():
        assert torch.equal(tensor, tensors[name])
    assert found == state
    with pytest.raises(UsageError, match="a state with a set in it"):
        write_state({"set": {1}}, tmp_path / "state")
