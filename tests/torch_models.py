"""Small PyTorch models for tests, and whether a graph computes what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from irprune.backends.reference import run
from irprune.ir.graph import Graph
from irprune.ir.verify import verify

M = TypeVar("M", bound=nn.Module)


class Function(nn.Module):
    """A module that only calls a function."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> object:
        return self.function(*args)


def randomize(module: M) -> M:
    """The module with statistics and affine parameters far from their neutral initial values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2, generator=generator)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(generator=generator)
    return module


def eager(module: nn.Module, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that the module itself gives at inference, flat; its inputs are not changed."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    with torch.no_grad():
        result = module(*(x.clone() for x in inputs))
    for m, training in modes:
        m.training = training
    leaves: list[object] = torch.utils._pytree.tree_leaves(result)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def assert_computes(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """The graph is well formed and gives these outputs."""
    verify(graph)
    outputs = run(graph, [x.numpy() for x in inputs])
    assert len(outputs) == len(wanted)
    for output, expected in zip(outputs, wanted, strict=True):
        assert output.dtype == expected.numpy().dtype
        np.testing.assert_allclose(output, expected.numpy(), rtol, atol)
