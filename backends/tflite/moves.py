"""Rows of the table for what moves elements about, reduces over axes or resamples."""

from __future__ import annotations

import math

import numpy as np
import tflite

from irprune.backends.tflite.record import Call, Record, require
from irprune.ir import ops
from irprune.ir.op import normalize_axes, normalize_axis
from irprune.ir.ops.reduce import Reduce

REDUCTIONS = {ops.ReduceMean: "MEAN", ops.ReduceSum: "SUM", ops.ReduceMax: "REDUCE_MAX"}


def reshape(call: Call) -> Record:
    """RESHAPE, whatever view it is."""
    shape = call.integers("shape", call.output.type.shape)
    return Record("RESHAPE", (call.x, shape), "ReshapeOptions")


def transpose(call: Call) -> Record:
    """TRANSPOSE."""
    op = call.node.op
    assert isinstance(op, ops.Transpose)
    return Record("TRANSPOSE", (call.x, call.integers("perm", op.perm)), "TransposeOptions")


def broadcast_to(call: Call) -> Record:
    """BROADCAST_TO."""
    shape = call.integers("shape", call.output.type.shape)
    return Record("BROADCAST_TO", (call.x, shape))


def concatenation(call: Call) -> Record:
    """CONCATENATION."""
    op = call.node.op
    assert isinstance(op, ops.Concat)
    axis = normalize_axis(op.axis, call.x.type.rank)
    return Record("CONCATENATION", call.node.inputs, "ConcatenationOptions", {"Axis": axis})


def split(call: Call) -> Record:
    """SPLIT in equal parts, SPLIT_V in others."""
    op = call.node.op
    assert isinstance(op, ops.Split)
    axis = call.integers("axis", normalize_axis(op.axis, call.x.type.rank))
    fields = {"NumSplits": len(op.sizes)}
    if len(set(op.sizes)) == 1:
        return Record("SPLIT", (axis, call.x), "SplitOptions", fields)
    return Record(
        "SPLIT_V", (call.x, call.integers("sizes", op.sizes), axis), "SplitVOptions", fields
    )


def slice_(call: Call) -> Record:
    """SLICE of neighbours, STRIDED_SLICE of others."""
    op = call.node.op
    assert isinstance(op, ops.Slice)
    rank = call.x.type.rank
    starts, steps = [0] * rank, [1] * rank
    axes = normalize_axes(op.axes, rank)
    for axis, start, step in zip(axes, op.starts, op.steps, strict=True):
        starts[axis], steps[axis] = start, step
    sizes = call.output.type.shape
    if all(step == 1 for step in steps):
        operands = (call.x, call.integers("begin", starts), call.integers("size", sizes))
        return Record("SLICE", operands, "SliceOptions")
    ends = [start + size * step for start, size, step in zip(starts, sizes, steps, strict=True)]
    # An end before the first element cannot be named, only left open.
    mask = sum(1 << axis for axis, end in enumerate(ends) if end < 0)
    numbers = {"begin": starts, "end": [max(end, 0) for end in ends], "strides": steps}
    constants = [call.integers(name, values) for name, values in numbers.items()]
    return Record("STRIDED_SLICE", (call.x, *constants), "StridedSliceOptions", {"EndMask": mask})


def gather(call: Call) -> Record:
    """GATHER."""
    op = call.node.op
    assert isinstance(op, ops.Gather)
    indices = call.integers("indices", np.reshape(op.indices, op.indices_shape))
    axis = normalize_axis(op.axis, call.x.type.rank)
    return Record("GATHER", (call.x, indices), "GatherOptions", {"Axis": axis})


def pad(call: Call) -> Record:
    """PAD with zeros, PADV2 with another number, MIRROR_PAD; an edge of one element is one."""
    op = call.node.op
    assert isinstance(op, ops.Pad)
    pads = call.integers("paddings", op.padding)
    if op.mode == "constant" and op.value == 0:
        return Record("PAD", (call.x, pads), "PadOptions")
    if op.mode == "constant":
        fill = ops.Pad(((1, 0),), value=op.value)
        t = call.x.type
        none = np.zeros(0, t.dtype.numpy)
        args = ([none], [t], [t])
        (one,) = fill.evaluate_quantized(*args) if t.quant is not None else fill.evaluate([none])
        return Record("PADV2", (call.x, pads, call.constant("value", one, t.quant)), "PadV2Options")
    modes = {"reflect": tflite.MirrorPadMode.REFLECT, "edge": tflite.MirrorPadMode.SYMMETRIC}
    most = max(map(max, op.padding), default=0)
    require(op.mode == "reflect" or most <= 1, f"an edge repeated {most} times")
    return Record("MIRROR_PAD", (call.x, pads), "MirrorPadOptions", {"Mode": modes[op.mode]})


def depth_to_space(call: Call) -> Record:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH."""
    op = call.node.op
    assert isinstance(op, ops.DepthToSpace | ops.SpaceToDepth)
    require(op.layout == "NHWC", f"images in {op.layout}")
    if isinstance(op, ops.SpaceToDepth):
        return Record("SPACE_TO_DEPTH", (call.x,), "SpaceToDepthOptions", {"BlockSize": op.block})
    require(op.mode == "DCR", "depth before columns")
    return Record("DEPTH_TO_SPACE", (call.x,), "DepthToSpaceOptions", {"BlockSize": op.block})


def reduction(call: Call) -> Record:
    """MEAN, SUM and REDUCE_MAX."""
    op = call.node.op
    assert isinstance(op, Reduce)
    axes = call.integers("axes", normalize_axes(op.axes, call.x.type.rank))
    fields = {"KeepDims": op.keepdims}
    return Record(REDUCTIONS[type(op)], (call.x, axes), "ReducerOptions", fields)


def resize(call: Call) -> Record:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    op = call.node.op
    assert isinstance(op, ops.Resize)
    rank = call.x.type.rank
    plane = rank == 4 and normalize_axes(op.axes, rank) == (1, 2)
    require(plane, "axes that are not height and width of images")
    require(op.exists_in_tflite(call.x.type.shape), f"{op.mode} by {op.coordinates}")
    fields = {
        "AlignCorners": op.coordinates == "align_corners",
        "HalfPixelCenters": op.coordinates == "half_pixel",
    }
    size = call.integers("size", op.sizes)
    if op.mode == "linear":
        return Record("RESIZE_BILINEAR", (call.x, size), "ResizeBilinearOptions", fields)
    options = "ResizeNearestNeighborOptions"
    return Record("RESIZE_NEAREST_NEIGHBOR", (call.x, size), options, fields)


def softmax(call: Call) -> Record:
    """SOFTMAX and LOG_SOFTMAX over the last axis."""
    op = call.node.op
    assert isinstance(op, ops.Softmax | ops.LogSoftmax)
    last = normalize_axis(op.axis, call.x.type.rank) == call.x.type.rank - 1
    require(last, f"along axis {op.axis}, which is not the last")
    if isinstance(op, ops.Softmax):
        require(math.isfinite(op.beta), f"beta {op.beta}")
        return Record("SOFTMAX", (call.x,), "SoftmaxOptions", {"Beta": op.beta})
    return Record("LOG_SOFTMAX", (call.x,), "LogSoftmaxOptions")
