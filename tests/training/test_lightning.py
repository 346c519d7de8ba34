"""Widths learned in Lightning's loop, and gone on with from its checkpoints."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from irprune.budget import Budget
from irprune.training.width_pruner import WidthOptions

with warnings.catch_warnings():  # of its own, about packages
    warnings.simplefilter("ignore")
    import pytorch_lightning as lightning

    from irprune.training.lightning import WidthPruning


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(8 * 36, 3)),
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


def fitted(
    folder: Path, steps: int, checkpoint: Path | None = None
) -> tuple[Net, WidthPruning, Any]:
    torch.manual_seed(0)
    net = Net()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 1, 8, 8, generator=generator)
    y = torch.randint(0, 3, (64,), generator=generator)
    pruning = WidthPruning(
        (x[:1],),
        Budget.parse("macs=1200"),
        [(x[:16], y[:16])],
        options=WidthOptions(every=2, rate=5.0),
    )
    trainer = lightning.Trainer(
        max_steps=steps,
        callbacks=[pruning],
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, DataLoader(TensorDataset(x, y), 8), ckpt_path=checkpoint)
    return net, pruning, trainer


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)
def test_a_fit(tmp_path: Path) -> None:
    _, pruning, _ = fitted(tmp_path, 32)
    assert pruning.pruner.met
    _, first, trainer = fitted(tmp_path, 16)
    assert not first.pruner.met
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, again, _ = fitted(tmp_path, 16, tmp_path / "half.ckpt")
    assert torch.equal(again.pruner.multipliers, first.pruner.multipliers)
    assert again.pruner.plan == first.pruner.plan
    _, second, _ = fitted(tmp_path, 32, tmp_path / "half.ckpt")
    assert second.pruner.met
    small = pruning.pruner.finish()
    assert isinstance(small, Net)
    assert len(small.get_parameter("body.0.weight")) < 8
