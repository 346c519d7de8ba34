"""PyTorch modules and exported programs, read through torch.export."""

from irprune.frontends.torch_export.factory import read_factory
from irprune.frontends.torch_export.read import read_torch

__all__ = ["read_factory", "read_torch"]
