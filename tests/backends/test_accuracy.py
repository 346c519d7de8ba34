"""What int8 costs in accuracy, on networks trained here, in TFLite-Micro."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import irprune
from irprune import zoo
from irprune.backends.compile import Compiled, compile_tflite
from irprune.ir.ops import Quantize
from irprune.ir.types import Array
from irprune.training.fake_quantizer import FakeQuantizer
from tests.tflite_files import Micro

LOST = 0.005
"""The share of the test images that may be lost."""

EPOCHS = 3
BATCH = 64


def images(shared: Path, part: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some of MNIST, from 0 to 1."""
    with np.load(shared / f"data/mnist_{part}.npz") as data:
        pixels, labels = data["images"][:count], data["labels"][:count]
    return torch.from_numpy(pixels[:, None] / np.float32(255)), torch.from_numpy(labels).long()


def small_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, 10)),
    )


def ds_cnn() -> nn.Module:
    """The zoo's, small, for images of digits."""
    module, _ = zoo.build("ds_cnn", input=(1, 28, 28), classes=10, widths=(32, 32, 32))
    return module


def trained(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Three epochs whose rate falls to nothing: where it ends at its height, chance decides."""
    optimizer = torch.optim.Adam(module.parameters())
    steps = EPOCHS * math.ceil(len(x) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    module.train()
    generator = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            loss = F.cross_entropy(module(x[batch]), y[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return module.eval()


@pytest.mark.parametrize("build", [small_cnn, ds_cnn])
def test_int8_loses_little(shared: Path, build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    x, y = images(shared, "train", 12_000)
    module = trained(build(), x, y)
    seen, labels = images(shared, "test", 2_000)
    with torch.no_grad():
        right = float((module(seen).argmax(1) == labels).float().mean())
    graph = irprune.load(module, (seen[:1],))
    compiled = compile_tflite(graph, [[sample[None].numpy()] for sample in x[:64]])
    assert right > 0.95
    assert right_in_int8(compiled, seen, labels) >= right - LOST


def right_in_int8(compiled: Compiled, seen: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images that the runtime tells right."""
    (port,) = compiled.model.graph.inputs
    assert port.type.quant is not None
    stored: Array = Quantize(port.type.dtype, port.type.quant, "away").evaluate((seen.numpy(),))[0]
    micro = Micro(compiled.data)
    found = [micro(image.reshape(port.type.shape))[0].argmax() for image in stored]
    return float(np.mean(np.array(found) == labels.numpy()))


def test_fake_quantization_has_the_accuracy_of_the_runtime(shared: Path) -> None:
    torch.manual_seed(0)
    x, y = images(shared, "train", 12_000)
    seen, labels = images(shared, "test", 8_000)
    quantizer = FakeQuantizer(small_cnn(), (x[:1],), start=100)
    trained(quantizer, x, y)
    with torch.no_grad():
        right = float((quantizer(seen).argmax(1) == labels).float().mean())
    graph = irprune.load(quantizer.module, (x[:1],))
    compiled = compile_tflite(graph, ranges=quantizer.ranges())
    assert right > 0.95
    assert abs(right_in_int8(compiled, seen, labels) - right) <= 0.002
