"""Interpolation between grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from irprune.frontends.torch_export.call import Call, Operand, Result, lower, shape_of
from irprune.ir.graph import Value
from irprune.ir.ops import Gather, Resize
from irprune.ir.ops.resize import Coordinates, Rounding
from irprune.ir.types import Shape

Scales = Sequence[float | None]


def _nearest(
    call: Call, x: Operand, scales: Scales, coordinates: Coordinates, rounding: Rounding
) -> Value:
    """Each axis as torch takes its elements.

    Its positions are rounded to single precision, and some ratios of sizes go before the scale it
    is given; where no ratio comes to the same elements, they are gathered.
    """
    axes, sizes, old = _resized_axes(call, x)
    taken = [_taken(call, old, axis) for axis in range(len(axes))]
    ratios = []
    for was, new, scale, wanted in zip(old, sizes, scales, taken, strict=True):
        for ratio in (new / was, *([] if scale is None else [float(scale)])):
            op = Resize((0,), (new,), (ratio,), "nearest", coordinates, rounding)
            if np.array_equal(op.evaluate((np.arange(was),))[0], wanted):
                ratios.append(ratio)
                break
    if len(ratios) == len(axes):
        op = Resize(axes, sizes, tuple(ratios), "nearest", coordinates, rounding)
        return call.add(op, x)
    y = call.value(x)
    for axis, indices in zip(axes, taken, strict=True):
        y = call.add(Gather(tuple(indices), (len(indices),), axis), y)
    return y


def _taken(call: Call, sizes: Shape, axis: int) -> list[int]:
    """The elements that torch takes along a spatial axis, found by letting it resize their indices.

    torch reckons positions in double precision where the elements have it.
    """
    dtype = torch.float64 if call.element == torch.float64 else torch.float32
    shape = [1] * len(sizes)
    shape[axis] = sizes[axis]
    indices = torch.arange(sizes[axis], dtype=dtype).reshape(shape).expand(1, 1, *sizes)
    resized = call.of(indices)[0, 0].movedim(axis, 0)
    return [int(row.flatten()[0]) for row in resized]


def _linear(call: Call, x: Operand, scales: Scales, align_corners: bool) -> Value:
    """The weighted mean of the neighbours; torch copies an axis whose size stays."""
    axes, sizes, old = _resized_axes(call, x)
    ratios = tuple(
        new / was if scale is None or new == was else float(scale)
        for new, was, scale in zip(sizes, old, scales, strict=True)
    )
    coordinates: Coordinates = "align_corners" if align_corners else "half_pixel"
    return call.add(Resize(axes, sizes, ratios, "linear", coordinates), x)


def _resized_axes(
    call: Call, x: Operand
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """All axes but batch and channels, their sizes after and before."""
    call.require(0 not in call.shape, "makes nothing, and so is not run by torch")
    return tuple(range(2, len(call.shape))), call.shape[2:], shape_of(x)[2:]


def _by_vector(resize: Callable[..., Value], **fixed: Any) -> Callable[..., Result]:
    """The lowering of an overload that has a list of scales."""

    def lowering(
        call: Call,
        input: Operand,
        output_size: Sequence[int] | None,
        scale_factors: Sequence[float] | None,
        **options: Any,
    ) -> Result:
        scales: Scales = scale_factors or [None] * (len(call.shape) - 2)
        return resize(call, input, scales, **fixed, **options)

    return lowering


def _by_height_and_width(resize: Callable[..., Value], **fixed: Any) -> Callable[..., Result]:
    """The lowering of an overload that names the two scales."""

    def lowering(
        call: Call,
        self: Operand,
        output_size: Sequence[int],
        scales_h: float | None,
        scales_w: float | None,
        **options: Any,
    ) -> Result:
        return resize(call, self, (scales_h, scales_w), **fixed, **options)

    return lowering


_UPPER_LEFT = {"coordinates": "asymmetric", "rounding": "floor"}
_CENTRE = {"coordinates": "half_pixel", "rounding": "round_prefer_ceil"}

lower("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec")(
    _by_vector(_nearest, **_UPPER_LEFT)
)
lower(
    "aten._upsample_nearest_exact1d.vec",
    "aten._upsample_nearest_exact2d.vec",
    "aten._upsample_nearest_exact3d.vec",
)(_by_vector(_nearest, **_CENTRE))
lower(
    "aten.upsample_linear1d.vec", "aten.upsample_bilinear2d.vec", "aten.upsample_trilinear3d.vec"
)(_by_vector(_linear))
lower("aten.upsample_nearest2d.default")(_by_height_and_width(_nearest, **_UPPER_LEFT))
lower("aten._upsample_nearest_exact2d.default")(_by_height_and_width(_nearest, **_CENTRE))
lower("aten.upsample_bilinear2d.default")(_by_height_and_width(_linear))
