"""Random modules: the graph computes what the module does, or an error of irprune's says why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from irprune.frontends.torch_export import read_torch
from irprune.ir.errors import IrpruneError
from tests.torch_models import Function, assert_computes, eager, randomize

Shape = tuple[int, ...]


class Draws:
    """Draws the attributes of a layer for an input of some shape."""

    def __init__(self, draw: st.DrawFn, shape: Shape) -> None:
        self.draw = draw
        self.shape = shape
        self.rank = len(shape) - 2

    def of(self, name: str) -> Any:
        """The class of torch.nn for as many spatial axes as the input has."""
        return getattr(nn, f"{name}{self.rank}d")

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def flag(self) -> bool:
        return bool(self.one_of(False, True))

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def each(self, least: int, most: int) -> Any:
        """A number for each spatial axis, or one for all."""
        numbers = tuple(self.number(least, most) for _ in range(self.rank))
        return numbers if self.flag() else numbers[0]

    def divisor(self, number: int) -> int:
        return int(self.one_of(*(n for n in range(1, number + 1) if number % n == 0)))


def convolution(d: Draws) -> nn.Module:
    groups = d.divisor(d.shape[1])
    same = d.one_of(False, False, True)
    module: nn.Module = d.of("Conv")(
        d.shape[1],
        groups * d.number(1, 2),
        d.each(1, 3),
        stride=1 if same else d.each(1, 3),
        padding="same" if same else d.each(0, 2),
        dilation=d.each(1, 2),
        groups=groups,
        bias=d.flag(),
        padding_mode=d.one_of("zeros", "zeros", "reflect", "replicate", "circular"),
    )
    return module


def transposed_convolution(d: Draws) -> nn.Module:
    groups = d.divisor(d.shape[1])
    module: nn.Module = d.of("ConvTranspose")(
        d.shape[1],
        groups * d.number(1, 2),
        d.each(1, 3),
        stride=d.each(1, 3),
        padding=d.each(0, 2),
        output_padding=d.one_of(0, 0, d.each(0, 2)),
        dilation=d.each(1, 2),
        groups=groups,
        bias=d.flag(),
    )
    return module


def pool(d: Draws) -> nn.Module:
    window, stride, ceil = [d.number(1, 4) for _ in range(d.rank)], d.each(1, 3), d.flag()
    padding = [d.number(0, size // 2) for size in window]
    module: nn.Module
    match d.one_of("average", "average", "max", "max", "adaptive"):
        case "average":
            module = d.of("AvgPool")(window, stride, padding, ceil, count_include_pad=d.flag())
        case "max":
            dilation = d.one_of(1, d.each(1, 2))
            module = d.of("MaxPool")(window, stride, padding, dilation, ceil_mode=ceil)
        case _:
            kind = d.of(d.one_of("AdaptiveAvgPool", "AdaptiveMaxPool"))
            module = kind(d.one_of(1, d.each(1, 4)))
    return module


def norm(d: Draws) -> nn.Module:
    channels, affine = d.shape[1], d.flag()
    module: nn.Module
    match d.one_of("batch", "instance", "group", "layer"):
        case "batch":
            module = d.of("BatchNorm")(channels, 0.1, affine=affine, track_running_stats=d.flag())
        case "instance":
            module = d.of("InstanceNorm")(
                channels, 0.1, affine=affine, track_running_stats=d.flag()
            )
        case "group":
            module = nn.GroupNorm(d.divisor(channels), channels, 0.1, affine)
        case _:
            axes = d.number(1, len(d.shape) - 1)
            module = nn.LayerNorm(d.shape[-axes:], 0.1, affine, bias=d.flag())
    return module


def interpolation(d: Draws) -> nn.Module:
    mode = d.one_of("nearest", "nearest-exact", "linear" if d.rank == 1 else "bilinear")
    by_size = d.flag()
    size = d.each(1, 9) if by_size else None
    scale = None if by_size else d.one_of(0.4, 0.5, 1.3, 2, 3)
    corners = d.flag() if mode in ("linear", "bilinear") else None
    recompute = not by_size and d.flag()
    return Function(
        lambda x: F.interpolate(
            x, size, scale, mode, align_corners=corners, recompute_scale_factor=recompute
        )
    )


def padding(d: Draws) -> nn.Module:
    mode = d.one_of("constant", "reflect", "replicate", "circular")
    amounts = [d.number(-1, 2) for _ in range(2 * d.rank)]
    value = d.one_of(0, 0.5) if mode == "constant" else None
    return Function(lambda x: F.pad(x, amounts, mode, value))


def linear(d: Draws) -> nn.Module:
    return nn.Linear(d.shape[-1], d.number(1, 4), bias=d.flag())


def activation(d: Draws) -> nn.Module:
    module: nn.Module = d.one_of(
        nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.LeakyReLU(0.2), nn.PReLU(), nn.Sigmoid(),
        nn.Tanh(), nn.Hardsigmoid(), nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"),
        nn.ELU(0.7), nn.SELU(), nn.Softplus(), nn.Softsign(),
        nn.PReLU(d.shape[1]), nn.Softmax(d.number(-1, len(d.shape) - 1)), nn.Dropout(),
        nn.LogSoftmax(d.number(-1, len(d.shape) - 1)), nn.LocalResponseNorm(d.number(1, 4), 0.5),
    )  # fmt: skip
    return module


def view(d: Draws) -> nn.Module:
    rank = len(d.shape)
    order = d.draw(st.permutations(range(rank)))
    first, last = sorted((d.number(0, rank - 1), d.number(0, rank - 1)))
    size = d.divisor(d.shape[first])
    return Function(
        d.one_of(
            lambda x: x.permute(order),
            lambda x: x.flatten(first, last),
            lambda x: x.unflatten(first, (size, -1)),
            lambda x: x.reshape(size, -1),
            lambda x: x.permute(order).reshape(x.shape),
            lambda x: x.unsqueeze(first).transpose(0, -1),
            lambda x: x.squeeze(last),
        )
    )


def joint(d: Draws) -> nn.Module:
    rank = len(d.shape)
    axis, other, count = d.number(-rank, rank - 1), d.number(0, rank - 1), d.number(1, 3)
    start, step = d.number(-3, 2), d.number(1, 2)
    size = d.number(1, 3)
    return Function(
        d.one_of(
            lambda x: torch.cat([x, x * 2], axis),
            lambda x: torch.cat(x.chunk(count, axis)[::-1], axis),
            lambda x: torch.cat([part.mean(other, True) for part in x.split(size, axis)], axis),
            lambda x: torch.stack([x, -x], axis),
            lambda x: x.narrow(axis, 0, 1) + x,
            lambda x: x[(slice(None),) * other + (slice(start, None, step),)],
            lambda x: x.flip(axis).roll(start, other),
        )
    )


def reduction(d: Draws) -> nn.Module:
    rank = len(d.shape)
    axes, keep = d.draw(st.sets(st.integers(0, rank - 1))), d.flag()
    return Function(
        d.one_of(
            lambda x: x.mean(tuple(axes), keep),
            lambda x: x.sum(tuple(axes), keep),
            lambda x: x.amax(tuple(axes), keep),
            lambda x: x - x.mean(tuple(axes), True),
        )
    )


OF_ANY = (linear, activation, view, joint, reduction)
OF_IMAGES = (
    convolution, convolution, transposed_convolution, pool, pool, norm, interpolation, padding,
)  # fmt: skip
SHAPES = ((1, 4, 6, 5), (2, 3, 1, 7), (1, 6, 9), (1, 1, 4, 4), (2, 5))


@st.composite
def modules(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A chain of layers and its input; a last layer that torch itself refuses may be among them."""
    x = torch.randn(draw(st.sampled_from(SHAPES)), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net, y = nn.Sequential(), x
    for _ in range(draw(st.integers(1, 3))):
        kinds: tuple[Callable[[Draws], nn.Module], ...]
        kinds = (*OF_ANY, *OF_IMAGES, *OF_IMAGES) if y.ndim in (3, 4) else OF_ANY
        if y.ndim < 2 or not y.numel():
            break
        net.append(randomize(draw(st.sampled_from(kinds))(Draws(draw, tuple(y.shape)))))
        try:
            (y,) = eager(net, (x,))
        except (RuntimeError, ValueError, IndexError):
            break
    return net, x


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_a_random_module_is_read_exactly_or_refused() -> None:
    read = []

    @settings(max_examples=250)
    @given(modules())
    def check(drawn: tuple[nn.Module, Tensor]) -> None:
        module, x = drawn
        with contextlib.suppress(IrpruneError):
            graph = read_torch(module, (x,))
            wanted = eager(module, (x,))
            size = max([1.0, *(float(y.abs().max()) for y in wanted if y.numel())])
            assert_computes(graph, (x,), wanted, atol=1e-4 * size)
            read.append(graph)

    check()
    assert len(read) > 125  # most are not refused
