"""Resize and its predecessor Upsample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np

from irprune.frontends.onnx.call import Call
from irprune.ir.errors import InvalidModel, InvalidType
from irprune.ir.graph import Value
from irprune.ir.op import normalize_axis
from irprune.ir.ops import Dequantize, Identity, Quantize, Resize
from irprune.ir.ops.resize import Coordinates, Rounding
from irprune.ir.types import Shape, dims

Mode = Literal["nearest", "linear"]
Grid = tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]
"""Axes, their output sizes, and the scales that map coordinates."""


def upsample(call: Call) -> Value:
    """Upsample: scales are an attribute until opset 8, an operand since."""
    x = call.value(0)
    mode = _mode(call, "linear", "bilinear")
    if call.opset < 9:
        scales = call.float_list("scales")
        if scales is None:
            raise InvalidModel("lacks scales")
    else:
        scales = call.numbers(1, "scales")
    axes = tuple(range(x.type.rank))
    return _resize(call, x, _scaled(x.type.shape, axes, scales), mode, "asymmetric", "floor")


def resize(call: Call) -> Value:
    """Resize: scales alone in opset 10; coordinates, rounding and sizes since."""
    x = call.value(0)
    mode = _mode(call, "linear")
    axes = tuple(range(x.type.rank))
    if call.opset < 11:
        grid = _scaled(x.type.shape, axes, call.numbers(1, "scales"))
        return _resize(call, x, grid, mode, "asymmetric", "floor")
    call.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value")  # of other modes
    call.ignore_operand(1)  # the region of interest, likewise
    coordinates = cast(
        Coordinates, call.text("coordinate_transformation_mode", *get_args(Coordinates))
    )
    rounding = cast(Rounding, call.text("nearest_mode", *get_args(Rounding)))
    antialias = call.int_("antialias", 0)
    call.expect(mode == "nearest" or not antialias, "antialias is not supported")
    named = call.int_list("axes")
    if named is not None:
        axes = tuple(normalize_axis(axis, x.type.rank) for axis in named)
    return _resize(call, x, _grid(call, x.type.shape, axes), mode, coordinates, rounding)


def _mode(call: Call, *linear: str) -> Mode:
    return "linear" if call.text("mode", "nearest", *linear) in linear else "nearest"


def _grid(call: Call, shape: Shape, axes: tuple[int, ...]) -> Grid:
    """The output sizes, from scales or from sizes; an empty operand is an absent one."""
    scales = call.numbers(2, "scales") if call.has(2) else ()
    sizes = call.ints(3, "sizes") if call.has(3) else ()
    policy = call.text("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
    if bool(scales) == bool(sizes):
        raise InvalidModel("must have either scales or sizes")
    if scales:
        return _scaled(shape, axes, scales)
    if len(sizes) != len(axes) or 0 in (shape[axis] for axis in axes):
        raise InvalidType(f"has {len(sizes)} sizes for {len(axes)} axes that are not empty")
    ratios = [size / shape[axis] for size, axis in zip(sizes, axes, strict=True)]
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        ratios = [ratio] * len(axes)
        sizes = tuple(math.floor(ratio * shape[axis] + 0.5) for axis in axes)
    return axes, sizes, tuple(ratios)


def _scaled(shape: Shape, axes: tuple[int, ...], scales: Sequence[float]) -> Grid:
    if len(scales) != len(axes) or not all(math.isfinite(s) and s > 0 for s in scales):
        raise InvalidType(f"has no positive scale for each of {len(axes)} axes")
    # In single precision, as every runtime computes it: 10 times 0.7 is 7 there.
    with np.errstate(over="ignore"):
        lengths = [
            np.float32(shape[axis]) * np.float32(scale)
            for axis, scale in zip(axes, scales, strict=True)
        ]
    if not np.all(np.isfinite(lengths)):
        raise InvalidType(f"scales {dims(shape)} by {max(scales)}")
    return axes, tuple(map(math.floor, lengths)), tuple(scales)


def _resize(
    call: Call, x: Value, grid: Grid, mode: Mode, coordinates: Coordinates, rounding: Rounding
) -> Value:
    """The resized operand; axes that keep every element where it is are left out."""
    changed = [
        (axis, size, scale)
        for axis, size, scale in zip(*grid, strict=True)
        if scale != 1 or size != x.type.shape[axis]
    ]
    if not changed:
        return call.emit(Identity(), x)
    axes, sizes, scales = zip(*changed, strict=True)
    op = Resize(axes, sizes, scales, mode, coordinates, rounding)
    quant = x.type.quant
    if quant is None:
        return call.emit(op, x)
    # The nearest integer stands for the nearest real, so the way through reals is exact.
    call.expect(mode == "nearest", "interpolates between integers that stand for reals")
    return call.chain((Dequantize(), x), (op,), (Quantize(x.type.dtype, quant),))
