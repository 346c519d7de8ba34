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


@pytest.mark.parametrize(
    ("text", "other", "said"),
    [
        (r"{\"tensor\": \"0\"}", r"{\"tensor\": \"7\"}", "is damaged: it lacks tensor '7'"),
        (r"\"map\": [[", r"\"map\": [[[", "is damaged: Expecting"),
        (r"\"map\": [[", r"\"pam\": [[", "is damaged: a part is of no known kind: pam"),
        (r'"state":"{', r'"state":"3, {', "is damaged: Extra data"),
        (r"{\"map\": [[\"x\"", r"{\"map\": [[[1]", "is damaged: unhashable"),
    ],
)
def test_a_damaged_file(text: str, other: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state({"x": torch.arange(3)}, path)
    data = path.read_bytes()
    assert text.encode() in data
    changed = data[8:].replace(text.encode(), other.encode())
    length = int.from_bytes(data[:8], "little") + len(other) - len(text)
    path.write_bytes(length.to_bytes(8, "little") + changed)
    with pytest.raises(UsageError, match=said):
        read_state(path)
