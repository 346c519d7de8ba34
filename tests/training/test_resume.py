"""Runs that are interrupted end as they would have, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irprune.ir.errors import UsageError
from irprune.training.config import TrainConfig
from irprune.training.history import Row
from irprune.training.loop import Loop
from irprune.training.outcome import Outcome, write_outcome
from irprune.training.state import read_state, write_state
from tests.processes import ROOT
from tests.training_runs import CONFIG, SETTINGS, config, ignored, trained


class _Interrupted(Exception):
    pass


def interrupted(settings: TrainConfig, folder: Path, step: int, *, resume: bool = False) -> None:
    """A run that ends without a word after a step."""

    def watch(done: int, total: int, row: Row | None) -> None:
        if done == step:
            raise _Interrupted

    loop = Loop(settings, folder, watch)
    if resume:
        loop.resume()
    with pytest.raises(_Interrupted):
        loop.run()


def resumed(settings: TrainConfig, folder: Path) -> Loop:
    loop = Loop(settings, folder, ignored)
    loop.resume()
    loop.run()
    return loop


def assert_same(first: Loop, other: Loop) -> None:
    assert first.plan == other.plan
    assert first.rows == other.rows
    state = first.module.state_dict()
    assert all(torch.equal(state[name], t) for name, t in other.module.state_dict().items())
    if first.quantizer is not None and other.quantizer is not None:
        ours, theirs = first.quantizer.state_dict(), other.quantizer.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_goes_on_as_if_nothing_had_been(
    run: tuple[Path, Loop, Outcome], tmp_path: Path
) -> None:
    """Interrupted while widths are learned, and again on integers."""
    interrupted(config(), tmp_path, 23)
    interrupted(config(), tmp_path, 151, resume=True)
    assert_same(run[1], resumed(config(), tmp_path))


def test_what_is_random_goes_on_likewise(own: str, tmp_path: Path) -> None:
    """Dropout, and noise on the data by each generator, from the middle of an epoch."""
    settings = config(
        model=f"{own}:dropping",
        data={"source": f"{own}:noisy"},
        training={"epochs": 6, "batch": 8, "checkpoint_every": 2},
        quantization={"epochs": 1},
        pruning={"every": 1, "rate": 3.0, "batches": 1, "feedback": "task"},
        budget="macs=2k",
    )
    loop, _ = trained(tmp_path / "whole", settings)
    assert loop.plan is not None
    assert loop.plan.kept
    (tmp_path / "broken").mkdir()
    interrupted(settings, tmp_path / "broken", 5)
    assert_same(loop, resumed(settings, tmp_path / "broken"))


def test_what_a_run_has_come_to_is_measured_likewise(own: str, tmp_path: Path) -> None:
    """Noise on the data is the same once a run is over, and gone on with nonetheless."""
    settings = config(
        model=f"{own}:dropping",
        data={"source": f"{own}:noisy"},
        training={"epochs": 2, "batch": 8},
        quantization={"epochs": 0},
        method="none",
        budget=None,
    )
    folder = tmp_path / "whole"
    _, outcome = trained(folder, settings)
    paths = [path for path in folder.iterdir() if path.name != "checkpoint.safetensors"]
    before = [path.read_bytes() for path in paths]
    assert write_outcome(resumed(settings, folder), folder) == outcome
    assert before == [path.read_bytes() for path in paths]


@pytest.mark.parametrize(
    "changes",
    [
        {"pruning": {"every": 4, "rate": 10.0, "early_termination": True}},
        {
            "method": "one-shot",
            "training": {**SETTINGS["training"], "accumulate": 2, "mixed_precision": "bf16"},
        },
        {"method": "uniform", "training": {**SETTINGS["training"], "optimizer": "sgd"}},
        {"method": "none", "budget": None, "quantization": {"epochs": 0}},
    ],
    ids=lambda changes: str(changes.get("method", "early")),
)
def test_other_ways_go_on_likewise(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = config(**changes)
    loop, outcome = trained(tmp_path / "whole", settings)
    assert not outcome.exceeded
    (tmp_path / "broken").mkdir()
    interrupted(settings, tmp_path / "broken", 3)
    interrupted(settings, tmp_path / "broken", 93, resume=True)
    assert_same(loop, resumed(settings, tmp_path / "broken"))


def test_checkpoints_of_other_runs(run: tuple[Path, Loop, Outcome], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"

    def go_on(settings: TrainConfig) -> None:
        Loop(settings, tmp_path, ignored).resume()

    with pytest.raises(UsageError, match="cannot be read"):
        go_on(config())
    checkpoint.write_bytes((run[0] / checkpoint.name).read_bytes())
    with pytest.raises(UsageError, match="is of another model"):
        go_on(config(model="zoo:ds_cnn?input=1x8x8&classes=10&widths=12-16-17"))
    other = {"seed": 1, "training": {**SETTINGS["training"], "batch": 32}}
    with pytest.raises(UsageError, match=r"of a run with other settings: training.batch, seed \("):
        go_on(config(**other))
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match="is damaged"):
        go_on(config())
    checkpoint.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(UsageError, match="has version 2, this irprune reads 1"):
        go_on(config())
    state = read_state(run[0] / checkpoint.name)
    write_state({key: part for key, part in state.items() if key != "step"}, checkpoint)
    with pytest.raises(UsageError, match=r"is damaged: its state lacks step \(begin anew"):
        go_on(config())
    write_state({**state, "rows": [{**state["rows"][0], "stage": "none"}]}, checkpoint)
    with pytest.raises(UsageError, match="is damaged: 'none' is not a valid Stage"):
        go_on(config())
    checkpoint.write_bytes((run[0] / "weights.safetensors").read_bytes())
    with pytest.raises(UsageError, match="is no checkpoint of irprune"):
        go_on(config())


@pytest.mark.parametrize(
    ("training", "said", "steps"),
    [
        ({"epochs": 3, "batch": 64}, "the loss is nan at step 1 ", 0),
        ({"epochs": 2, "batch": 1200}, "'features.0.activation' is not finite on calibration", 0),
        ({"epochs": 3, "batch": 64, "learning_rate": 1e8}, "the loss is nan at step 2 ", 1),
    ],
)
def test_weights_that_grow_beyond_numbers(
    training: dict[str, Any], said: str, steps: int, tmp_path: Path
) -> None:
    """The checkpoint is the last of which it is known that something comes of it."""
    settings = config(
        method="none",
        budget=None,
        training={"learning_rate": 1e36, "checkpoint_every": 1, **training},
        quantization={"epochs": 1},
    )
    with pytest.raises(UsageError, match=f"{said}.*the last good checkpoint is {tmp_path}"):
        Loop(settings, tmp_path, ignored).run()
    state = read_state(tmp_path / "checkpoint.safetensors")
    assert state["step"] == steps
    assert all(tensor.isfinite().all() for tensor in state["module"].values())


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint from before stays, and is gone on from once there is room."""
    writes = 0

    def fsync(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        Loop(config(), tmp_path, ignored).run()
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    loop = Loop(config(), tmp_path, ignored)
    loop.resume()


KILLED = """
import os, signal
from irprune.cli import main
from irprune.training.stepper import Stepper

step = Stepper.step

def last(self, parts, number, total):
    loss = step(self, parts, number, total)
    if number == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss

Stepper.step = last
main()
"""


def test_a_killed_process(tmp_path: Path) -> None:
    """Killed in the midst of steps, it leaves a checkpoint from which the same model comes."""
    (tmp_path / "config.toml").write_text(CONFIG)
    whole = train(tmp_path, "whole")
    assert whole.returncode == 0, whole.stderr
    assert "int8, in TFLite-Micro" in whole.stdout
    assert whole.stderr.splitlines()[-1].startswith("step 180 of 180: quantize")
    assert (tmp_path / "whole/history.png").read_bytes().startswith(b"\x89PNG")
    number = np.random.default_rng(0).choice([n for n in range(180) if n % 20 and n % 7])
    killed = train(tmp_path, "broken", code=KILLED.format(number=number))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = read_state(tmp_path / "broken/checkpoint.safetensors")
    assert number - 7 <= state["step"] <= number
    resumed = train(tmp_path, "broken", "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads((tmp_path / "whole/summary.json").read_text())
    for name in ("weights.safetensors", "plan.json", "ranges.json", "model.tflite", "history.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def train(
    folder: Path, name: str, *options: str, code: str = "from irprune.cli import main; main()"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, "train", "config.toml", "-o", name, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
