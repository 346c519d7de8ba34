"""A whole training run: within its budget, the same after a kill, and what it says of bad input."""

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

from irprune.budget import Budget
from irprune.frontends.tflite import read_tflite_file
from irprune.ir.errors import IrpruneError, UsageError
from irprune.training.config import TrainConfig
from irprune.training.history import Row, Stage
from irprune.training.loop import Loop
from irprune.training.outcome import Outcome, write_outcome
from tests.processes import ROOT
from tests.tflm import tflm
from tests.training_runs import BUDGET, CONFIG, MODULE, SETTINGS, config, ignored


def trained(folder: Path, settings: TrainConfig) -> tuple[Loop, Outcome]:
    folder.mkdir()
    loop = Loop(settings, folder, ignored)
    loop.run()
    return loop, write_outcome(loop, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Loop, Outcome]:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, *trained(folder, config())


def test_a_run(run: tuple[Path, Loop, Outcome]) -> None:
    """The device runs a model within the budget, as good as training said."""
    folder, loop, outcome = run
    data = (folder / "model.tflite").read_bytes()
    (entry,) = read_tflite_file(folder / "model.tflite").graph.inputs
    assert entry.type.quant is not None
    right = 0
    for x, y in map(loop.data.test.__getitem__, range(len(loop.data.test))):
        stored = np.rint(x.numpy().transpose(1, 2, 0)[None] / entry.type.quant.scale[0])
        stored = np.clip(stored + entry.type.quant.zero_point[0], -128, 127).astype(np.int8)
        right += int(tflm(data, [stored]).outputs[0].argmax() == y)
    assert outcome.samples == len(loop.data.test)
    assert outcome.int8_accuracy == right / outcome.samples > 0.7
    assert abs(outcome.int8_accuracy - (outcome.quantized_accuracy or 0)) <= 0.01
    budget = Budget.parse(BUDGET)
    assert not outcome.exceeded
    assert outcome.arena is not None
    assert outcome.arena.head == outcome.usage.sram <= (budget.sram or 0)
    assert (folder / "model.tflite").stat().st_size == outcome.usage.flash <= (budget.flash or 0)
    assert outcome.usage.macs <= (budget.macs or 0)
    assert list(dict.fromkeys(row.stage for row in loop.rows)) == list(Stage)
    found = json.loads((folder / "summary.json").read_text())
    assert found["int8_accuracy"] == outcome.int8_accuracy
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + len(loop.rows)


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
    """Dropout, and noise on the data, from the middle of an epoch."""
    settings = config(
        model=f"{own}:dropping",
        data={"source": f"{own}:noisy"},
        training={"epochs": 4, "batch": 8, "checkpoint_every": 5},
        quantization={"epochs": 1, "start": 0},
        budget="macs=6k",
    )
    loop, _ = trained(tmp_path / "whole", settings)
    (tmp_path / "broken").mkdir()
    interrupted(settings, tmp_path / "broken", 12)
    assert_same(loop, resumed(settings, tmp_path / "broken"))


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


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with factories, in the current folder, under a name of its own."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def test_models_and_data_of_ones_own(own: str, tmp_path: Path) -> None:
    settings = config(
        model=f"{own}:model",
        data={"source": f"{own}:data"},
        training={"epochs": 3, "batch": 16},
        quantization={"epochs": 1, "start": 0},
        budget="macs=6k",
    )
    _, outcome = trained(tmp_path / "out", settings)
    assert outcome.usage.macs <= 6000
    assert outcome.samples == 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "macs=10"}, "macs can fall to"),
        ({"budget": "flash=2KB"}, "flash can fall to [0-9,]+ at the least, not to 2,000"),
        ({"method": "uniform", "budget": "flash=2KB"}, "not even one channel a layer"),
        ({"model": "{own}:five_classes"}, "the data have label [5-9], and the model has 5 classes"),
        ({"model": "{own}:no_layers"}, "has no channels that can be removed"),
        ({"model": "{own}:wide_images"}, "does not take the data"),
        ({"model": "{own}:images"}, r"does not give \(samples, classes\)"),
        ({"model": "{own}:data"}, "not a torch module"),
        ({"model": "zoo:nothing"}, "the zoo has no model"),
        ({"data": {"source": "{own}:one"}}, "too few to hold some out"),
        ({"data": {"source": "{own}:nothing"}}, "two datasets with lengths"),
        ({"data": {"source": "{own}:unequal"}}, "the data cannot be read"),
        ({"data": {"source": "{own}:three"}}, "no pairs of an input and a label"),
        ({"data": {"source": "{own}:reals"}}, "no pairs of an input and a label"),
        ({"data": {"source": "{own}:negative"}}, "the data have label -1"),
        ({"data": {"source": "{own}:data", "path": "/nowhere"}}, "take no data.path"),
        ({"model": "zoo:resnet8?input=1x9x8"}, "the data are of 1x8x8, and it takes 1x9x8"),
        ({"data": {"source": "imagenet"}}, "there is no data set 'imagenet'"),
        ({"data": {"source": "mnist"}}, "mnist needs data.path"),
        ({"data": {"source": "mnist", "path": "/nowhere"}}, "there is no train-images"),
        ({"data": {"source": "cifar10", "path": "/nowhere"}}, "there is neither cifar10_jpeg"),
        ({"training": {"epochs": 3, "batch": 2000}}, "there are fewer samples"),
        (
            {"training": {"epochs": 3, "batch": 9, "accumulate": 2}},
            "is not divided by 2, its parts",
        ),
        (
            {"training": {"epochs": 3, "learning_rate": 1e30}, "budget": "sram=1MB"},
            r"the loss is (nan|inf) .*the last good checkpoint is .*checkpoint.safetensors",
        ),
        (
            {
                "model": "{own}:model",
                "data": {"source": "{own}:broken"},
                "budget": "macs=6k",
                "training": {"epochs": 3, "batch": 16},
            },
            "the loss on validation batch 0 is nan",
        ),
        ({"pruning": {"rate": 1e-6}}, "the budget is not met after [0-9]+ steps of pruning"),
    ],
)
def test_what_cannot_be_trained(
    changes: dict[str, Any], said: str, own: str, tmp_path: Path
) -> None:
    placed = json.loads(json.dumps(changes).replace("{own}", own))
    with pytest.raises(IrpruneError, match=said):
        Loop(config(**placed), tmp_path, ignored).run()


def test_checkpoints_of_other_runs(run: tuple[Path, Loop, Outcome], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"

    def go_on(settings: TrainConfig) -> None:
        Loop(settings, tmp_path, ignored).resume()

    with pytest.raises(UsageError, match="cannot be read"):
        go_on(config())
    checkpoint.write_bytes((run[0] / checkpoint.name).read_bytes())
    with pytest.raises(UsageError, match="is of another model"):
        go_on(config(model="zoo:ds_cnn?input=1x8x8&classes=10&widths=12-16-17"))
    with pytest.raises(UsageError, match="is of a run with other settings: seed"):
        go_on(config(seed=1))
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match="is damaged"):
        go_on(config())
    checkpoint.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(UsageError, match="has version 2, this irprune reads 1"):
        go_on(config())
    checkpoint.write_bytes((run[0] / "weights.safetensors").read_bytes())
    with pytest.raises(UsageError, match="is no checkpoint of irprune"):
        go_on(config())


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


def test_a_killed_process(tmp_path: Path) -> None:
    """Killed at a random step, it leaves a checkpoint from which the same model comes."""
    (tmp_path / "config.toml").write_text(CONFIG)
    whole = train(tmp_path, "whole")
    assert whole.returncode == 0, whole.stderr
    assert "int8, in TFLite-Micro" in whole.stdout
    assert whole.stderr.splitlines()[-1].startswith("step 180 of 180: quantize")
    assert (tmp_path / "whole/history.png").read_bytes().startswith(b"\x89PNG")
    last = 20 * np.random.default_rng(0).integers(1, 9)
    command, environment = train_command("broken")
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"step {last} "):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    again = train(tmp_path, "broken")
    assert again.returncode == 2
    assert again.stderr == (
        "irprune: broken: holds a run already (use --resume, or another folder)\n"
    )
    resumed = train(tmp_path, "broken", "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads((tmp_path / "whole/summary.json").read_text())
    for name in ("weights.safetensors", "plan.json", "ranges.json", "model.tflite", "history.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def train_command(name: str, *options: str) -> tuple[list[str], dict[str, str]]:
    code = "from irprune.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "config.toml", "-o", name, *options]
    return command, os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def train(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command, environment = train_command(name, *options)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


RANK = """
import hashlib, pathlib, sys
from irprune.training.config import read_config
from irprune.training.loop import Loop

loop = Loop(read_config(pathlib.Path("config.toml")), pathlib.Path("."), lambda *_: None)
loop.run()
weights = b"".join(t.numpy().tobytes() for t in loop.module.state_dict().values())
print("\\n", loop.plan.dumps().replace("\\n", ""), hashlib.sha256(weights).hexdigest())
"""


def test_two_processes_learn_the_same(tmp_path: Path) -> None:
    """Weights, widths and masks; each sees a half of every batch."""
    (tmp_path / "config.toml").write_text(CONFIG.replace("epochs = 9", "epochs = 5"))
    (tmp_path / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "rank.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        launch, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = (line for line in done.stdout.splitlines() if "kept" in line)
    assert first == second
    assert '"kept": {}' not in first
