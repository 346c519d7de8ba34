"""``irprune train`` as a user meets it, where something comes in between."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from irprune.cli import main
from irprune.ir.errors import UnsupportedOp
from irprune.training import outcome
from tests.training_runs import MODULE

CONFIG = """
model = "{module}:model"
data.source = "{module}:{data}"
method = "none"
training = {{epochs = 3, batch = 8, checkpoint_every = 2}}
quantization.epochs = 0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *options: str,
    data: str = "data",
) -> int:
    """The exit code of a run into ``out``."""
    module = f"own_{abs(hash(folder))}"
    (folder / f"{module}.py").write_text(MODULE)
    text = CONFIG.format(module=module, data=data)
    (folder / "config.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["irprune", "train", "config.toml", "-o", "out", *options])
    with pytest.raises(SystemExit) as raised:
        main()
    return int(raised.value.code or 0)


def test_nothing_to_go_on_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, monkeypatch, "--resume") == 2
    said = "irprune: out: has no checkpoint to go on from (begin without --resume)\n"
    assert capsys.readouterr().err == said
    assert not (folder / "out").exists()


def test_an_interruption(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, monkeypatch, data="interrupted") == 130
    said = "irprune: interrupted (go on with --resume, from out/checkpoint.safetensors)"
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert train(folder, monkeypatch, "--resume", "--json", data="interrupted") == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 8
    assert train(folder, monkeypatch, data="interrupted") == 2
    said = "irprune: out: holds a run already (use --resume, or another folder)\n"
    assert capsys.readouterr().err == said


def test_a_model_that_cannot_be_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was trained is there nonetheless."""

    def fails(*args: object, **options: object) -> NoReturn:
        raise UnsupportedOp("no such kernel")

    monkeypatch.setattr(outcome, "compile_tflite", fails)
    assert train(folder, monkeypatch) == 2
    assert "irprune: no such kernel" in capsys.readouterr().err
    found = {path.name for path in (folder / "out").iterdir()}
    assert found >= {"weights.safetensors", "history.csv", "history.json"}


def test_a_disk_that_is_full_at_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fsync(descriptor: int) -> None:
        if (folder / "out/summary.json").exists():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    assert train(folder, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert "int8, in TFLite-Micro" in out
    assert err.endswith("out/history.png: cannot be written: No space left on device\n")
