"""PyTorch modules and exported programs, read through torch.export."""

from irprune.frontends.torch_export.read import read_torch

__all__ = ["read_torch"]
