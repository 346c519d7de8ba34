"""What processes that train one model together have to agree on."""

from __future__ import annotations

from torch import Tensor, distributed


def mean_of_ranks(tensor: Tensor) -> Tensor:
    """The mean over all processes that train one model, the same in each."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    on_gpu = distributed.get_backend() == distributed.Backend.NCCL  # which takes nothing else
    total = tensor.to("cuda" if on_gpu else tensor.device, copy=True)
    distributed.all_reduce(total)
    return (total / distributed.get_world_size()).to(tensor.device)
