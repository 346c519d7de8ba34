"""The parameters of a module whose single weights can be made zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from irprune.frontends.torch_export import Traced
from irprune.ir.errors import UsageError
from irprune.ir.graph import Node
from irprune.passes.analysis.costs import node_macs
from irprune.passes.analysis.weight_coding import is_depthwise
from irprune.passes.one_shot_sparsity import DEPTHWISE, EQUAL, ZERO, prunable
from irprune.training.parameters import Owners
from irprune.training.substitution import ParameterPlace

LEFT = "left whole as asked"
FIXED = "no parameter"


@dataclass(frozen=True)
class SparseLayer:
    """The weights of a convolution, a dense layer or a cell.

    Attributes:
        path: of the parameter; the first where it is tied.
        places: where it is, all of them.
        macs: the multiply-accumulates by it.
    """

    path: str
    places: tuple[ParameterPlace, ...]
    macs: int

    @property
    def weights(self) -> Tensor:
        """The parameter, outside forward passes, without its gradient."""
        return self.places[0].tensor.detach()


@dataclass(frozen=True)
class Found:
    """The layers of a module.

    Attributes:
        sparse: those that lose weights.
        whole: the weights that stay whole, by their paths, and why.
    """

    sparse: tuple[SparseLayer, ...]
    whole: Mapping[str, str]


def sparse_layers(
    module: nn.Module, traced: Traced, leave: Sequence[str], *, depthwise: bool
) -> Found:
    """The weights of a module's convolutions, dense layers and cells.

    Args:
        module: the module.
        traced: what was traced of it.
        leave: patterns of the paths of weights that stay whole.
        depthwise: whether those of depthwise convolutions lose weights, too.

    Raises:
        UsageError: there are none; some are computed from parameters, or all of one magnitude; or
            a pattern matches none.
    """
    where = type(module).__name__
    owners = Owners(traced)
    read = torch.zeros(traced.size, dtype=torch.bool)
    readers: dict[str, tuple[Node, ...]] = {}
    macs: dict[str, float] = {}
    for value, nodes in prunable(traced.graph).items():
        numbers = traced.elements.get(value)
        if numbers is None:
            if _matches(value.name, leave):
                continue
            raise UsageError(
                f"'{value.name}' is computed from parameters, or no parameter",
                where=where,
                hint="remove parametrizations, such as of the norm of weights, or leave it whole",
            )
        read[numbers] = True
        total = sum(node_macs(node) for node in nodes)
        for (path, *_), count in owners.of(numbers):
            readers[path] = (*readers.get(path, ()), *nodes)
            macs[path] = macs.get(path, 0) + total * count / numbers.numel()
    sparse, whole = [], {}
    for path, nodes in readers.items():
        place = ParameterPlace.of(module, path)
        reason = _reason(place, path, nodes, leave, depthwise=depthwise)
        if reason:
            whole[path] = reason
            continue
        places = (ParameterPlace.of(module, name) for name in owners.tied(path))
        sparse.append(SparseLayer(path, tuple(places), round(macs[path])))
    _expect_patterns(leave, [*readers, *(v.name for v in prunable(traced.graph))])
    if not sparse:
        raise UsageError(
            "has no weights of convolutions or dense layers to make sparse", where=where
        )
    for layer in sparse:
        if not bool(read[traced.tensors[layer.path]].all()):
            raise UsageError(
                "is read as weights in part alone", where=layer.path, hint="leave it whole"
            )
        _expect_magnitudes(layer)
    return Found(tuple(sparse), whole)


def _reason(
    place: ParameterPlace,
    path: str,
    nodes: tuple[Node, ...],
    leave: Sequence[str],
    *,
    depthwise: bool,
) -> str:
    """Why weights stay whole; empty where they do not."""
    if _matches(path, leave):
        return LEFT
    if place.parameter is None:
        return FIXED
    return DEPTHWISE if not depthwise and any(map(is_depthwise, nodes)) else ""


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _expect_patterns(leave: Sequence[str], paths: Sequence[str]) -> None:
    for pattern in leave:
        if not any(_matches(path, [pattern]) for path in paths):
            raise UsageError(
                f"no weights match '{pattern}'", hint=f"there are {', '.join(dict.fromkeys(paths))}"
            )


def _expect_magnitudes(layer: SparseLayer) -> None:
    """Raise UsageError where no threshold parts the weights of a layer."""
    least, most = torch.aminmax(layer.weights.abs())
    if not bool(torch.isfinite(most)):
        raise UsageError("has weights that are not finite", where=layer.path)
    if float(least) == float(most):
        raise UsageError(
            f"{EQUAL if float(most) else ZERO}, and no threshold parts them",
            where=layer.path,
            hint="train first, or leave it whole (SparsityOptions.leave)",
        )
