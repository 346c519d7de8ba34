"""What the compiler folds into weights, as a module in training has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from irprune.frontends.torch_export import Traced
from irprune.frontends.torch_export.nodes import examples
from irprune.training.replay import BATCH_NORM

LAYERS = {"aten.conv1d.default": 1, "aten.conv2d.default": 1, "aten.linear.default": -1}
"""Of operators with weights the axis of what they make along which their outputs are."""
SMALLEST = 1e-12
"""What is smaller counts as that, as weights are divided by it."""


@dataclass(frozen=True)
class Folded:
    """Batch normalization that goes into the weights beside it.

    Attributes:
        layer: the name of the layer's node.
        gamma: the path of its factors; None where they are 1.
        beta: that of what it adds; None where that is 0.
        mean: that of its means.
        variance: that of its variances.
        epsilon: what is added to these.
        groups: how many groups the layer has.
        is_before: whether it scales what the layer reads, or what it makes.
    """

    layer: str
    gamma: str | None
    beta: str | None
    mean: str
    variance: str
    epsilon: float
    groups: int
    is_before: bool

    def factors(self, tensor: Callable[[str], Tensor], weights: Tensor) -> Tensor:
        """What the weights are multiplied by, to be broadcast over them.

        Args:
            tensor: gives the module's tensors, by their paths.
            weights: (outputs, inputs of a group, ...).
        """
        scale = self._scale(tensor)
        if self.is_before:
            return self._by_input(scale, weights)
        return scale.reshape([-1, 1, *[1] * (weights.ndim - 2)])

    def left_out(self, tensor: Callable[[str], Tensor], weights: Tensor, rounded: Tensor) -> Tensor:
        """(outputs,), what the layer makes of what is added before it, but for rounded weights.

        The compiler folds it into the bias before weights are rounded.

        Args:
            tensor: gives the module's tensors, by their paths.
            weights: (outputs, inputs of a group, ...).
            rounded: the same as they are stored.
        """
        shift = -tensor(self.mean) * self._scale(tensor)
        if self.beta is not None:
            shift = shift + tensor(self.beta).detach()
        return ((weights - rounded).detach() * self._by_input(shift, weights)).flatten(1).sum(1)

    def _scale(self, tensor: Callable[[str], Tensor]) -> Tensor:
        scale = (tensor(self.variance).detach() + self.epsilon).rsqrt()
        return scale if self.gamma is None else scale * tensor(self.gamma).detach()

    def _by_input(self, each: Tensor, weights: Tensor) -> Tensor:
        """What belongs to each input, to be broadcast over the weights that read it."""
        rows = each.reshape(self.groups, -1).repeat_interleave(len(weights) // self.groups, 0)
        return rows.reshape([*rows.shape, *[1] * (weights.ndim - 2)])


def folded(traced: Traced, activations: Collection[str]) -> Mapping[str, Sequence[Folded]]:
    """Of each layer's weights, by their path, what is folded into them.

    Args:
        traced: the module.
        activations: the names of the values that the compiled model computes; what it computes of
            a normalization is not folded.
    """
    found: dict[str, list[Folded]] = {}
    for norm in traced.program.graph.nodes:
        if str(norm.target) != BATCH_NORM or norm.args[4] is None:
            continue
        before, users = norm.args[0], list(norm.users)
        if _is_layer(before) and len(before.users) == 1 and _is_along(before):
            _enter(traced, found, norm, before, is_before=False)
        elif len(users) == 1 and _is_layer(users[0]) and _is_gone(traced, norm, activations):
            _enter(traced, found, norm, users[0], is_before=True)
    return found


def effective(weights: Tensor, parts: Sequence[Folded], tensor: Callable[[str], Tensor]) -> Tensor:
    """What weights are multiplied by once all is folded into them; of no gradient."""
    product = torch.ones_like(weights[:1, :1] if weights.ndim > 1 else weights)
    for part in parts:
        product = product * part.factors(tensor, weights)
    return torch.where(product.abs() < SMALLEST, SMALLEST, product)


def _is_layer(node: object) -> bool:
    return isinstance(node, fx.Node) and str(node.target) in LAYERS


def _is_along(layer: fx.Node) -> bool:
    """Whether normalization of a layer's output, which is along axis 1, is along its outputs."""
    (made,) = examples(layer)
    return LAYERS[str(layer.target)] % made.ndim == 1


def _is_gone(traced: Traced, norm: fx.Node, activations: Collection[str]) -> bool:
    """Whether the compiled model does not compute a normalization."""
    return norm in traced.values and traced.values[norm].name not in activations


def _enter(
    traced: Traced,
    found: dict[str, list[Folded]],
    norm: fx.Node,
    layer: fx.Node,
    *,
    is_before: bool,
) -> None:
    paths = traced.program.constants
    gamma, beta, mean, variance = norm.args[1:5]
    weight = layer.args[1]
    assert isinstance(weight, fx.Node)
    assert isinstance(mean, fx.Node)
    assert isinstance(variance, fx.Node)
    if weight not in paths:  # computed from parameters, which is refused elsewhere
        return
    groups = layer.args[6] if len(layer.args) > 6 else 1
    assert isinstance(groups, int)
    part = Folded(
        layer.name,
        paths[gamma] if isinstance(gamma, fx.Node) else None,
        paths[beta] if isinstance(beta, fx.Node) else None,
        paths[mean],
        paths[variance],
        float(str(norm.args[7])),
        groups,
        is_before,
    )
    found.setdefault(paths[weight], []).append(part)
