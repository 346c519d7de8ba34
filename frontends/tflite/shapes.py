"""Lowerings of what moves elements about, reduces over axes, or computes shapes."""

from __future__ import annotations

import math

import numpy as np
import tflite

from irprune.frontends.tflite.call import Call
from irprune.frontends.tflite.file import dtype_of
from irprune.frontends.tflite.layers import images
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.op import normalize_axis
from irprune.ir.ops import (
    Concat,
    DepthToSpace,
    Expand,
    Gather,
    Identity,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Reshape,
    Resize,
    Slice,
    SpaceToDepth,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from irprune.ir.ops.resize import Coordinates, Rounding
from irprune.ir.types import DType, Shape, dims


def reshape(call: Call) -> None:
    """The shape is an operand or, in older files, an option."""
    x = call.value(0)
    if call.has(1):
        shape = call.integers(1)
    else:
        shape = call.options(tflite.ReshapeOptions).integers("NewShape")
    call.emit(Reshape(resolved(shape, x.type.elements)), x)


def resolved(shape: Shape, elements: int) -> Shape:
    """The shape with its one -1, if any, replaced by what is left of the elements."""
    known = math.prod(size for size in shape if size >= 0)
    if sum(size < 0 for size in shape) > 1 or min(shape, default=0) < -1:
        raise InvalidModel(f"shape {shape} has more than one open dimension")
    if -1 not in shape:
        return shape
    if known == 0 or elements % known:
        raise InvalidModel(f"{elements} elements do not fill shape {shape}")
    return tuple(elements // known if size < 0 else size for size in shape)


def shape_of(call: Call) -> None:
    """The operand's shape, which is known here."""
    dtype = dtype_of(call.options(tflite.ShapeOptions).integer("OutType"))
    if dtype not in (DType.I32, DType.I64):
        raise InvalidModel(f"gives a shape in {dtype.value}")
    call.give(np.asarray(call.value(0).type.shape, dtype.numpy))


def squeeze(call: Call) -> None:
    """Drops the named axes, or every axis of size 1 where none is named."""
    x = call.value(0)
    axes = call.options(tflite.SqueezeOptions).integers("SqueezeDims")
    every = tuple(axis for axis, size in enumerate(x.type.shape) if size == 1)
    call.emit(Squeeze(axes or every), x)


def expand_dims(call: Call) -> None:
    """Inserts one axis."""
    call.emit(Unsqueeze(_few(call.integers(1), 1)), call.value(0))


def transpose(call: Call) -> None:
    """Axes in a new order."""
    call.emit(Transpose(call.integers(1)), call.value(0))


def broadcast_to(call: Call) -> None:
    """Repeats axes of size 1."""
    call.emit(Expand(call.integers(1)), call.value(0))


def concatenation(call: Call) -> None:
    """Operands end to end."""
    options = call.options(tflite.ConcatenationOptions)
    if options.integer("FusedActivationFunction") != tflite.ActivationFunctionType.NONE:
        raise UnsupportedOp("no lowering for an activation after it")
    call.emit(Concat(options.integer("Axis")), *call.operands)


def pack(call: Call) -> None:
    """Operands side by side along a new axis."""
    axis = call.options(tflite.PackOptions).integer("Axis")
    rank = call.value(0).type.rank
    at = normalize_axis(axis, rank + 1)
    call.emit(Concat(at), *(call.step(Unsqueeze((at,)), value) for value in call.operands))


def split(call: Call) -> None:
    """Operands the axis and x; equal parts."""
    (axis,), x = _few(call.integers(0), 1), call.value(1)
    count = call.options(tflite.SplitOptions).integer("NumSplits")
    size = x.type.shape[normalize_axis(axis, x.type.rank)]
    if count < 1 or size % count:
        raise InvalidModel(f"{size} elements do not split in {count}")
    call.emit(Split(axis, (size // count,) * count), x)


def split_v(call: Call) -> None:
    """Operands x, the parts' sizes (one may be -1) and the axis."""
    x, (axis,) = call.value(0), _few(call.integers(2), 1)
    size = x.type.shape[normalize_axis(axis, x.type.rank)]
    sizes = list(call.integers(1))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = size - (sum(sizes) + 1)
    call.emit(Split(axis, tuple(sizes)), x)


def slice_(call: Call) -> None:
    """Operands x, starts and sizes, one an axis; size -1 is all that is left."""
    x, starts, sizes = call.value(0), call.integers(1), call.integers(2)
    if not len(starts) == len(sizes) == x.type.rank:
        raise InvalidModel(f"slices {len(starts)} axes of {dims(x.type.shape)}")
    found = tuple(
        whole - start if size == -1 else size
        for whole, start, size in zip(x.type.shape, starts, sizes, strict=True)
    )
    call.emit(Slice(tuple(range(x.type.rank)), starts, found, (1,) * x.type.rank), x)


def strided_slice(call: Call) -> None:
    """Operands x, begin, end, strides; masks leave bounds open or drop axes of one element."""
    options, x = call.options(tflite.StridedSliceOptions), call.value(0)
    if options.integer("EllipsisMask") or options.integer("NewAxisMask"):
        raise UnsupportedOp("no lowering for an ellipsis or a new axis in a slice")
    begin, end, strides = (call.integers(i) for i in (1, 2, 3))
    if not len(begin) == len(end) == len(strides) <= x.type.rank or 0 in strides:
        raise InvalidModel(f"slices {begin}:{end}:{strides} do not fit {dims(x.type.shape)}")
    masks = {kind: options.integer(f"{kind}Mask") for kind in ("Begin", "End", "ShrinkAxis")}
    starts, sizes, dropped = [], [], []
    for axis, (size, first, stop, step) in enumerate(
        zip(x.type.shape, begin, end, strides, strict=False)
    ):
        if masks["ShrinkAxis"] >> axis & 1:
            if not -size <= first < size:
                raise InvalidModel(f"takes element {first} of {size}")
            starts.append(first % size)
            sizes.append(1)
            dropped.append(axis)
            continue
        if options.flag("Offset"):
            stop += first
        bounds = slice(
            None if masks["Begin"] >> axis & 1 else first,
            None if masks["End"] >> axis & 1 else stop,
            step,
        )
        chosen = range(size)[bounds]
        starts.append(chosen.start)
        sizes.append(len(chosen))
    steps = tuple(1 if axis in dropped else step for axis, step in enumerate(strides))
    op = Slice(tuple(range(len(starts))), tuple(starts), tuple(sizes), steps)
    if dropped:
        call.emit(Squeeze(tuple(dropped)), call.step(op, x))
    else:
        call.emit(op, x)


def gather(call: Call) -> None:
    """Elements of an axis by constant indices."""
    options, indices = call.options(tflite.GatherOptions), call.constant(1).array
    if options.integer("BatchDims") != 0:
        raise UnsupportedOp("no lowering for batches of indices")
    op = Gather(call.integers(1), indices.shape, options.integer("Axis"))
    call.emit(op, call.value(0))


def pad(call: Call) -> None:
    """Operands x, pads (one row an axis), and for PADV2 what to pad with."""
    x = call.value(0)
    value = 0.0
    if call.has(2):
        _, fill, quant = call.constant(2)
        if fill.size != 1:
            raise InvalidModel(f"pads with {fill.size} numbers")
        value = float(fill.ravel()[0])
        if quant is not None:
            value = quant.scale[0] * (value - quant.zero_point[0])
    call.emit(Pad(_pads(call), value=value), x)


def mirror_pad(call: Call) -> None:
    """Reflects about the edge element; SYMMETRIC, which repeats it, is EDGE for one element."""
    pads = _pads(call)
    mode = call.options(tflite.MirrorPadOptions).integer("Mode")
    if mode == tflite.MirrorPadMode.REFLECT:
        call.emit(Pad(pads, "reflect"), call.value(0))
    elif max(map(max, pads), default=0) <= 1:
        call.emit(Pad(pads, "edge"), call.value(0))
    else:
        raise UnsupportedOp("no lowering for symmetric padding of more than one element")


def _pads(call: Call) -> tuple[tuple[int, int], ...]:
    pads = call.integers(1)
    return tuple(zip(pads[::2], pads[1::2], strict=False))


def reduction(kind: type[ReduceMean] | type[ReduceSum] | type[ReduceMax], call: Call) -> None:
    """Operands x and axes, of which some may be named twice."""
    x = call.value(0)
    axes = dict.fromkeys(normalize_axis(axis, x.type.rank) for axis in call.integers(1))
    keep = call.options(tflite.ReducerOptions).flag("KeepDims")
    call.emit(kind(tuple(axes), keep), x)


def resize_bilinear(call: Call) -> None:
    """Operands x and the new height and width."""
    options = call.options(tflite.ResizeBilinearOptions)
    corners, centres = options.flag("AlignCorners"), options.flag("HalfPixelCenters")
    _resize(call, "linear", corners, centres)


def resize_nearest_neighbor(call: Call) -> None:
    """Operands x and the new height and width."""
    options = call.options(tflite.ResizeNearestNeighborOptions)
    corners, centres = options.flag("AlignCorners"), options.flag("HalfPixelCenters")
    _resize(call, "nearest", corners, centres)


def _resize(call: Call, mode: str, corners: bool, centres: bool) -> None:
    x = images(call.value(0))
    height, width = _few(call.integers(1), 2)
    if corners and centres:
        raise UnsupportedOp("no lowering for aligned corners with half-pixel centres")
    coordinates: Coordinates = (
        "align_corners" if corners else "half_pixel" if centres else "asymmetric"
    )
    # TFLite rounds to the nearest corner, else takes the pixel that the coordinate falls into.
    rounding: Rounding = "round_prefer_ceil" if corners or centres else "floor"
    sizes = (height, width)
    if 0 in x.type.shape:
        raise InvalidModel(f"resizes nothing: {dims(x.type.shape)}")
    scales = (height / x.type.shape[1], width / x.type.shape[2])
    if mode == "linear":
        call.emit(Resize((1, 2), sizes, scales, "linear", coordinates), x)
    else:
        call.emit(Resize((1, 2), sizes, scales, "nearest", coordinates, rounding), x)


def depth_to_space(call: Call) -> None:
    """Channels become pixels."""
    block = call.options(tflite.DepthToSpaceOptions).integer("BlockSize")
    call.emit(DepthToSpace(block, "DCR", "NHWC"), call.value(0))


def space_to_depth(call: Call) -> None:
    """Pixels become channels."""
    block = call.options(tflite.SpaceToDepthOptions).integer("BlockSize")
    call.emit(SpaceToDepth(block, "NHWC"), call.value(0))


def cast(call: Call) -> None:
    """To the output's element type: nothing where it is the same, done at once on constants."""
    x, wanted = call.value(0), call.output().type.dtype
    if x.type.dtype is wanted:
        call.emit(Identity(), x)
    elif x.type.dtype.is_integer and wanted.is_integer and x.type.quant is None:
        call.give(call.constant(0).array.astype(wanted.numpy))
    else:
        raise UnsupportedOp(f"no lowering from {x.type.dtype.value} to {wanted.value}")


def _few(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    if len(numbers) != count:
        raise InvalidModel(f"an operand has {len(numbers)} numbers, not {count}")
    return numbers
