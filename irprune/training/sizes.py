"""The sizes that torch's modules keep beside their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from irprune.ir.errors import UsageError

Slices = tuple[torch.Tensor, ...]
"""Of each axis of a tensor, the indices that stay."""


def complete(module: nn.Module, slices: Mapping[str, Slices]) -> Mapping[str, Slices]:
    """The slices of a module's own tensors, with what a graph leaves out.

    Biases of recurrent layers that are zero are in no graph; they follow the weights.
    """
    if not isinstance(module, nn.RNNBase):
        return slices
    return {
        name: (slices[name.replace("bias_ih", "weight_hh").replace("bias_hh", "weight_hh")][0],)
        if name.startswith("bias")
        else own
        for name, own in slices.items()
    }


def set_sizes(path: str, module: nn.Module) -> None:
    """Let a module's attributes say the sizes of its parameters.

    Raises:
        UsageError: no module of this class has such sizes.
    """
    for kind, update in _UPDATES.items():
        if isinstance(module, kind):
            try:
                update(module)
            except UsageError as error:
                raise error.at(f"{path}: {type(module).__name__}") from None


def _convolution(module: Any) -> None:
    """Each channel of a depthwise convolution is a group; other groups only get smaller."""
    made, read = module.weight.shape[:2]
    per_group = module.in_channels // module.groups
    if module.transposed:
        made, read = read, made
        groups = read if per_group == 1 and module.groups > 1 else module.groups
        module.in_channels, module.out_channels = read, made * groups
    else:
        filters = module.out_channels // module.groups
        groups = made // filters if per_group == 1 and module.groups > 1 else module.groups
        module.in_channels, module.out_channels = read * groups, made
    module.groups = groups


def _linear(module: Any) -> None:
    module.out_features, module.in_features = module.weight.shape


def _norm(module: Any) -> None:
    known = [t for t in (module.running_mean, module.weight) if t is not None]
    if known:
        module.num_features = len(known[0])


def _group_norm(module: Any) -> None:
    """Groups go whole: what is left has as many channels in each."""
    if module.weight is not None:
        in_each = module.num_channels // module.num_groups
        module.num_channels = len(module.weight)
        module.num_groups = module.num_channels // in_each


def _layer_norm(module: Any) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def _prelu(module: Any) -> None:
    module.num_parameters = len(module.weight)


def _embedding(module: Any) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _recurrent(module: Any) -> None:
    sizes = {p.shape[1] for name, p in module.named_parameters() if "weight_hh" in name}
    if len(sizes) > 1:
        widths = ", ".join(map(str, sorted(sizes)))
        raise UsageError(
            f"its layers would have {widths} hidden units, and it has one size for all",
            hint="keep as many of each",
        )
    (module.hidden_size,) = sizes
    module.input_size = module.weight_ih_l0.shape[1]


def _attention(module: Any) -> None:
    """Its width, heads and parts of the projection are bound to each other."""
    weights = [module.in_proj_weight] if module.in_proj_weight is not None else []
    weights += [
        w
        for w in (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        if w is not None
    ]
    rows = sum(len(weight) for weight in weights)
    if rows != 3 * module.embed_dim or weights[0].shape[1] != module.embed_dim:
        raise UsageError("has one width for its inputs and its heads", hint="ignore it")


_UPDATES: Mapping[type[nn.Module], Callable[[Any], None]] = {
    _ConvNd: _convolution,
    nn.Linear: _linear,
    _NormBase: _norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    nn.Embedding: _embedding,
    nn.RNNBase: _recurrent,
    nn.MultiheadAttention: _attention,
}
