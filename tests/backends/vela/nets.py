"""Files of single operators side by side, for what an Ethos-U can and cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from irprune.ir.types import Array
from tests.tflite_files import TFLiteFile

IMAGE = (1, 4, 4, 8)
SAME, VALID = 0, 1


class Nets:
    """Adds operators on inputs of their own to one file."""

    def __init__(self) -> None:
        self.file = TFLiteFile()
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def finish(self) -> bytes:
        return self.file.finish(self.inputs, self.outputs)

    def tensor(self, shape: Sequence[int], dtype: type = np.int8, scale: float = 0.1) -> int:
        return self.file.tensor(shape, dtype, scale=scale)

    def op(
        self,
        kind: str,
        shapes: Sequence[Sequence[int]],
        constants: Sequence[Array] = (),
        options: str = "",
        *,
        dtype: type = np.int8,
        scales: Sequence[float] = (0.1, 0.1, 0.1),
        **fields: Any,
    ) -> None:
        """An operator; the last of the shapes is its output's."""
        *read, made = shapes
        xs = [self.tensor(shape, dtype, scales[i]) for i, shape in enumerate(read)]
        held = [self.file.constant(constant) for constant in constants]
        y = self.tensor(made, dtype, scales[-1])
        self.file.operator(kind, (*xs, *held), (y,), options, **fields)
        self.inputs += xs
        self.outputs.append(y)

    def conv(
        self, stride: int, padding: int, *, dilation: int = 1, depthwise: bool = False
    ) -> None:
        extent = (3 - 1) * dilation + 1
        size = -(-33 // stride) if padding == SAME else (33 - extent) // stride + 1
        weights = np.ones((1, 3, 3, 8) if depthwise else (8, 3, 3, 8), np.int8)
        fields: dict[str, Any] = {"depthMultiplier": 1} if depthwise else {}
        self._layer(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            (1, 33, 33, 8),
            weights,
            (1, size, size, 8),
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            strideH=stride,
            strideW=stride,
            padding=padding,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
            **fields,
        )

    def heavy_conv(self, channels: int) -> None:
        """Whose weights are all 127, 8 x 8 of each channel."""
        self.plain_conv(np.full((2, 8, 8, channels), 127, np.int8))

    def even_conv(self, value: int) -> None:
        """Whose weights are all equal."""
        self.plain_conv(np.full((64, 3, 3, 64), value, np.int8))

    def plain_conv(self, weights: Array) -> None:
        """Over an image as large as its kernel."""
        outputs, *image = weights.shape
        fields: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": VALID}
        made = (1, 1, 1, outputs)
        self._layer("CONV_2D", (1, *image), weights, made, "Conv2DOptions", **fields)

    def _layer(
        self,
        kind: str,
        shape: Sequence[int],
        weights: Array,
        made: Sequence[int],
        options: str,
        **fields: Any,
    ) -> None:
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        outputs = weights.shape[axis]
        x = self.tensor(shape)
        w = self.file.constant(weights, scale=[0.01] * outputs, axis=axis)
        b = self.file.constant(np.zeros(outputs, np.int32), scale=[0.001] * outputs)
        y = self.tensor(made)
        self.file.operator(kind, (x, w, b), (y,), options, **fields)
        self.inputs.append(x)
        self.outputs.append(y)

    def transposed_conv(
        self,
        image: tuple[int, int],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        made: tuple[int, int] | None = None,
    ) -> None:
        """SAME, unless it makes more than that could."""
        size = made or [n * s for n, s in zip(image, stride, strict=True)]
        padding = SAME if size[0] <= image[0] * stride[0] else VALID
        shape = self.file.constant(np.array([1, *size, 4], np.int32))
        weights = np.ones((4, *kernel, 4), np.int8)
        w = self.file.constant(weights, scale=[0.01] * 4)
        x, y = self.tensor((1, *image, 4)), self.tensor((1, *size, 4))
        fields: dict[str, Any] = {"strideH": stride[0], "strideW": stride[1], "padding": padding}
        self.file.operator("TRANSPOSE_CONV", (shape, w, x), (y,), "TransposeConvOptions", **fields)
        self.inputs.append(x)
        self.outputs.append(y)

    def pool(self, kind: str, kernel: tuple[int, int], stride: int, padding: int) -> None:
        size = 40 if kernel[0] <= 40 else 260
        spans = [
            -(-size // stride) if padding == SAME else (size - k) // stride + 1 for k in kernel
        ]
        fields: dict[str, Any] = {
            "filterHeight": kernel[0],
            "filterWidth": kernel[1],
            "padding": padding,
        }
        fields |= {"strideH": stride, "strideW": stride}
        shapes = [(1, size, size, 4), (1, *spans, 4)]
        self.op(f"{kind}_POOL_2D", shapes, options="Pool2DOptions", **fields)

    def mean(self, shape: Sequence[int], axes: Sequence[int]) -> None:
        made = [1 if axis in axes else size for axis, size in enumerate(shape)]
        over = np.array(axes, np.int32)
        self.op("MEAN", [shape, made], [over], "ReducerOptions", keepDims=True)

    def reduce(self, kind: str, shape: Sequence[int], axes: Sequence[int]) -> None:
        made = [1 if axis in axes else size for axis, size in enumerate(shape)]
        over = np.array(axes, np.int32)
        self.op(kind, [shape, made], [over], "ReducerOptions", keepDims=True)

    def prelu(self) -> None:
        x, y = self.tensor(IMAGE), self.tensor(IMAGE)
        slopes = self.file.constant(np.full((1, 1, 8), 3, np.int8), scale=0.1)
        self.file.operator("PRELU", (x, slopes), (y,))
        self.inputs.append(x)
        self.outputs.append(y)

    def convs_of_one_weight(self, channels: int, images: Sequence[int]) -> None:
        """Convolutions side by side, of images of these sizes."""
        array = np.random.default_rng(0).integers(-127, 128, (channels, 3, 3, channels))
        w = self.file.constant(array.astype(np.int8), scale=[0.01] * channels)
        b = self.file.constant(np.zeros(channels, np.int32), scale=[0.001] * channels)
        for size in images:
            x, y = (self.tensor((1, size, size, channels)) for _ in range(2))
            fields: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": SAME}
            self.file.operator("CONV_2D", (x, w, b), (y,), "Conv2DOptions", **fields)
            self.inputs.append(x)
            self.outputs.append(y)

    def wide_conv(self, outputs: int, kept: int) -> None:
        """Most of whose weights are zero, so that its scales take more than they."""
        array = np.zeros((outputs, 1, 1, 16), np.int8)
        array.reshape(-1)[:kept] = 5
        self._layer(
            "CONV_2D",
            (1, 8, 8, 16),
            array,
            (1, 8, 8, outputs),
            "Conv2DOptions",
            strideH=1,
            strideW=1,
            padding=SAME,
        )

    def chained_convs(self, count: int, *, shared: bool) -> None:
        """Convolutions one behind the other, perhaps with the same weights."""
        rng, shape = np.random.default_rng(0), (1, 8, 8, 16)
        bias = self.file.constant(np.zeros(16, np.int32), scale=[0.001] * 16)
        x = self.tensor(shape)
        self.inputs.append(x)
        weights: list[int] = []
        for _ in range(count):
            if not weights or not shared:
                array = rng.integers(-127, 128, (16, 3, 3, 16)).astype(np.int8)
                weights.append(self.file.constant(array, scale=[0.01] * 16))
            y = self.tensor(shape)
            fields: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": SAME}
            read = (x, weights[-1], bias)
            self.file.operator("CONV_2D", read, (y,), "Conv2DOptions", **fields)
            x = y
        self.outputs.append(x)

    def split(self, axis: int, parts: int) -> None:
        at, x = self.file.constant(np.array(axis, np.int32)), self.tensor(IMAGE)
        made = [self.tensor((*IMAGE[:3], IMAGE[3] // parts)) for _ in range(parts)]
        self.file.operator("SPLIT", (at, x), made, "SplitOptions", numSplits=parts)
        self.inputs.append(x)
        self.outputs += made

    def padded_conv(self, stride: int, pads: tuple[int, int]) -> None:
        """A convolution behind an explicit padding of both sides of an image."""
        size = 17 + sum(pads)
        x, padded = self.tensor((1, 17, 17, 8)), self.tensor((1, size, size, 8))
        p = self.file.constant(np.array([(0, 0), pads, pads, (0, 0)], np.int32))
        w = self.file.constant(np.ones((8, 3, 3, 8), np.int8), scale=[0.01] * 8)
        b = self.file.constant(np.zeros(8, np.int32), scale=[0.001] * 8)
        over = (size - 3) // stride + 1
        y = self.tensor((1, over, over, 8))
        fields: dict[str, Any] = {"strideH": stride, "strideW": stride, "padding": VALID}
        self.file.operator("PAD", (x, p), (padded,), "PadOptions")
        self.file.operator("CONV_2D", (padded, w, b), (y,), "Conv2DOptions", **fields)
        self.inputs.append(x)
        self.outputs.append(y)

    def resize(
        self, kind: str, before: tuple[int, int], after: tuple[int, int], **fields: Any
    ) -> None:
        shapes, sizes = [(1, *before, 4), (1, *after, 4)], np.array(after, np.int32)
        name = "RESIZE_BILINEAR" if kind == "Bilinear" else "RESIZE_NEAREST_NEIGHBOR"
        self.op(name, shapes, [sizes], f"Resize{kind}Options", **fields)

    def softmax(self, *shape: int) -> None:
        self.op("SOFTMAX", [shape, shape], (), "SoftmaxOptions", scales=[0.1, 1 / 256], beta=1.0)

    def pair(self, kind: str, options: str = "", shape: Sequence[int] = IMAGE, **more: Any) -> None:
        self.op(kind, [shape, shape, shape], options=options, **more)

    def unary(self, kind: str, options: str = "", **more: Any) -> None:
        self.op(kind, [IMAGE, IMAGE], options=options, **more)

    def strided_slice(self, made: Sequence[int], steps: Sequence[int]) -> None:
        arrays = [np.array(numbers, np.int32) for numbers in ([0] * 4, IMAGE, steps)]
        self.op("STRIDED_SLICE", [IMAGE, made], arrays, "StridedSliceOptions")


def within() -> bytes:
    """What an Ethos-U55 can just do."""
    n = Nets()
    n.conv(3, SAME)
    n.conv(4, VALID)
    n.conv(1, VALID, dilation=3)
    n.conv(3, SAME, depthwise=True)
    n.heavy_conv(1024)
    n.transposed_conv((4, 4), (3, 3), (2, 2))
    n.transposed_conv((5, 5), (3, 3), (2, 2), (11, 11))
    n.transposed_conv((5, 5), (2, 2), (2, 2), (10, 10))
    n.transposed_conv((1, 4), (1, 3), (1, 2))
    n.transposed_conv((4, 1), (3, 1), (2, 1))
    n.pool("AVERAGE", (8, 8), 1, SAME)
    n.pool("AVERAGE", (9, 9), 4, VALID)
    n.pool("AVERAGE", (256, 2), 1, VALID)
    n.pool("MAX", (9, 9), 1, SAME)
    n.pool("MAX", (256, 2), 1, VALID)
    n.mean((1, 8, 8, 16), (1, 2))
    n.mean((1, 1, 8, 16), (3,))
    n.mean((8, 16), (1,))
    n.mean((1, 4096, 1, 8), (1,))
    n.softmax(1, 256, 256, 2)
    n.softmax(65536, 2)
    for kind in ("Bilinear", "NearestNeighbor"):
        n.resize(kind, (4, 4), (8, 8), halfPixelCenters=True)
        n.resize(kind, (4, 4), (32, 32))
        n.resize(kind, (4, 4), (7, 7), alignCorners=True)
        n.resize(kind, (1, 1), (5, 7))
        n.resize(kind, (4, 4), (4, 4))
        n.resize(kind, (1, 4), (1, 8))
    n.resize("NearestNeighbor", (4, 4), (16, 16), halfPixelCenters=True)
    n.pair("MAXIMUM", "MaximumMinimumOptions")
    n.pair("MINIMUM", "MaximumMinimumOptions", dtype=np.int16)
    n.pair("ADD", "AddOptions", dtype=np.int32)
    n.pair("ADD", "AddOptions", scales=(0.1, 0.2, 0.3))
    n.pair("MUL", "MulOptions")
    n.pair("BATCH_MATMUL", "BatchMatMulOptions", (1, 8, 8))
    for kind in ("ELU", "ABS", "NEG", "HARD_SWISH", "RELU", "RELU6", "EXP", "LOG"):
        n.unary(kind)
    n.unary("RELU_N1_TO_1")
    n.unary("RELU_0_TO_1")
    n.unary("GELU", "GeluOptions")
    n.unary("LOGISTIC", scales=[0.1, 1 / 256])
    n.unary("QUANTIZE", scales=[0.1, 0.2])
    n.pair("SUB", "SubOptions")
    n.prelu()
    n.op("CONCATENATION", [IMAGE, IMAGE, (1, 4, 4, 16)], (), "ConcatenationOptions", axis=3)
    n.reduce("SUM", (1, 4, 4, 8), (3,))
    n.reduce("REDUCE_MAX", (1, 4, 4, 8), (3,))
    n.split(3, 2)
    n.padded_conv(3, (1, 1))
    n.padded_conv(4, (3, 3))
    n.padded_conv(4, (0, 0))
    n.unary("TANH", scales=[0.1, 1 / 128])
    n.unary("LEAKY_RELU", "LeakyReluOptions", dtype=np.int16, alpha=0.1)
    n.strided_slice((1, 2, 4, 8), (1, 2, 1, 1))
    n.op("TRANSPOSE", [(1, 4, 4, 8), (1, 8, 4, 4)], [np.array([0, 3, 1, 2], np.int32)])
    padding = np.array([[0, 0], [1, 1], [1, 1], [1, 1]], np.int32)
    n.op("PAD", [IMAGE, (1, 6, 6, 10)], [padding])
    n.op("RESHAPE", [IMAGE, (1, 128)], [np.array([1, 128], np.int32)])
    return n.finish()


def refused() -> tuple[bytes, ...]:
    """What it cannot, and of which Vela then refuses the whole model."""
    files = []
    for pads in ((1, 1), (2, 2), (1, 0)):
        n = Nets()
        n.padded_conv(4, pads)
        files.append(n.finish())
    for dtype in (np.int16, np.float32):
        n = Nets()
        n.pair("ADD", "AddOptions")
        n.unary("HARD_SWISH", dtype=dtype)
        files.append(n.finish())
    return tuple(files)


def beyond() -> bytes:
    """What it just cannot, each for one reason."""
    n = Nets()
    n.conv(4, SAME)
    n.conv(4, VALID, dilation=2)
    n.conv(4, VALID, depthwise=True)
    n.heavy_conv(1025)
    n.transposed_conv((4, 4), (3, 3), (3, 3))
    n.transposed_conv((4, 4), (3, 3), (1, 2))
    n.transposed_conv((5, 5), (3, 3), (2, 2), (9, 9))
    n.transposed_conv((5, 5), (3, 3), (2, 2), (12, 12))
    n.transposed_conv((5, 5), (1, 1), (2, 2), (9, 9))
    n.pool("AVERAGE", (9, 9), 1, SAME)
    n.pool("AVERAGE", (8, 8), 4, SAME)
    n.pool("AVERAGE", (257, 2), 1, VALID)
    n.pool("MAX", (8, 8), 4, SAME)
    n.pool("MAX", (257, 2), 1, VALID)
    n.mean((2, 8, 8, 16), (1, 2))
    n.mean((1, 8, 8, 16), (3,))
    n.mean((1, 4097, 1, 8), (1,))
    n.softmax(1, 256, 257, 2)
    n.softmax(65537, 2)
    for kind in ("Bilinear", "NearestNeighbor"):
        n.resize(kind, (4, 4), (12, 12))
        n.resize(kind, (4, 4), (64, 64))
        n.resize(kind, (4, 4), (8, 16))
        n.resize(kind, (8, 8), (4, 4))
    n.resize("Bilinear", (4, 4), (16, 16), halfPixelCenters=True)
    n.pair("MAXIMUM", "MaximumMinimumOptions", scales=(0.1, 0.2, 0.1))
    n.pair("DIV", "DivOptions")
    n.pair("BATCH_MATMUL", "BatchMatMulOptions", (1, 8, 8), dtype=np.int16)
    n.unary("ELU", dtype=np.int16)
    n.unary("LOG_SOFTMAX", scales=[0.1, 1 / 16])
    n.strided_slice((1, 4, 4, 4), (1, 1, 1, 2))
    n.op("DEPTH_TO_SPACE", [IMAGE, (1, 8, 8, 2)], (), "DepthToSpaceOptions", blockSize=2)
    n.op("SPACE_TO_DEPTH", [IMAGE, (1, 2, 2, 32)], (), "SpaceToDepthOptions", blockSize=2)
    n.op("BROADCAST_TO", [(1, 1, 4, 8), IMAGE], [np.array(IMAGE, np.int32)])
    n.op("GATHER", [IMAGE, (1, 4, 4, 2)], [np.array([1, 3], np.int32)], "GatherOptions", axis=3)
    return n.finish()
