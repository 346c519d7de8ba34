"""PyTorch modules and exported programs, read through torch.export."""

from irprune.frontends.torch_export.factory import read_factory
from irprune.frontends.torch_export.foreign import foreign_code
from irprune.frontends.torch_export.read import Traced, read_torch, trace

__all__ = ["Traced", "foreign_code", "read_factory", "read_torch", "trace"]
