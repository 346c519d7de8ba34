"""What exporters compute with constants alone: shapes, ranges, comparisons, casts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from irprune.frontends.onnx.call import Call, Lowering
from irprune.frontends.onnx.scope import repeated
from irprune.frontends.onnx.tensors import dtype_of
from irprune.ir.errors import InvalidModel, InvalidType
from irprune.ir.graph import Value
from irprune.ir.op import normalize_axes
from irprune.ir.ops import Dequantize, Identity
from irprune.ir.types import Array, DType, Quant

AS_INTEGERS = Quant((1.0,), (0,))
"""The quantization under which integers stand for themselves."""


def constant(call: Call) -> Value:
    """Constant, in any of the forms that hold numbers."""
    array = call.tensor("value")
    if array is None and call.has_attribute("value_float"):
        array = np.asarray(call.float_("value_float"), np.float32)
    if array is None and call.has_attribute("value_int"):
        array = np.asarray(call.int_("value_int"), np.int64)
    if array is None and (floats := call.float_list("value_floats")) is not None:
        array = np.asarray(floats, np.float32)
    if array is None and (ints := call.int_list("value_ints")) is not None:
        array = np.asarray(ints, np.int64)
    call.expect(array is not None, "a constant that is no dense tensor of numbers")
    return call.constant(np.asarray(array))


def constant_of_shape(call: Call) -> Value:
    """ConstantOfShape, without memory for more than its one element."""
    element = call.tensor("value")
    if element is None:
        element = np.zeros(1, np.float32)
    if element.size != 1:
        raise InvalidModel(f"has {element.size} values to repeat")
    return call.constant(repeated(element.reshape(()), call.ints(0, "shape")))


def shape(call: Call) -> Value:
    """Shape, which is constant of any tensor."""
    x = call.operand(0)
    start, end = call.int_("start", 0), call.int_("end", x.type.rank)
    return call.constant(np.asarray(x.type.shape[start:end], np.int64))


def size(call: Call) -> Value:
    """Size, likewise."""
    return call.constant(np.asarray(call.operand(0).type.elements, np.int64))


def range_(call: Call) -> Value:
    """Range of constant bounds."""
    bounds = [call.array(i, what) for i, what in enumerate(("start", "limit", "delta"))]
    start, limit, delta = (call.scalar(i, "bound") for i in range(3))
    if not all(map(math.isfinite, (start, limit, delta))) or delta == 0:
        raise InvalidType(f"ranges from {start} to {limit} by {delta}")
    count = max(math.ceil((limit - start) / delta), 0)
    call.scope.spend(count * bounds[0].itemsize)
    return call.constant((start + delta * np.arange(count)).astype(bounds[0].dtype))


def cast(call: Call) -> Value:
    """Cast of a constant, to the type that something has, or of integers to what they stand for."""
    call.ignore("saturate", "round_mode")  # of eight-bit floats
    return _cast(call, dtype_of(call.int_("to")))


def cast_like(call: Call) -> Value:
    """CastLike, likewise."""
    call.ignore("saturate", "round_mode")
    return _cast(call, call.operand(1).type.dtype)


def _cast(call: Call, dtype: DType) -> Value:
    x = call.value(0)
    array = call.scope.array(x)
    if x.type.dtype == dtype:
        return call.emit(Identity(), x)
    if array is not None and x.type.quant in (None, AS_INTEGERS):
        call.scope.spend(array.size * dtype.itemsize)
        with np.errstate(all="ignore"):
            return call.constant(array.astype(dtype.numpy))
    casts = f"casts {x.type.dtype.value} to {dtype.value}"
    call.expect(x.type.quant == AS_INTEGERS and dtype.is_float, casts)
    return call.emit(Dequantize(dtype), x)


def where(call: Call) -> Value:
    """Where of constants."""
    arrays = [call.array(i, what) for i, what in enumerate(("condition", "x", "y"))]
    return _evaluated(call, np.where, arrays)


def elementwise(function: Callable[..., Array]) -> Lowering:
    """The lowering of an element-wise operator that is known on constants alone."""

    def lower(call: Call) -> Value:
        return _evaluated(call, function, [call.array(i, "operand") for i in range(call.count)])

    return lower


def _evaluated(call: Call, function: Callable[..., Array], arrays: list[Array]) -> Value:
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        raise InvalidType("its operands do not broadcast") from None
    call.scope.spend(math.prod(shape) * max(array.itemsize for array in arrays))
    with np.errstate(all="ignore"):
        return call.constant(np.asarray(function(*arrays)))


def mod(call: Call) -> Value:
    """Mod with the sign of the divisor, or of the dividend where ``fmod`` is set."""
    function = np.fmod if call.int_("fmod", 0) else np.mod
    return _evaluated(call, function, [call.array(i, "operand") for i in (0, 1)])


def reduction(function: Callable[..., Array], axes_since: int) -> Lowering:
    """The lowering of a reduction that is known on constants alone."""

    def lower(call: Call) -> Value:
        array = call.array(0, "operand")
        axes = call.int_list("axes") if call.opset < axes_since else call.optional_ints(1, "axes")
        keepdims = bool(call.int_("keepdims", 1))
        if call.int_("noop_with_empty_axes", 0) and not axes:
            return call.constant(array)
        along = normalize_axes(axes or range(array.ndim), array.ndim)
        call.expect(array.size > 0, "reduces nothing")
        with np.errstate(all="ignore"):
            reduced = function(array, axis=along, keepdims=keepdims)
        return call.constant(np.asarray(reduced, array.dtype))

    return lower


def nonzero(call: Call) -> Value:
    """NonZero of a constant."""
    array = call.array(0, "operand")
    call.scope.spend(array.size * max(array.ndim, 1) * 8)
    return call.constant(np.stack(np.nonzero(np.atleast_1d(array))).astype(np.int64))


def tile(call: Call) -> Value:
    """Tile of a constant."""
    array, repeats = call.array(0, "operand"), call.ints(1, "repeats")
    if len(repeats) != array.ndim or min(repeats, default=0) < 0:
        raise InvalidType(f"{repeats} are not repeats of {array.ndim} axes")
    call.scope.spend(array.nbytes * math.prod(repeats))
    return call.constant(np.tile(array, repeats))
