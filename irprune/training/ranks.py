"""What processes that train one model together have to agree on."""

from __future__ import annotations

from torch import Tensor, distributed


def mean_of_ranks(tensor: Tensor) -> Tensor:
    """The mean over all processes that train one model, the same in each."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(tensor)
        tensor /= distributed.get_world_size()
    return tensor
