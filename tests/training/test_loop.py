"""A whole training run: within its budget, the same after a kill, and what it says of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from irprune.budget import Budget
from irprune.frontends.tflite import read_tflite_file
from irprune.ir.errors import IrpruneError
from irprune.training.history import Row, Stage
from irprune.training.loop import Loop
from irprune.training.outcome import Outcome
from tests.processes import ROOT
from tests.tflm import tflm
from tests.training_runs import BUDGET, CONFIG, config, ignored, trained


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
    assert outcome.quantized_accuracy == outcome.quantized_accuracy_of_samples
    assert abs(outcome.int8_accuracy - (outcome.quantized_accuracy or 0)) <= 0.002
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


def test_models_and_data_of_ones_own(own: str, tmp_path: Path) -> None:
    settings = config(
        model=f"{own}:model",
        data={"source": f"{own}:data"},
        training={"epochs": 3, "batch": 16},
        quantization={"epochs": 1, "start": 0},
        pruning={"every": 1, "rate": 4.0},
        budget="macs=1k",
    )
    loop, outcome = trained(tmp_path / "out", settings)
    assert loop.plan is not None
    assert loop.plan.kept
    assert outcome.usage.macs <= 1000
    assert outcome.samples == 8


@pytest.mark.parametrize(("start", "first"), [(3, 3), (None, 2)])
def test_numbers_are_rounded_from_the_step_that_is_given(
    start: int | None, first: int, own: str, tmp_path: Path
) -> None:
    """Of the steps on integers, seven in all, of which the last two find ranges that stay."""
    settings = config(
        model=f"{own}:model",
        data={"source": f"{own}:data"},
        training={"epochs": 2, "batch": 8, "accumulate": 2},
        quantization={"epochs": 1, "start": start},
        method="none",
        budget=None,
    )
    rounded: list[bool] = []

    def watch(step: int, total: int, row: Row | None) -> None:
        if loop.quantizer is not None:
            x = loop.example_inputs[0]
            found = loop.quantizer.eval()(x)
            rounded.append(not torch.equal(found, loop.module.eval()(x)))

    loop = Loop(settings, tmp_path, watch)
    loop.run()
    assert rounded == [step >= first for step in range(1, 8)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "macs=10"}, "macs can fall to"),
        ({"budget": "flash=2KB"}, "flash can fall to [0-9,]+ at the least, not to 2,000"),
        *(
            ({"method": method, "budget": "flash=2KB"}, "flash can fall to [0-9,]+ .* not to 2,000")
            for method in ("uniform", "one-shot")
        ),
        (
            {"model": "{own}:four_images"},
            "the example inputs are of 4x1x8x8, no batch of one sample",
        ),
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
            {"quantization": {"epochs": 2, "start": 30}},
            "quantization.start is 30, and ranges stay after 30 steps",
        ),
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
                "quantization": {"epochs": 1},
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
    with pytest.raises(IrpruneError, match=said) as raised:
        Loop(config(**placed), tmp_path, ignored).run()
    is_late = "the last good checkpoint" in str(raised.value)
    assert is_late == (tmp_path / "checkpoint.safetensors").exists()


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
