"""Where the axes of a graph's constants are in a module's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from irprune.frontends.torch_export import Traced
from irprune.ir.errors import UsageError
from irprune.ir.graph import Value


class Owners:
    """Of which tensor of a module each element is; tensors that are tied are one."""

    def __init__(self, traced: Traced) -> None:
        self._owner = torch.full((traced.size,), -1)
        self._paths: list[list[str]] = []
        for path, numbers in traced.tensors.items():
            owner = int(self._owner[numbers.flatten()[0]])
            if owner >= 0 and torch.equal(traced.tensors[self._paths[owner][0]], numbers):
                self._paths[owner].append(path)
                continue
            own = self._owner[numbers]
            self._owner[numbers] = torch.where(own < 0, len(self._paths), own)
            self._paths.append([path])

    def of(self, numbers: Tensor) -> Iterator[tuple[Sequence[str], int]]:
        """The tensors that elements are of: the paths of each, and how many of them it has."""
        for owner, count in enumerate(self._owner[numbers].flatten().bincount().tolist()):
            if count:
                yield self._paths[owner], count

    def tied(self, path: str) -> Sequence[str]:
        """All paths of a tensor."""
        return next(paths for paths in self._paths if path in paths)


class Parameters:
    """Finds the axes of parameters that are axes of a graph's constants."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._owners = Owners(traced)
        self._slot = torch.empty(traced.size, dtype=torch.int64)

    def along(
        self, value: Value, axis: int, slots: Tensor, end: int
    ) -> Iterator[tuple[str, int, Tensor]]:
        """Each parameter that a constant is made of: its path, the axis, and its indices' slots.

        Args:
            value: the constant.
            axis: an axis of it.
            slots: of each index there.
            end: the slot of what is not in the constant.
        """
        if value not in self._traced.elements:
            raise UsageError(
                f"'{value.name}' is computed from parameters, and cannot be followed to them",
                hint="remove parametrizations, such as of the norm of weights",
            )
        elements = self._traced.elements[value]
        shape = [-1 if a == axis else 1 for a in range(elements.ndim)]
        for paths, _ in self._owners.of(elements):
            numbers = self._traced.tensors[paths[0]]
            self._slot[numbers] = end
            self._slot[elements] = slots.reshape(shape).expand(elements.shape)
            found = self._slot[numbers]
            along = next((k for k in range(found.ndim) if _depends_on(found, k)), None)
            if along is None:
                raise UsageError(f"channels lie across the axes of parameter '{paths[0]}'")
            positions = found.movedim(along, 0).reshape(found.shape[along], -1)[:, 0].clone()
            yield from ((path, along, positions) for path in paths)


def _depends_on(found: Tensor, axis: int) -> bool:
    """Whether elements differ along an axis alone."""
    rows = found.movedim(axis, 0).reshape(found.shape[axis], -1)
    return bool((rows == rows[:, :1]).all())
