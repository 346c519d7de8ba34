"""Interpolation between grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from irprune.ir.op import Dims, Op, expect, expect_operands, normalize_axis, op
from irprune.ir.types import Array, Shape, TensorType

Coordinates = Literal[
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"
]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@op
class Resize(Op):
    """Resamples ``axes`` to ``sizes``, nearest or (bi)linear; the terms are ONNX's Resize.

    ``scales`` are the output/input ratios that map coordinates; they differ from the ratio of the
    sizes where that was rounded.
    """

    axes: tuple[int, ...]
    sizes: Shape
    scales: tuple[float, ...]
    mode: Literal["nearest", "linear"] = "nearest"
    coordinates: Coordinates = "half_pixel"
    rounding: Rounding = "round_prefer_floor"

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        expect_operands(inputs, 1)
        x = inputs[0]
        shape = list(x.shape)
        expect(len(self.axes) == len(self.sizes) == len(self.scales), "axes and sizes differ")
        for axis, size in zip(self.axes, self.sizes, strict=True):
            expect(size > 0 and x.shape[axis] > 0, "resizes to or from nothing")
            shape[normalize_axis(axis, x.rank)] = size
        return (TensorType(tuple(shape), x.dtype, x.quant),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        y = args[0]
        for axis, size, scale in zip(self.axes, self.sizes, self.scales, strict=True):
            at = self.positions(y.shape[axis], size, scale)
            y = self._nearest(y, axis, at) if self.mode == "nearest" else _linear(y, axis, at)
        return (y.astype(args[0].dtype, copy=False),)

    def positions(self, size_in: int, size_out: int, scale: float) -> Array:
        """The input coordinate of each output index along one axis."""
        i = np.arange(size_out, dtype=np.float64)
        match self.coordinates:
            case "half_pixel":
                return (i + 0.5) / scale - 0.5
            case "half_pixel_symmetric":
                offset = size_in / 2 * (1 - size_out / (scale * size_in))
                return offset + (i + 0.5) / scale - 0.5
            case "pytorch_half_pixel":
                return (i + 0.5) / scale - 0.5 if size_out > 1 else i * 0
            case "align_corners":
                return i * (size_in - 1) / (size_out - 1) if size_out > 1 else i * 0
            case "asymmetric":
                return i / scale

    def _nearest(self, x: Array, axis: int, at: Array) -> Array:
        match self.rounding:
            case "round_prefer_floor":
                index = np.ceil(at - 0.5)
            case "round_prefer_ceil":
                index = np.floor(at + 0.5)
            case "floor":
                index = np.floor(at)
            case "ceil":
                index = np.ceil(at)
        return np.take(x, np.clip(index, 0, x.shape[axis] - 1).astype(np.int64), axis)


def _linear(x: Array, axis: int, at: Array) -> Array:
    """Weighted mean of the two neighbours of each coordinate; beyond the edge, the edge."""
    last = x.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.floor(at).astype(np.int64)
    shape = [1] * x.ndim
    shape[axis] = -1
    fraction = (at - low).reshape(shape).astype(np.float32 if x.dtype != np.float64 else np.float64)
    upper = np.take(x, np.minimum(low + 1, last), axis)
    return np.asarray(np.take(x, low, axis) * (1 - fraction) + upper * fraction)
