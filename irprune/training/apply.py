"""Plans carried out on torch modules: the same classes with smaller parameters."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from irprune.frontends.torch_export import foreign_code, trace
from irprune.ir.channels import Kept
from irprune.ir.errors import InvalidModel, UsageError
from irprune.ir.plan import Plan
from irprune.passes.rewrite.apply_widths import kept_channels
from irprune.training.sizes import complete, set_sizes

M = TypeVar("M", bound=nn.Module)
Opt = TypeVar("Opt", bound=torch.optim.Optimizer)

Slices = tuple[torch.Tensor, ...]
"""Of each axis of a tensor, the indices that stay."""


def apply_to_module(module: M, plan: Plan, example_inputs: tuple[object, ...]) -> M:
    """A module of the same structure without the channels that a plan leaves out.

    It can be trained on, exported and saved like the one it was made from, which stays as it is.

    Args:
        module: the module.
        plan: made from ``irprune.load(module, example_inputs)``.
        example_inputs: the arguments of its ``forward``, as they were then.

    Raises:
        InvalidPlan: the plan is for another graph, or cannot be carried out (``apply_widths``).
        UsageError: the module's class cannot have such sizes: it computes weights from parameters,
            ties sizes that the graph does not, or has sizes written into its ``forward``.
    """
    slices = kept_slices(module, plan, example_inputs)
    smaller = copy.deepcopy(module)
    _cut(smaller, slices)
    _expect_to_run(smaller, example_inputs)
    return smaller


def apply_to_optimizer(
    optimizer: Opt, module: M, smaller: M, plan: Plan, example_inputs: tuple[object, ...]
) -> Opt:
    """An optimizer of the same class for the smaller module, with what state belongs to it.

    Args:
        optimizer: the optimizer of ``module``; it stays as it is.
        module: the module from before.
        smaller: what ``apply_to_module`` made of it.
        plan: the plan.
        example_inputs: the arguments of the module's ``forward``.

    Raises:
        UsageError: it has parameters of other modules, or state that is not of a parameter's
            shape.
    """
    slices = kept_slices(module, plan, example_inputs)
    names = {id(p): name for name, p in module.named_parameters(remove_duplicate=False)}
    after = dict(smaller.named_parameters(remove_duplicate=False))
    made = copy.copy(optimizer)
    made.state = defaultdict(dict)
    made.param_groups = []
    for group in optimizer.param_groups:
        parameters = []
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                raise UsageError("the optimizer has a parameter that is not the module's")
            parameters.append(after[name])
            made.state[after[name]] = {
                key: _cut_state(item, parameter, slices[name], key)
                for key, item in optimizer.state.get(parameter, {}).items()
            }
        made.param_groups.append({**group, "params": parameters})
    return made


def kept_slices(
    module: nn.Module, plan: Plan, example_inputs: tuple[object, ...]
) -> Mapping[str, Slices]:
    """Of each parameter and buffer of a module, by its path, which indices of each axis stay.

    Raises:
        InvalidPlan, UsageError: as ``apply_to_module`` does.
    """
    traced = trace(module, example_inputs)
    kept = kept_channels(traced.graph, plan)
    size = 1 + max((int(ids.max()) for ids in traced.tensors.values()), default=0)
    gone, stays = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for value in traced.graph.constants:
        mask = _mask(kept[value])
        if value in traced.elements:
            elements = traced.elements[value]
            gone[elements[~mask]] = True
            stays[elements[mask]] = True
        elif not mask.all():
            raise UsageError(
                f"'{value.name}' is computed from parameters, and cannot be cut",
                hint="ignore what it belongs to",
            )
    return {
        path: _slices(path, gone[elements], (gone & stays)[elements])
        for path, elements in traced.tensors.items()
    }


def _mask(kept: Kept) -> torch.Tensor:
    """The elements that stay, in the shape of the whole."""
    mask = torch.ones([len(axis) for axis in kept], dtype=torch.bool)
    for axis, stays in enumerate(kept):
        mask &= torch.from_numpy(stays).reshape([-1 if a == axis else 1 for a in range(len(kept))])
    return mask


def _slices(path: str, gone: torch.Tensor, torn: torch.Tensor) -> Slices:
    """The indices of each axis that stay, where what goes are whole slices."""
    slices = []
    whole = torch.ones_like(gone)
    for axis in range(gone.ndim):
        others = [a for a in range(gone.ndim) if a != axis]
        stays = ~(gone.all(others) if others else gone)
        slices.append(stays.nonzero().flatten())
        whole &= stays.reshape([-1 if a == axis else 1 for a in range(gone.ndim)])
    if torn.any() or not torch.equal(whole, ~gone):
        raise UsageError(
            f"parameter '{path}' is used in two ways that want different channels",
            hint="ignore the layers that share it",
        )
    return tuple(slices)


def _cut(module: nn.Module, slices: Mapping[str, Slices]) -> None:
    """Put smaller tensors in the place of those that lose slices; tied ones stay tied."""
    done: dict[torch.Tensor, torch.Tensor] = {}
    for prefix, part in module.named_modules():
        start = f"{prefix}." if prefix else ""
        own = {**part._parameters, **part._buffers}
        tensors = {name: t for name, t in own.items() if t is not None and start + name in slices}
        indices = complete(part, {name: slices[start + name] for name in tensors})
        smaller = {name: _sliced(t, indices[name]) for name, t in tensors.items()}
        for name, tensor in tensors.items():
            if smaller[name].shape != tensor.shape:
                setattr(part, name, done.setdefault(tensor, smaller[name]))
        set_sizes(prefix or type(module).__name__, part)


def _sliced(tensor: torch.Tensor, indices: Slices) -> torch.Tensor:
    """What stays of a tensor, of the same kind."""
    data = tensor.detach()
    for axis, index in enumerate(indices):
        if len(index) < data.shape[axis]:
            data = data.index_select(axis, index.to(data.device))
    if not isinstance(tensor, nn.Parameter):
        return data.clone()
    return nn.Parameter(data.clone(), requires_grad=tensor.requires_grad)


def _cut_state(item: Any, parameter: torch.Tensor, indices: Slices, key: str) -> Any:
    """What stays of an optimizer's state of a parameter; numbers are as they were."""
    if not isinstance(item, torch.Tensor) or item.numel() == 1:
        return copy.deepcopy(item)
    if item.shape != parameter.shape:
        raise UsageError(
            f"the optimizer's '{key}' is not of its parameter's shape", hint="start another"
        )
    return _sliced(item, indices)


def _expect_to_run(module: nn.Module, example_inputs: tuple[object, ...]) -> None:
    """Raise UsageError unless the module's code takes its new sizes."""
    was_training = module.training
    where = type(module).__name__
    try:
        with torch.no_grad(), foreign_code(f"{where}: cannot have these sizes"):
            module.eval()(*example_inputs)
    except InvalidModel as error:
        raise UsageError(
            error.what, where=where, hint="take sizes from tensors in its forward"
        ) from error
    finally:
        module.train(was_training)
