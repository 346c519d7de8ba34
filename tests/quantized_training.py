"""Quantization-aware training of small networks, and what TFLite-Micro makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import irprune
from irprune.backends.compile import Compiled, CompileOptions, Numbers, compile_tflite
from irprune.ir.types import Array
from irprune.training.fake_quantizer import FakeQuantizer
from tests.tflite_files import Micro

IMAGE = (torch.zeros(1, 3, 8, 8),)
SEQUENCE = (torch.zeros(1, 8, 8),)


def samples(count: int, seed: int = 0, example: tuple[Tensor] = IMAGE) -> Tensor:
    """Noise of an example's shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *example[0].shape[1:], generator=generator)


def trained(
    quantizer: FakeQuantizer, steps: int = 30, example: tuple[Tensor] = IMAGE
) -> FakeQuantizer:
    """A quantizer after some steps of telling what the first channel's mean is."""
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.05)
    quantizer.train()
    for step in range(steps):
        x = samples(16, step, example)
        loss = F.cross_entropy(quantizer(x), (x[:, 0].flatten(1).mean(1) > 0).long())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return quantizer.eval()


def compiled(
    quantizer: FakeQuantizer, numbers: Numbers = Numbers.INT8, example: tuple[Tensor] = IMAGE
) -> Compiled:
    """The model on the grid that was trained for."""
    graph = irprune.load(quantizer.module, example)
    ranges = quantizer.ranges((samples(16, 0, example),))
    return compile_tflite(graph, options=CompileOptions(numbers), ranges=ranges)


def results(file: Compiled, x: Tensor) -> Array:
    """What the runtime computes, as reals."""
    (entry,), (end,) = file.model.graph.inputs, file.model.graph.outputs
    assert entry.type.quant is not None
    assert end.type.quant is not None
    least, most = entry.type.dtype.limits
    scale, zero = entry.type.quant.scale[0], entry.type.quant.zero_point[0]
    channels_last = x.ndim == 4 and entry.type.shape[-1] == x.shape[1]
    placed = x.numpy().transpose(0, 2, 3, 1) if channels_last else x.numpy()
    stored = np.clip(np.rint(placed / scale) + zero, least, most).astype(entry.type.dtype.numpy)
    micro = Micro(file.data)
    found = np.concatenate([micro(image[None])[0] for image in stored])
    return (found.astype(np.float64) - end.type.quant.zero_point[0]) * end.type.quant.scale[0]
