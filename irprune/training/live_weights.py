"""Which weights of layers a plan of channels leaves, and how large the layers are by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irprune.frontends.torch_export import Traced
from irprune.ir.graph import Value
from irprune.ir.plan import Plan
from irprune.ir.types import Array
from irprune.passes.one_shot_sparsity import prunable
from irprune.passes.rewrite.apply_widths import kept_channels
from irprune.training.sparse_layers import SparseLayer
from irprune.training.sparsity_terms import LayerSizes


@dataclass(frozen=True)
class LiveWeights:
    """The weights of layers that are still there.

    Attributes:
        sizes: of the layers, by these weights alone.
        stays: of each layer, which weights they are; None where it is whole.
    """

    sizes: LayerSizes
    stays: tuple[Tensor | None, ...]

    def of(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Of tensors like the layers' weights, what is still there."""
        pairs = zip(tensors, self.stays, strict=True)
        return [tensor if stays is None else tensor[stays] for tensor, stays in pairs]

    def densities(self, gone: Sequence[Tensor]) -> Tensor:
        """(layers,), the share of these weights that is not among those that are gone."""
        return 1 - torch.stack([of_layer.sum() for of_layer in self.of(gone)]) / self.sizes.elements


def live_weights(
    traced: Traced, layers: Sequence[SparseLayer], plan: Plan | None = None
) -> LiveWeights:
    """What is there of the layers of a module.

    Args:
        traced: what was traced of the module.
        layers: those that lose weights.
        plan: the channels that stay; None for all.

    Raises:
        InvalidPlan: as ``apply_widths`` does.
    """
    stays: list[Tensor | None] = [None] * len(layers)
    axes: Mapping[Value, tuple[Array, ...]] = {}
    if plan is not None and plan.kept:
        axes = kept_channels(traced.graph, plan)
    held, others = _held(traced, axes)
    if axes:
        masks = ((held > 0)[traced.tensors[layer.path]] for layer in layers)
        stays = [of.to(layer.weights.device) for of, layer in zip(masks, layers, strict=True)]
    counts, copies = [], []
    for layer, of_layer in zip(layers, stays, strict=True):
        count = layer.weights.numel() if of_layer is None else int(of_layer.sum())
        numbers = traced.tensors[layer.path]
        counts.append(count)
        copies.append(int(held[numbers].sum()) / count)
        held[numbers] = 0
    like = layers[0].weights
    like = like.to(torch.promote_types(like.dtype, torch.float32))
    macs = [layer.macs * n / layer.weights.numel() for layer, n in zip(layers, counts, strict=True)]
    sizes = LayerSizes(
        tuple(layer.path for layer in layers),
        like.new_tensor(counts),
        like.new_tensor(macs),
        like.new_tensor(copies),
        others + int(held.sum()),
    )
    return LiveWeights(sizes, tuple(stays))


def _held(traced: Traced, axes: Mapping[Value, tuple[Array, ...]]) -> tuple[Tensor, int]:
    """How many of the graph's weights each element is, and how many are of no parameter."""
    held, others = torch.zeros(traced.size, dtype=torch.int64), 0
    for value in prunable(traced.graph):
        of = axes.get(value) or tuple(np.ones(n, bool) for n in value.type.shape)
        numbers = traced.elements.get(value)
        if numbers is None:
            others += int(np.prod([axis.sum() for axis in of]))
        else:
            held[numbers[np.ix_(*of)]] += 1
    return held, others
