"""Rows of the table for what moves elements, reduces axes, or looks along one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from irprune.backends.onnx.elements import activated
from irprune.backends.onnx.layers import images, in_layout
from irprune.backends.onnx.terms import Apply, Attribute, Call, Part, Term, reshape, transpose
from irprune.ir import ops
from irprune.ir.op import normalize_axes, normalize_axis
from irprune.ir.ops.reduce import Reduce
from irprune.ir.types import Shape


def view(call: Call) -> Term:
    """Reshape to whatever the shape of the result is."""
    return reshape(call, call.x, call.output.shape)


def identity(call: Call) -> Term:
    """Identity."""
    return Apply("Identity", (call.x,))


def flatten(call: Call) -> Term:
    """Flatten where it leaves the first axis alone, as ONNX's does."""
    op, rank = call.node.op, call.type.rank
    assert isinstance(op, ops.Flatten)
    if rank > 1 and (op.start % rank, op.end % rank) == (1, rank - 1):
        return Apply("Flatten", (call.x,), {"axis": 1})
    return view(call)


def squeeze(call: Call) -> Term:
    """Squeeze; of no axes it would drop all of size 1."""
    op = call.node.op
    assert isinstance(op, ops.Squeeze)
    if not op.axes:
        return identity(call)
    return Apply("Squeeze", (call.x, call.integers("axes", op.axes)))


def unsqueeze(call: Call) -> Term:
    """Unsqueeze."""
    op = call.node.op
    assert isinstance(op, ops.Unsqueeze)
    return Apply("Unsqueeze", (call.x, call.integers("axes", op.axes)))


def transposition(call: Call) -> Term:
    """Transpose."""
    op = call.node.op
    assert isinstance(op, ops.Transpose)
    return transpose(call.x, op.perm)


def expand(call: Call) -> Term:
    """Expand."""
    return Apply("Expand", (call.x, call.integers("shape", call.output.shape)))


def concat(call: Call) -> Term:
    """Concat."""
    op = call.node.op
    assert isinstance(op, ops.Concat)
    return Apply("Concat", call.operands(), {"axis": op.axis})


def split(call: Call) -> tuple[Term, ...]:
    """Split."""
    op = call.node.op
    assert isinstance(op, ops.Split)
    sizes = call.integers("split", op.sizes)
    parts = Apply("Split", (call.x, sizes), {"axis": op.axis}, len(op.sizes))
    return tuple(Part(parts, i) for i in range(len(op.sizes)))


def slice_(call: Call) -> Term:
    """Slice."""
    op = call.node.op
    assert isinstance(op, ops.Slice)
    ends = []
    for axis, start, size, step in zip(op.axes, op.starts, op.sizes, op.steps, strict=True):
        end = start + size * step
        # A negative end counts from the back: what ends before the first element ends this far.
        ends.append(end if end >= 0 else -call.type.shape[axis] - 1)
    lists = {"starts": op.starts, "ends": ends, "axes": op.axes, "steps": op.steps}
    return Apply("Slice", (call.x, *(call.integers(k, v) for k, v in lists.items())))


def pad(call: Call) -> Term:
    """Pad."""
    op = call.node.op
    assert isinstance(op, ops.Pad)
    pads = call.integers("pads", [end for side in zip(*op.padding, strict=True) for end in side])
    fill = (call.like("value", op.value),) if op.mode == "constant" else ()
    return Apply("Pad", (call.x, pads, *fill), {"mode": op.mode})


def gather(call: Call) -> Term:
    """Gather."""
    op = call.node.op
    assert isinstance(op, ops.Gather)
    return taken(call, call.x, np.reshape(op.indices, op.indices_shape), op.axis, "indices")


def taken(call: Call, x: Term, indices: object, axis: int, part: str) -> Apply:
    """Elements of an axis."""
    return Apply("Gather", (x, call.integers(part, indices)), {"axis": axis})


def depth_to_space(call: Call) -> Term:
    """DepthToSpace."""
    op = call.node.op
    assert isinstance(op, ops.DepthToSpace)
    attributes: dict[str, Attribute] = {"blocksize": op.block, "mode": op.mode}
    return in_layout(Apply("DepthToSpace", (images(call, op.layout),), attributes), op.layout)


def space_to_depth(call: Call) -> Term:
    """SpaceToDepth."""
    op = call.node.op
    assert isinstance(op, ops.SpaceToDepth)
    y = Apply("SpaceToDepth", (images(call, op.layout),), {"blocksize": op.block})
    return in_layout(y, op.layout)


def reduction(call: Call) -> Term:
    """ReduceMean, ReduceSum and ReduceMax; of no axes they would reduce all."""
    op = call.node.op
    assert isinstance(op, Reduce)
    if not op.axes:
        return identity(call)
    axes, kept = call.integers("axes", op.axes), {"keepdims": int(op.keepdims)}
    return Apply(type(op).__name__, (call.x, axes), kept)


def batch_norm(call: Call) -> Term:
    """BatchNormalization, whose channels are axis 1."""
    op = call.node.op
    assert isinstance(op, ops.BatchNorm)
    shape = call.type.shape
    axis = normalize_axis(op.axis, len(shape))
    flat = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
    x = call.x if axis == 1 else reshape(call, call.x, flat)
    y = Apply("BatchNormalization", (x, *call.operands(1)), {"epsilon": op.epsilon})
    return activated(call, y if axis == 1 else reshape(call, y, shape, "shape.back"))


def layer_norm(call: Call) -> Term:
    """LayerNormalization."""
    op = call.node.op
    assert isinstance(op, ops.LayerNorm)
    attributes: dict[str, Attribute] = {"axis": op.axis, "epsilon": op.epsilon}
    return Apply("LayerNormalization", call.operands(), attributes)


def lrn(call: Call) -> Term:
    """LRN, whose channels are axis 1 of images.

    Runtimes have it for odd sizes alone; others are spelled out, squares averaged by a pool.
    """
    op = call.node.op
    assert isinstance(op, ops.LRN)
    shape = call.type.shape
    axis = normalize_axis(op.axis, len(shape))
    outer, channels, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    if op.size % 2:
        attributes = {"size": op.size, "alpha": op.alpha, "beta": op.beta, "bias": op.k}
        if axis == 1 and len(shape) == 4:
            return Apply("LRN", (call.x,), attributes)
        x = reshape(call, call.x, (outer, channels, inner, 1))
        return reshape(call, Apply("LRN", (x,), attributes), shape, "shape.back")
    x = reshape(call, call.x, (outer, 1, channels, inner))
    window: dict[str, Attribute] = {
        "kernel_shape": (op.size, 1),
        "pads": ((op.size - 1) // 2, 0, op.size // 2, 0),
        "count_include_pad": 1,
    }
    mean = Apply("AveragePool", (Apply("Mul", (x, x)),), window)
    weighted = Apply("Mul", (mean, call.like("alpha", op.alpha)))
    base = Apply("Add", (weighted, call.like("k", op.k)))
    y = Apply("Div", (x, Apply("Pow", (base, call.like("beta", op.beta)))))
    return reshape(call, y, shape, "shape.back")


def resize(call: Call) -> Term:
    """Resize, where every runtime makes of it what the node does; else it is spelled out."""
    op, shape = call.node.op, call.type.shape
    assert isinstance(op, ops.Resize)
    axes = normalize_axes(op.axes, len(shape))
    if not (_nearest_is_certain if op.mode == "nearest" else _is_of_images)(op, shape, axes):
        return _interpolated(call, op)
    attributes: dict[str, Attribute] = {
        "mode": op.mode,
        "coordinate_transformation_mode": op.coordinates,
        "nearest_mode": op.rounding if op.mode == "nearest" else None,
        "axes": axes,
    }
    lengths = [shape[axis] for axis in axes]
    if op.scales == tuple(size / n for size, n in zip(op.sizes, lengths, strict=True)):
        return Apply("Resize", (call.x, None, None, call.integers("sizes", op.sizes)), attributes)
    scales = call.floats("scales", op.scales)
    floored = tuple(np.floor(np.asarray(lengths, np.float32) * scales.array))
    # Where no size changes, onnxruntime copies, whatever the scales are.
    if floored == op.sizes != tuple(lengths):
        return Apply("Resize", (call.x, None, scales), attributes)
    return _interpolated(call, op)


def _is_of_images(op: ops.Resize, shape: Shape, axes: Sequence[int]) -> bool:
    """Whether height and width of images are resized: all that runtimes interpolate along."""
    return len(shape) == 4 and (set(axes) <= {2, 3} or set(axes) <= {1, 2})


def _nearest_is_certain(op: ops.Resize, shape: Shape, axes: Sequence[int]) -> bool:
    """Whether no rounding of what runtimes compute can decide for another neighbour."""
    for axis, size, scale in zip(axes, op.sizes, op.scales, strict=True):
        at = op.positions(shape[axis], size, scale)
        past = at + 0.5 if op.rounding.startswith("round") else at
        close = np.abs(past - np.rint(past)) < 1e-5 * (1 + np.abs(at))
        # One division, of numbers that single precision has, gives whole numbers where it should.
        divides = op.coordinates == "align_corners" or scale == float(np.float32(scale))
        if close.any() and (op.coordinates == "half_pixel_symmetric" or not divides):
            return False
    return True


def _interpolated(call: Call, op: ops.Resize) -> Term:
    """Each axis resized in turn: neighbours gathered, and added by their weights."""
    y = call.x
    for axis, size, scale in zip(op.axes, op.sizes, op.scales, strict=True):
        n, rank = call.type.shape[axis], call.type.rank
        if op.mode == "nearest":
            y = taken(call, y, op.nearest(n, size, scale), axis, f"nearest{axis}")
            continue
        at = np.clip(op.positions(n, size, scale), 0, n - 1)
        low = np.floor(at)
        weight = (at - low).reshape([-1 if a == axis % rank else 1 for a in range(rank)])
        sides = ((low, 1 - weight, "low"), (np.minimum(low + 1, n - 1), weight, "high"))
        parts = [
            Apply(
                "Mul",
                (
                    taken(call, y, index, axis, f"{side}{axis}"),
                    call.like(f"{side}{axis}.weight", share),
                ),
            )
            for index, share, side in sides
        ]
        y = Apply("Add", parts)
    return y
