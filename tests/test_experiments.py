"""What the experiment with sparsity makes of its runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.processes import ROOT

NAME = "irprune_experiment"


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, called for one seed whose run is that of ``finished`` or fails."""
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "tools/experiments/sparsity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "UNIFORM", (0.7,))
    monkeypatch.setattr(module, "METHODS", {"budget-avg": module.METHODS["budget-avg"]})
    return module


def call(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, task: str, out: Path, *, fails: bool
) -> None:
    """Its main function, in which a run is no process but what this writes."""
    run = {
        "accuracy": 0.6,
        "int8_accuracy": 0.59,
        "bytes": 1000,
        "sparsity": 0.8,
        "parameters": 400,
        "seconds": 3.0,
        "layers": {"a": 0.9, "b": 0.5},
    }
    found = run if task == "table" else {"uniform": run, "learned": run}

    def done(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if not fails:
            monkeypatch.setattr(sys, "argv", command[1:])
            module.main()
        return subprocess.CompletedProcess(command, int(fails), "", "it broke")

    monkeypatch.setattr(module, "trained", lambda *given: found)
    monkeypatch.setattr(module, "compared", lambda *given: found)
    monkeypatch.setattr(module.subprocess, "run", done)
    monkeypatch.setattr(sys, "argv", ["it", task, "data", str(out), "--seeds", "1", "--jobs", "1"])
    module.main()


def test_tables(
    experiment: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether a budget is kept is said of what has one; the mean of layers is beside the total."""
    call(experiment, monkeypatch, "bytes", tmp_path, fails=False)
    _, _, uniform, learned = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    assert (uniform[2], learned[2]) == ("-", "1 of 1")
    call(experiment, monkeypatch, "table", tmp_path, fails=False)
    head, _, row = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    cells = dict(zip(head, row, strict=True))
    assert cells["sparsity, %"].startswith("80.00 ")
    assert cells["mean of layers, %"].startswith("70.00 ")
    assert cells["parameters"].startswith("400 ")


def test_a_run_that_fails_is_told_by_the_exit_code(
    experiment: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(experiment, monkeypatch, "bytes", tmp_path, fails=True)
    assert ended.value.code == 1
    assert "it broke" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["other", "none"])
def test_runs_of_other_settings_are_refused(
    experiment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    call(experiment, monkeypatch, "bytes", tmp_path, fails=False)
    (path,) = tmp_path.iterdir()
    if change == "other":
        monkeypatch.setattr(experiment, "RATE", 0.2)
    else:
        found = json.loads(path.read_text())
        del found["settings"]
        path.write_text(json.dumps(found))
    with pytest.raises(SystemExit, match="is of other settings"):
        call(experiment, monkeypatch, "bytes", tmp_path, fails=False)
