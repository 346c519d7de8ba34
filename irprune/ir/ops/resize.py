"""Interpolation between grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from irprune.ir.channels import Axes, Ties
from irprune.ir.fixed_point import round_half_away, shift_right
from irprune.ir.op import Dims, Op, expect, expect_operands, expect_reals, normalize_axes, op
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
        if self.mode == "linear":
            expect_reals(inputs)
        x = inputs[0]
        axes, shape = normalize_axes(self.axes, x.rank), list(x.shape)
        expect(
            len(axes) == len(self.sizes) == len(self.scales),
            f"has {len(self.sizes)} sizes and {len(self.scales)} scales for {len(axes)} axes",
        )
        expect(all(scale > 0 for scale in self.scales), f"scales {self.scales} are not positive")
        for axis, size in zip(axes, self.sizes, strict=True):
            expect(size > 0 and x.shape[axis] > 0, "resizes to or from nothing")
            shape[axis] = size
        return (TensorType(tuple(shape), x.dtype, x.quant),)

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        return 0

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        axes = list(inputs[0])
        for axis, size in zip(self.axes, self.sizes, strict=True):
            ties.freeze(axes[axis], "interpolates along it")
            axes[axis] = ties.fixed(size, "interpolates along it")
        return (tuple(axes),)

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        y = args[0]
        for axis, size, scale in zip(self.axes, self.sizes, self.scales, strict=True):
            if self.mode == "nearest":
                y = np.take(y, self.nearest(y.shape[axis], size, scale), axis)
            else:
                y = _linear(y, axis, self.positions(y.shape[axis], size, scale))
        return (y.astype(args[0].dtype, copy=False),)

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        x = args[0]
        exists = self.exists_in_tflite(x.shape)
        if self.mode == "nearest" and not exists:
            return self.evaluate(args)  # whatever is chosen, it needs no arithmetic
        expect(exists, f"{self.coordinates} interpolation has no integer arithmetic")
        y = x.astype(np.int64)
        for axis, size in zip(self.axes, self.sizes, strict=True):
            if self.mode == "nearest":
                y = np.take(y, self._nearest_in_single(y.shape[axis], size), axis)
            else:
                y = self._linear_in_1024ths(y, axis, size)
        if self.mode == "linear":
            y = shift_right(y, 10 * len(self.axes))
        return (y.astype(x.dtype),)

    def exists_in_tflite(self, shape: Shape) -> bool:
        """Whether RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR can say this."""
        if self.coordinates == "align_corners":
            return self.mode == "linear" or self.rounding == "round_prefer_ceil"
        rounding = {"half_pixel": "round_prefer_ceil", "asymmetric": "floor"}
        return (
            self.coordinates in rounding
            and (self.mode == "linear" or self.rounding == rounding[self.coordinates])
            and all(
                scale == size / shape[axis]
                for axis, size, scale in zip(self.axes, self.sizes, self.scales, strict=True)
            )
        )

    def _nearest_in_single(self, size_in: int, size_out: int) -> Array:
        """TFLite's index of the nearest neighbour, its coordinate in single precision."""
        i = np.arange(size_out, dtype=np.float32)
        if self.coordinates == "align_corners":
            gaps = (size_in - 1, size_out - 1) if size_out > 1 else (size_in, size_out)
            index = round_half_away(i * (np.float32(gaps[0]) / np.float32(gaps[1])))
        else:
            centre = np.float32(0.5 if self.coordinates == "half_pixel" else 0)
            index = np.floor((i + centre) * (np.float32(size_in) / np.float32(size_out)))
        return np.clip(index, 0, size_in - 1).astype(np.int64)

    def _linear_in_1024ths(self, x: Array, axis: int, size: int) -> Array:
        """1024 times the weighted mean of both neighbours (TFLite's ResizeBilinearInteger)."""
        size_in, corners = x.shape[axis], self.coordinates == "align_corners" and size > 1
        gaps_in, gaps_out = (size_in - 1, size - 1) if corners else (size_in, size)
        step = ((gaps_in << 10) + gaps_out // 2) // gaps_out
        at = np.arange(size, dtype=np.int64) * step
        if self.coordinates == "half_pixel":
            at = at + step // 2 - (1 << 9)
        last = size_in - 1
        low, high = np.clip(at >> 10, 0, last), np.clip((at + 1023) >> 10, 0, last)
        shape = [1] * x.ndim
        shape[axis] = -1
        part = (at - (low << 10)).reshape(shape)
        return np.asarray(np.take(x, low, axis) * (1024 - part) + np.take(x, high, axis) * part)

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

    def nearest(self, size_in: int, size_out: int, scale: float) -> Array:
        """The index of the neighbour that is nearest to each position along an axis."""
        # In double precision what should be a whole number may come out a little below it.
        at = self.positions(size_in, size_out, scale).astype(np.float32)
        match self.rounding:
            case "round_prefer_floor":
                index = np.ceil(at - 0.5)
            case "round_prefer_ceil":
                index = np.floor(at + 0.5)
            case "floor":
                index = np.floor(at)
            case "ceil":
                index = np.ceil(at)
        return np.asarray(np.clip(index, 0, size_in - 1), np.int64)


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
