"""Tensors that a module computes with in place of its parameters, in forward passes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterPlace:
    """Where a module has a parameter.

    Attributes:
        owner: the part of it that has the parameter.
        name: the parameter's name there.
    """

    owner: nn.Module
    name: str

    @staticmethod
    def of(module: nn.Module, path: str) -> ParameterPlace:
        """The place that a path leads to."""
        prefix, _, name = path.rpartition(".")
        return ParameterPlace(module.get_submodule(prefix), name)

    @property
    def parameter(self) -> nn.Parameter | None:
        """What is there outside forward passes; None where it is no parameter."""
        return self.owner._parameters.get(self.name)

    @property
    def tensor(self) -> Tensor:
        """What is there now."""
        tensors: dict[str, Any] = self.owner._parameters
        found: Tensor = tensors[self.name]
        return found

    def put(self, tensor: Tensor) -> None:
        """Let the owner compute with a tensor under the name, its place in order kept."""
        tensors: dict[str, Any] = self.owner._parameters
        tensors[self.name] = tensor
        if isinstance(self.owner, nn.RNNBase):
            names = self.owner._flat_weights_names
            self.owner._flat_weights = [tensors[name] for name in names]


class Substitution:
    """Puts tensors in the places of parameters before each forward pass, and these back after it.

    Several of one module nest: each gets what those before it have put, and the last to put is the
    first to put back. A copy of the module computes with its own parameters, and so does a part
    that is called by itself: one that is checkpointed (``torch.utils.checkpoint``) is computed with
    others in the backward pass. Checkpoint the whole module, as one, or nothing.

    Args:
        module: the module; what it is called with does not matter.
        substitutes: called before each pass, the tensors and where they go.
        first: whether to come before all others, and not after them.
    """

    def __init__(
        self,
        module: nn.Module,
        substitutes: Callable[[], Iterable[tuple[ParameterPlace, Tensor]]],
        *,
        first: bool = False,
    ) -> None:
        self._substitutes = substitutes
        self._held: list[tuple[ParameterPlace, Tensor]] = []
        self._handles = [
            module.register_forward_pre_hook(self._put, prepend=first),
            module.register_forward_hook(self._put_back, prepend=not first, always_call=True),
        ]

    def remove(self) -> None:
        """Leave the module as it was."""
        for handle in self._handles:
            handle.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Substitution:
        return Substitution(nn.Module(), tuple)

    def _put(self, module: nn.Module, inputs: Any) -> None:
        for place, tensor in self._substitutes():
            self._held.append((place, place.tensor))
            place.put(tensor)

    def _put_back(self, module: nn.Module, inputs: Any, output: Any) -> None:
        while self._held:
            place, tensor = self._held.pop()
            place.put(tensor)


def substitutions(module: nn.Module) -> list[Substitution]:
    """All of those of a module, in the order in which they come."""
    owners = (getattr(hook, "__self__", None) for hook in module._forward_pre_hooks.values())
    return [owner for owner in owners if isinstance(owner, Substitution)]
