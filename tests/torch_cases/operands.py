"""What the cases of torch's operators are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
aten = torch.ops.aten
IMAGE: Shape = (2, 4, 6, 8)
SIGNAL: Shape = (2, 4, 9)
MATRIX: Shape = (3, 5)
Cases = dict[str, tuple[nn.Module | Callable[..., object], tuple[Shape, ...]]]
"""A model, or a function as one, and the shapes of its inputs."""


def weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


# Constants of a model that are neither parameters nor buffers.
ROW, VECTOR, PAIR, SQUARE = weights(8), weights(5), weights(2), weights(3, 3)
COLUMN = weights(4, 1, 1)
WIDE, TALL, STACK, IMAGE_PART = weights(4, 3), weights(5, 2), weights(2, 4, 5), weights(2, 1, 6, 8)
THREE_ROWS = weights(3, 5)
COLUMNS, BLOCK = (torch.tensor(indices) for indices in ([5, 5, 0], [[0, 1], [2, 3]]))
LINES, PLACES, ORDER = (torch.tensor(indices) for indices in ([[1], [0]], [2, 3, -1], [2, 0]))
