"""Plans carried out on torch modules: the same classes with smaller parameters."""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from irprune.backends.reference import run
from irprune.frontends.torch_export import Traced, foreign_code
from irprune.ir.channels import Kept
from irprune.ir.errors import InvalidModel, UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.passes.rewrite.apply_widths import apply_widths, kept_channels
from irprune.training.masks import gone_of
from irprune.training.replay import trace_without_hooks
from irprune.training.sizes import complete, set_sizes

M = TypeVar("M", bound=nn.Module)
Opt = TypeVar("Opt", bound=torch.optim.Optimizer)

TOLERANCE = 1e-4
"""How far a smaller module may be from its graph, over the largest output: both round."""

Slices = tuple[torch.Tensor, ...]
"""Of each axis of a tensor, the indices that stay."""


def apply_to_module(module: M, plan: Plan, example_inputs: tuple[object, ...]) -> M:
    """A module of the same structure without the channels and weights that a plan leaves out.

    It can be trained on, exported and saved like the one it was made from, which stays as it is.
    Weights that a mask leaves out are zero in it, until it is trained on.

    Args:
        module: the module.
        plan: made from ``irprune.load(module, example_inputs)``.
        example_inputs: the arguments of its ``forward``, as they were then.

    Raises:
        InvalidPlan: the plan is for another graph, or cannot be carried out (``apply_widths``).
        UsageError: the module's class cannot have such sizes: it computes weights from parameters,
            ties sizes that the graph does not, or has sizes written into its ``forward``.
    """
    traced = trace_without_hooks(module, example_inputs)
    masked, slices = apply_sparsity(traced.graph, plan), _slices_of(traced, plan)
    where = type(module).__name__
    with _usage(where, "cannot be copied"):
        smaller = copy.deepcopy(module)
    _make_zero(smaller, gone_of(traced, plan.masks))
    _cut(smaller, slices)
    _expect_same(smaller, apply_widths(masked, plan), example_inputs)
    _expect_to_train(smaller, module, example_inputs)
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
            shape; or ``smaller`` is not what the plan makes of the module.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UsageError("LBFGS has one state for all parameters", hint="start another")
    slices = kept_slices(module, plan, example_inputs)
    names = {id(p): name for name, p in module.named_parameters(remove_duplicate=False)}
    after = dict(smaller.named_parameters(remove_duplicate=False))
    for path in names.values():
        if path not in after or after[path].shape != tuple(map(len, slices[path])):
            raise UsageError(f"the smaller module's '{path}' is not what the plan makes of it")
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
    return _slices_of(trace_without_hooks(module, example_inputs), plan)


def _slices_of(traced: Traced, plan: Plan) -> Mapping[str, Slices]:
    """Of each tensor of a module, by its path, which indices of each axis stay."""
    kept = kept_channels(traced.graph, plan)
    gone, stays = (torch.zeros(traced.size, dtype=torch.bool) for _ in range(2))
    for value in traced.graph.constants:
        mask = _mask(kept[value])
        if value in traced.elements:
            elements = traced.elements[value]
            gone[elements[~mask]] = True
            stays[elements[mask]] = True
        elif not mask.all():
            raise UsageError(
                f"'{value.name}' is computed from parameters, or no parameter, and cannot be cut",
                hint="let the layers that read it keep all channels",
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


def _make_zero(module: nn.Module, gone: Mapping[str, torch.Tensor]) -> None:
    """Let elements of tensors be zero."""
    tensors: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors |= dict(module.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for path, elements in gone.items():
            tensors[path].masked_fill_(elements.to(tensors[path].device), 0)


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


def _expect_same(module: nn.Module, graph: Graph, example_inputs: tuple[object, ...]) -> None:
    """Raise UsageError unless a module computes what a graph does."""
    where = type(module).__name__
    probe = copy.deepcopy(module).eval()
    with _usage(where, "cannot have these sizes"), torch.no_grad():
        found = list(_tensors(probe(*copy.deepcopy(example_inputs))))
    wanted = run(graph, [x.detach().cpu().numpy() for x in _tensors(example_inputs)])
    for tensor, array in zip(found, wanted, strict=True):
        if not np.isfinite(array).all():
            raise UsageError("its outputs are not finite", where=where, hint="look at its weights")
        atol = TOLERANCE * np.abs(array).max(initial=0.01)
        if tensor.shape != array.shape or not np.allclose(tensor.cpu(), array, 0, atol):
            raise UsageError(
                "computes something else with these sizes",
                where=where,
                hint="its code depends on them, as the scale of attention does",
            )


def _expect_to_train(
    module: nn.Module, whole: nn.Module, example_inputs: tuple[object, ...]
) -> None:
    """Raise UsageError where what only training runs does not take the new sizes."""
    where = type(module).__name__
    try:
        with _usage(where, "cannot be trained with these sizes"), torch.no_grad():
            copy.deepcopy(module).train()(*copy.deepcopy(example_inputs))
    except UsageError:
        if _trains(whole, example_inputs):
            raise


def _trains(module: nn.Module, example_inputs: tuple[object, ...]) -> bool:
    """Whether a module runs in training; a batch of one may be too small for it."""
    try:
        with foreign_code("training fails"), torch.no_grad():
            copy.deepcopy(module).train()(*copy.deepcopy(example_inputs))
    except InvalidModel:
        return False
    return True


@contextlib.contextmanager
def _usage(where: str, what: str) -> Iterator[None]:
    """Say of any failure of a person's module that it cannot be used so."""
    try:
        with foreign_code(what):
            yield
    except InvalidModel as error:
        hint = "take sizes from tensors in its forward"
        raise UsageError(error.what, where=where, hint=hint) from error


def _tensors(nested: object) -> Iterator[torch.Tensor]:
    """The tensors of arguments or results, in torch's order."""
    match nested:
        case torch.Tensor():
            yield nested
        case Mapping():
            for part in nested.values():
                yield from _tensors(part)
        case list() | tuple():
            for part in nested:
                yield from _tensors(part)
