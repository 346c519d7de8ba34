"""Pooling; a global pool is a reduction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from irprune.frontends.torch_export.call import Call, Operand, Result, lower, shape_of
from irprune.frontends.torch_export.plane import over_plane, planar
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import AveragePool2d, MaxPool2d, ReduceMax, ReduceMean, Reshape
from irprune.ir.types import Shape, dims


def _max_pool(spatial: int) -> Callable[..., Value]:
    def lowering(
        call: Call,
        self: Operand,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        ceil_mode: bool,
    ) -> Value:
        op = MaxPool2d(
            planar(kernel_size, spatial, 1),
            planar(stride or kernel_size, spatial, 1),
            planar([(p, p) for p in padding], spatial, (0, 0)),
            planar(dilation, spatial, 1),
            ceil_mode,
        )
        return over_plane(call, op, self, spatial)

    return lowering


def _average_pool(spatial: int) -> Callable[..., Value]:
    def lowering(
        call: Call,
        self: Operand,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        ceil_mode: bool,
        count_include_pad: bool,
        divisor_override: int | None = None,
    ) -> Value:
        call.require(divisor_override is None, "has a divisor of its own")
        op = AveragePool2d(
            planar(kernel_size, spatial, 1),
            planar(stride or kernel_size, spatial, 1),
            planar([(p, p) for p in padding], spatial, (0, 0)),
            ceil=ceil_mode,
            count_padding=count_include_pad,
        )
        return over_plane(call, op, self, spatial)

    return lowering


def _adaptive_pool(
    spatial: int,
    reduction: Callable[[tuple[int, ...]], Op],
    pool: Callable[[tuple[int, int], tuple[int, int]], Op],
) -> Callable[..., Value]:
    def lowering(call: Call, self: Operand, output_size: Sequence[int]) -> Value:
        size: Shape = shape_of(self)[-spatial:]
        if all(out == 1 for out in output_size):
            return call.add(reduction(tuple(range(-spatial, 0))), self)
        call.require(
            all(n % out == 0 for n, out in zip(size, output_size, strict=True)),
            f"takes {dims(size)} to {dims(output_size)}, no multiple of it",
        )
        ratio = [n // out for n, out in zip(size, output_size, strict=True)]
        kernel = planar(ratio, spatial, 1)
        return over_plane(call, pool(kernel, kernel), self, spatial)

    return lowering


def _with_indices(pool: Callable[..., Value]) -> Callable[..., Result]:
    """The pool, of which torch also gives where each element came from."""

    def lowering(call: Call, **arguments: Any) -> Result:
        return (pool(call, **arguments), None)

    return lowering


_adaptive_average = [_adaptive_pool(n, ReduceMean, AveragePool2d) for n in (1, 2)]
_adaptive_max = [_adaptive_pool(n, ReduceMax, MaxPool2d) for n in (1, 2)]

lower("aten.max_pool1d.default")(_max_pool(1))
lower("aten.max_pool2d.default")(_max_pool(2))
lower("aten.max_pool1d_with_indices.default")(_with_indices(_max_pool(1)))
lower("aten.max_pool2d_with_indices.default")(_with_indices(_max_pool(2)))
lower("aten.avg_pool1d.default")(_average_pool(1))
lower("aten.avg_pool2d.default")(_average_pool(2))
lower("aten.adaptive_avg_pool1d.default")(_adaptive_average[0])
lower("aten.adaptive_avg_pool2d.default", "aten._adaptive_avg_pool2d.default")(_adaptive_average[1])
lower("aten.adaptive_max_pool1d.default")(_with_indices(_adaptive_max[0]))
lower("aten.adaptive_max_pool2d.default")(_with_indices(_adaptive_max[1]))


@lower("aten.avg_pool3d.default")
def avg_pool3d(
    call: Call,
    self: Operand,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    **arguments: Any,
) -> Result:
    """A window over the first spatial dimension alone: how local response normalization sums."""
    flat = list(kernel_size[1:]) == [1, 1] and list(stride[1:]) == [1, 1] and not any(padding[1:])
    call.require(flat and len(shape_of(self)) == 5, "pools three dimensions")
    n, c, d, h, w = shape_of(self)
    plane = call.add(Reshape((n, c, d, h * w)), self)
    pads = [padding[0], 0]
    window = ([kernel_size[0], 1], [stride[0], 1], pads)
    return call.add(Reshape(call.shape), _average_pool(2)(call, plane, *window, **arguments))
