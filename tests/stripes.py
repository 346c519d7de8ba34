"""Images that small networks can learn to tell apart in seconds."""

from __future__ import annotations

import torch
from torch import Tensor


def batches(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Images of three classes: stripes along either side, or none, under noise."""
    generator = torch.Generator().manual_seed(seed)
    wave = torch.tensor([1.0, -1.0] * 4)
    kinds = torch.stack([wave[:, None].expand(8, 8), wave[None].expand(8, 8), torch.zeros(8, 8)])
    found = []
    for _ in range(count):
        y = torch.randint(0, 3, (16,), generator=generator)
        noise = 0.5 * torch.randn(16, 1, 8, 8, generator=generator)
        found.append((kinds[y][:, None] + noise, y))
    return found
