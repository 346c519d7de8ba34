"""Masks of a graph's constants, and which elements of a module's parameters they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from irprune.frontends.torch_export import Traced
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Mask


def masks_of(traced: Traced, gone: Mapping[str, Tensor]) -> Mapping[str, Mask]:
    """The masks of the constants that lose elements, by their names.

    Args:
        traced: what was traced of the module.
        gone: of parameters, by their paths, the elements that go.
    """
    stays = torch.ones(traced.size, dtype=torch.bool)
    for path, elements in gone.items():
        stays[traced.tensors[path][elements.cpu()]] = False
    masks = {}
    for value, numbers in traced.elements.items():
        kept = stays[numbers]
        if not bool(kept.all()):
            masks[value.name] = Mask.of(kept.numpy())
    return masks


def gone_of(traced: Traced, masks: Mapping[str, Mask]) -> Mapping[str, Tensor]:
    """Of the parameters and buffers that lose elements, by their paths, which.

    Args:
        traced: what was traced of the module.
        masks: of constants of its graph, by their names.

    Raises:
        UsageError: a constant is computed from parameters, or a parameter is read as two constants
            that do not lose the same.
    """
    gone, stays = (torch.zeros(traced.size, dtype=torch.bool) for _ in range(2))
    for value in traced.graph.constants:
        numbers = traced.elements.get(value)
        mask = masks.get(value.name)
        kept = torch.ones(value.type.shape, dtype=torch.bool)
        if mask is not None:
            kept = torch.from_numpy(mask.stays)
        if numbers is not None:
            gone[numbers[~kept]] = True
            stays[numbers[kept]] = True
        elif not bool(kept.all()):
            raise UsageError(
                "is computed from parameters, or no parameter, and cannot be masked",
                where=value.name,
                hint="remove parametrizations, such as of the norm of weights",
            )
    for path, numbers in traced.tensors.items():
        if bool((gone & stays)[numbers].any()):
            raise UsageError(
                f"parameter '{path}' is read in two ways, and the plan masks but one",
                hint="give both the same mask",
            )
    return {path: gone[numbers] for path, numbers in traced.tensors.items() if gone[numbers].any()}


def current_graph(traced: Traced, module: nn.Module) -> Graph:
    """The graph with the weights that the module has now."""
    graph, flat = traced.graph, np.zeros(traced.size)
    tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors |= dict(module.named_buffers(remove_duplicate=False))
    for path, numbers in traced.tensors.items():
        if tensors[path].is_floating_point():
            flat[numbers.numpy()] = tensors[path].detach().double().cpu().numpy()
    constants = dict(graph.constants)
    for value, numbers in traced.elements.items():
        if value.type.dtype.is_float:
            constants[value] = flat[numbers.numpy()].astype(value.type.dtype.numpy)
    return Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, constants)
