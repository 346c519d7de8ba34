"""What a file of settings may say, and what is said of those without sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from irprune.ir.errors import UsageError
from irprune.training.config import read_config
from tests.training_runs import config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 3}, "epochs: extra inputs are not permitted"),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than"),
        ({"training": {"epochs": 1}}, "quantization.epochs are the last of training.epochs"),
        ({"data": {}}, "data.source: field required"),
        ({"method": "magic"}, "method: input should be 'widths', 'one-shot'"),
        ({"method": "none"}, "method 'none' takes no budget"),
        ({"budget": None}, "method 'widths' needs a budget"),
        ({"budget": "ram=3"}, "budget has no resource 'ram'"),
        ({"pruning": {"peak": "high"}}, "pruning.peak: input should be 'precise'"),
    ],
)
def test_settings_without_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        config(**changes)


@pytest.mark.parametrize(("text", "said"), [("model = ", "is not TOML"), ("", "field required")])
def test_a_file_of_settings_without_sense(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(path)
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as raised:
        read_config(path)
    assert str(raised.value).startswith(str(path))
