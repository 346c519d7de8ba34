"""PyTorch modules and exported programs, read through torch.export."""

from irprune.frontends.torch_export.factory import called, made_module, read_factory
from irprune.frontends.torch_export.foreign import foreign_code
from irprune.frontends.torch_export.read import Traced, read_torch, trace

__all__ = [
    "Traced",
    "called",
    "foreign_code",
    "made_module",
    "read_factory",
    "read_torch",
    "trace",
]
