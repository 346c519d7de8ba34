"""A whole run, and a module with models and data of a person's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from irprune.training.loop import Loop
from irprune.training.outcome import Outcome
from tests.training_runs import MODULE, config, trained


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loop, Outcome]:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, *trained(folder, config())


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with factories, in the current folder, under a name of its own."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name
