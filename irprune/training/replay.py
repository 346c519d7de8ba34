"""A module run operator by operator, as the compiler reads it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from irprune.frontends.torch_export import Traced, trace

BATCH_NORM = "aten.batch_norm.default"
DROPOUTS = {
    "aten.dropout.default",
    "aten.feature_dropout.default",
    "aten.alpha_dropout.default",
}


class Replay(fx.Interpreter):
    """Runs what was traced of a module on the tensors that the module has now.

    Args:
        module: the module.
        traced: what was traced of it, with inputs of the shapes that ``outputs`` gets.
        tensor: what the operators get for a parameter, by its path and itself.
        made: what the operators after it get for an operator's output or an input, by its node.
        learns: whether statistics of batch normalization may change, where their module trains.
    """

    def __init__(
        self,
        module: nn.Module,
        traced: Traced,
        *,
        tensor: Callable[[str, Tensor], Tensor],
        made: Callable[[fx.Node, Any], Any],
        learns: bool,
    ) -> None:
        super().__init__(nn.Module(), graph=traced.program.graph)
        self._live = module
        self._program = traced.program
        self._tensor = tensor
        self._made = made
        self._learns = learns
        self._node: fx.Node | None = None

    def outputs(self, inputs: tuple[object, ...]) -> Tensor | tuple[Tensor, ...]:
        """The module's output, or all of them where there are several."""
        given = iter(x for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor))
        arguments: list[object] = []
        for node in self._program.graph.find_nodes(op="placeholder"):
            path = self._program.constants.get(node)
            if path is not None:
                arguments.append(self._tensor(path, self._held(path)))
            else:
                arguments.append(next(given) if node in self._program.inputs else None)
        results = self.run(*arguments)
        nodes = self._program.graph.output_node().args[0]
        assert isinstance(nodes, tuple | list)
        found = dict(zip(nodes, results, strict=True))
        tensors = tuple(found[node] for node in self._program.outputs)
        return tensors[0] if len(tensors) == 1 else tensors

    def run_node(self, n: fx.Node) -> Any:
        """What a node makes, as those after it get it."""
        self._node = n
        made = super().run_node(n)
        return made if n.op == "output" else self._made(n, made)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator's result; of those that training makes do something else, that."""
        if str(target) in DROPOUTS:
            args = (*args[:2], self._owner().training)
        elif str(target) == BATCH_NORM and args[3] is not None:
            args = (*args[:5], *self._statistics(), *args[7:])
        return super().call_function(target, args, kwargs)

    def _statistics(self) -> tuple[bool, float]:
        """Whether batch normalization takes the batch's statistics, and how much of them it keeps.

        What the module does besides: it counts its batches.
        """
        assert self._node is not None
        norm, momentum = self._owner(), self._node.args[6]
        assert isinstance(momentum, float)
        if not (norm.training and self._learns):
            return False, momentum
        if isinstance(norm, _BatchNorm) and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                momentum = 1 / int(norm.num_batches_tracked)
        return True, momentum

    def _owner(self) -> nn.Module:
        """The module whose code has called the operator that is run."""
        assert self._node is not None
        stack = list(self._node.meta.get("nn_module_stack", {}).values())
        return self._live.get_submodule(stack[-1][0]) if stack else self._live

    def _held(self, path: str) -> Tensor:
        """The tensor that the module has there now; a literal of its code is as it was."""
        owner, _, name = path.rpartition(".")
        try:
            found = getattr(self._live.get_submodule(owner), name)
        except AttributeError:
            found = self._program.tensors[path]
        assert isinstance(found, Tensor)
        return found


def trace_without_hooks(module: nn.Module, inputs: tuple[object, ...]) -> Traced:
    """What is traced of a module's own code, without its hooks and in its own precision."""
    held = {name: vars(module)[name] for name in ("_forward_pre_hooks", "_forward_hooks")}
    vars(module).update({name: OrderedDict() for name in held})
    device = next((p.device.type for p in module.parameters()), "cpu")
    try:
        with torch.autocast(device, enabled=False):
            return trace(module, inputs)
    finally:
        vars(module).update(held)


def first_nodes(traced: Traced) -> Mapping[str, fx.Node]:
    """Of each value of the graph the node that makes it first, by the value's name."""
    found: dict[str, fx.Node] = {}
    for node, value in traced.values.items():
        found.setdefault(value.name, node)
    return found


def shapes_of(inputs: tuple[object, ...]) -> tuple[tuple[torch.Size, torch.dtype], ...]:
    """The shapes and element types of the tensors among the inputs."""
    leaves = pytree.tree_leaves(inputs)
    return tuple((x.shape, x.dtype) for x in leaves if isinstance(x, Tensor))
