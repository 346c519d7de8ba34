"""Which weights of layers a plan of channels leaves, and how large the layers are by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irprune.frontends.torch_export import Traced
from irprune.ir.plan import Plan
from irprune.passes.analysis.deployment import weights
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
    found = weights(traced.graph)
    stays: list[Tensor | None] = [None] * len(layers)
    total = sum(value.type.elements for value in found)
    if plan is not None and plan.kept:
        kept = kept_channels(traced.graph, plan)
        axes = {v: kept.get(v) or tuple(np.ones(n, bool) for n in v.type.shape) for v in found}
        total = sum(int(np.prod([axis.sum() for axis in of])) for of in axes.values())
        live = torch.zeros(traced.size, dtype=torch.bool)
        for value, of in axes.items():
            if value in traced.elements:
                live[traced.elements[value][np.ix_(*of)]] = True
        stays = [live[traced.tensors[layer.path]].to(layer.weights.device) for layer in layers]
    like = layers[0].weights
    like = like.to(torch.promote_types(like.dtype, torch.float32))
    counts = [
        layer.weights.numel() if of_layer is None else int(of_layer.sum())
        for layer, of_layer in zip(layers, stays, strict=True)
    ]
    macs = [layer.macs * n / layer.weights.numel() for layer, n in zip(layers, counts, strict=True)]
    sizes = LayerSizes(
        tuple(layer.path for layer in layers),
        like.new_tensor(counts),
        like.new_tensor(macs),
        total - sum(counts),
    )
    return LiveWeights(sizes, tuple(stays))
