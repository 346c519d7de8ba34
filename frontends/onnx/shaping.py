"""Operators that move elements: shapes, slices, padding, reductions of axes to one element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np

from irprune.frontends.lowering import transposition
from irprune.frontends.onnx.call import Call, Lowering
from irprune.ir.errors import InvalidModel, InvalidType
from irprune.ir.graph import Value
from irprune.ir.op import normalize_axis
from irprune.ir.ops import (
    Concat,
    DepthToSpace,
    Expand,
    Flatten,
    Gather,
    Identity,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Reshape,
    Slice,
    SpaceToDepth,
    Split,
    Squeeze,
    Unsqueeze,
)
from irprune.ir.types import Shape, dims

PadMode = Literal["constant", "reflect", "edge"]


def reshape(call: Call) -> Value:
    """Reshape to a constant shape, where 0 keeps a size and -1 takes what is left."""
    x = call.value(0)
    wanted = call.ints(1, "shape")
    if not call.int_("allowzero", 0):
        wanted = tuple(
            x.type.shape[axis] if size == 0 and axis < x.type.rank else size
            for axis, size in enumerate(wanted)
        )
    return call.emit(Reshape(_completed(wanted, x.type.shape)), x)


def _completed(wanted: Shape, given: Shape) -> Shape:
    """The shape with its one size of -1 worked out."""
    if -1 not in wanted:
        return wanted
    rest = math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) > 1 or min(wanted) < -1 or not rest or math.prod(given) % rest:
        raise InvalidType(f"{dims(given)} cannot become {dims(wanted)}")
    missing = math.prod(given) // rest
    return tuple(missing if size == -1 else size for size in wanted)


def flatten(call: Call) -> Value:
    """Flatten to a matrix: the axes before ``axis``, and the rest."""
    x = call.value(0)
    shape = x.type.shape
    axis = call.int_("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise InvalidType(f"axis {axis} is not in {dims(shape)}")
    axis += len(shape) if axis < 0 else 0
    if axis == 1:
        return call.emit(Flatten() if len(shape) > 1 else Reshape((*shape, 1)), x)
    return call.emit(Reshape((math.prod(shape[:axis]), math.prod(shape[axis:]))), x)


def _axes(call: Call, since: int) -> tuple[int, ...] | None:
    """Axes, an attribute before opset ``since`` and an operand from it on."""
    return call.int_list("axes") if call.opset < since else call.optional_ints(1, "axes")


def squeeze(call: Call) -> Value:
    """Squeeze of the named axes, or of all of size 1."""
    x = call.value(0)
    axes = _axes(call, 13)
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(x.type.shape) if size == 1)
    return call.emit(Squeeze(axes), x)


def unsqueeze(call: Call) -> Value:
    """Unsqueeze."""
    axes = _axes(call, 13)
    if axes is None:
        raise InvalidModel("lacks axes")
    return call.emit(Unsqueeze(axes), call.value(0))


def transpose(call: Call) -> Value:
    """Transpose; without ``perm`` the axes are reversed."""
    x = call.value(0)
    order = call.int_list("perm") or tuple(reversed(range(x.type.rank)))
    if sorted(order) != list(range(x.type.rank)):
        raise InvalidType(f"{order} is no order of the axes of {dims(x.type.shape)}")
    return call.emit(transposition(x.type.shape, order), x)


def expand(call: Call) -> Value:
    """Expand to a constant shape and the operand's own, broadcast together."""
    x = call.value(0)
    wanted = call.ints(1, "shape")
    try:
        shape = np.broadcast_shapes(x.type.shape, wanted)
    except ValueError:
        raise InvalidType(f"{dims(x.type.shape)} does not broadcast to {wanted}") from None
    return call.emit(Expand(tuple(map(int, shape))), x)


def concat(call: Call) -> Value:
    """Concat."""
    return call.emit(Concat(call.int_("axis")), *call.operands())


def split(call: Call) -> tuple[Value, ...]:
    """Split into given parts, or as many as there are outputs, the last of which may be smaller."""
    x = call.value(0)
    axis = normalize_axis(call.int_("axis", 0), x.type.rank)
    sizes = call.int_list("split") if call.opset < 13 else call.optional_ints(1, "split")
    parts = len(call.outputs)
    if call.int_("num_outputs", parts) != parts or (sizes and len(sizes) != parts):
        raise InvalidModel(f"makes another number of parts than its {parts} outputs")
    if sizes is None:
        size = x.type.shape[axis]
        if size % parts and call.opset < 18:
            raise InvalidType(f"axis {axis} of {dims(x.type.shape)} has no {parts} equal parts")
        part = -(-size // parts)
        sizes = (*[part] * (parts - 1), size - part * (parts - 1))
    return call.emit_all(Split(axis, sizes), x)


def slice_(call: Call) -> Value:
    """Slice, its bounds attributes until opset 9 and operands since."""
    x = call.value(0)
    if call.opset < 10:
        starts, ends = call.int_list("starts"), call.int_list("ends")
        axes, steps = call.int_list("axes"), None
        if starts is None or ends is None:
            raise InvalidModel("lacks starts or ends")
    else:
        starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
        axes, steps = call.optional_ints(3, "axes"), call.optional_ints(4, "steps")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise InvalidType("has not one start, end and step other than 0 for each axis")
    axes = tuple(normalize_axis(axis, x.type.rank) for axis in axes)
    # Python's slices clamp bounds and count from the end exactly as ONNX does.
    ranges = [
        range(*slice(start, end, step).indices(x.type.shape[axis]))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]
    op = Slice(axes, tuple(r.start for r in ranges), tuple(map(len, ranges)), steps)
    return call.emit(op, x)


def pad(call: Call) -> Value:
    """Pad, its sizes attributes until opset 10 and operands since; a negative size cuts."""
    x = call.value(0)
    mode = cast(PadMode, call.text("mode", *get_args(PadMode)))
    if call.opset < 11:
        pads, axes, value = call.int_list("pads"), None, call.float_("value", 0.0)
        if pads is None:
            raise InvalidModel("lacks pads")
    else:
        pads, axes = call.ints(1, "pads"), call.optional_ints(3, "axes")
        value = call.scalar(2, "constant_value") if call.has(2) else 0.0
    axes = tuple(range(x.type.rank)) if axes is None else axes
    if len(pads) != 2 * len(axes):
        raise InvalidType(f"has {len(pads)} pads for {len(axes)} axes")
    both = [(0, 0)] * x.type.rank
    for i, axis in enumerate(axes):
        both[normalize_axis(axis, x.type.rank)] = (pads[i], pads[i + len(axes)])
    quant = x.type.quant
    if quant is not None:  # ONNX gives the integer to pad with, the IR the real it stands for
        value = (value - quant.zero_point[0]) * quant.scale[0]
    if min(map(min, both), default=0) < 0:
        x = call.emit(_cut(x.type.shape, both), x, part="cut")
        both = [(max(before, 0), max(after, 0)) for before, after in both]
    return call.emit(Pad(tuple(both), mode, value), x)


def _cut(shape: Shape, pads: Sequence[tuple[int, int]]) -> Slice:
    """What negative padding cuts off."""
    starts = tuple(max(-before, 0) for before, _ in pads)
    ends = [size - max(-after, 0) for size, (_, after) in zip(shape, pads, strict=True)]
    sizes = tuple(end - start for start, end in zip(starts, ends, strict=True))
    return Slice(tuple(range(len(shape))), starts, sizes, (1,) * len(shape))


def gather(call: Call) -> Value:
    """Gather by constant indices."""
    x = call.value(0)
    axis = normalize_axis(call.int_("axis", 0), x.type.rank)
    size = x.type.shape[axis]
    indices = call.ints(1, "indices")
    from_front = tuple(index + size if index < 0 else index for index in indices)
    return call.emit(Gather(from_front, call.operand(1).type.shape, axis), x)


def depth_to_space(call: Call) -> Value:
    """DepthToSpace."""
    mode: Literal["DCR", "CRD"] = "CRD" if call.text("mode", "DCR", "CRD") == "CRD" else "DCR"
    return call.emit(DepthToSpace(call.int_("blocksize"), mode), call.value(0))


def space_to_depth(call: Call) -> Value:
    """SpaceToDepth."""
    call.text("mode", "DCR")
    return call.emit(SpaceToDepth(call.int_("blocksize")), call.value(0))


def reduction(
    make: type[ReduceMean] | type[ReduceSum] | type[ReduceMax], axes_since: int
) -> Lowering:
    """The lowering of a reduction whose axes are an operand from opset ``axes_since`` on."""

    def lower(call: Call) -> Value:
        x = call.value(0)
        axes = _axes(call, axes_since)
        keepdims = bool(call.int_("keepdims", 1))
        nothing = call.int_("noop_with_empty_axes", 0)
        if not axes and nothing:
            return call.emit(Identity(), x)
        return call.emit(make(axes or tuple(range(x.type.rank)), keepdims), x)

    return lower
