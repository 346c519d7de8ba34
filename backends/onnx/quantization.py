"""Integers for reals: QuantizeLinear and DequantizeLinear, and what these do not reach."""

from __future__ import annotations

import numpy as np

from irprune.backends.onnx.terms import Apply, Attribute, Call, Constant, Operand, Term, require
from irprune.frontends.onnx.tensors import DTYPES
from irprune.ir import ops
from irprune.ir.types import Array, DType, Quant, TensorType

NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
"""ONNX's numbers of element types."""

_NARROW = (DType.I8, DType.U8, DType.I16, DType.U16)


def quantize(call: Call) -> Term:
    """The operand itself: whatever it is, it is stored as the result declares."""
    return cast(call.x, DType.F32) if call.type.quant is None else call.x


def dequantize(call: Call) -> Term:
    """The reals that the operand stands for."""
    op, (value,) = call.node.op, call.node.inputs
    assert isinstance(op, ops.Dequantize)
    y = real(Operand(value), value.name, value.type)
    return y if op.dtype is DType.F32 else cast(y, op.dtype)


def real(x: Term | None, name: str, t: TensorType) -> Apply:
    """The float32 reals that integers of a type stand for; ``name`` is that of the value."""
    quant = t.quant
    assert quant is not None
    zeros = np.asarray(quant.zero_point)
    if t.dtype in _NARROW or (t.dtype is DType.I32 and not zeros.any()):
        scale, zero, axis = _parameters(name, t, quant)
        operands = (x, scale, zero) if t.dtype in _NARROW else (x, scale)
        return Apply("DequantizeLinear", operands, axis)
    scales, zeros = quant.along(t.rank)
    centred = Apply("Sub", (cast(x, DType.I64), Constant(f"{name}.zero_point", zeros)))
    scale = Constant(f"{name}.scale", scales.astype(np.float32))
    return Apply("Mul", (cast(centred, DType.F32), scale))


def stored(x: Term | None, name: str, t: TensorType) -> Apply:
    """Float32 reals as the integers of a type that stand for them; halves are rounded to even.

    Raises:
        UnsupportedOp: the integers have 64 bits.
    """
    quant = t.quant
    assert quant is not None
    if isinstance(x, Apply) and x.kind == "Transpose" and quant.axis is None:
        # Runtimes compute in integers what stands right between the two.
        return Apply("Transpose", (stored(x.inputs[0], name, t),), x.attributes)
    if t.dtype in _NARROW:
        scale, zero, axis = _parameters(name, t, quant)
        return Apply("QuantizeLinear", (x, scale, zero), axis)
    require(t.dtype.itemsize == 4, f"reals cannot be stored as {t.dtype.value}")
    scales, zeros = quant.along(t.rank)
    whole = Apply("Round", (Apply("Div", (x, _floats(f"{name}.scale", scales, np.float32))),))
    # Single precision has no room for the zero point, nor for the limits of 32 bits.
    shifted = Apply("Add", (cast(whole, DType.F64), _floats(f"{name}.zero_point", zeros)))
    low, high = (_floats(f"{name}.limit", np.asarray(limit)) for limit in t.dtype.limits)
    return cast(Apply("Clip", (shifted, low, high)), t.dtype)


def cast(x: Term | None, dtype: DType) -> Apply:
    """The operand in another element type."""
    return Apply("Cast", (x,), {"to": NUMBERS[dtype]})


def _parameters(
    name: str, t: TensorType, quant: Quant
) -> tuple[Constant, Constant, dict[str, Attribute]]:
    """Scale, zero point and axis as ONNX has them."""
    several = len(quant.scale) > 1
    scale = np.asarray(quant.scale if several else quant.scale[0], np.float32)
    zero = np.asarray(quant.zero_point if several else quant.zero_point[0], t.dtype.numpy)
    axis: dict[str, Attribute] = {"axis": quant.axis} if several else {}
    return Constant(f"{name}.scale", scale), Constant(f"{name}.zero_point", zero), axis


def _floats(name: str, array: Array, dtype: type[np.floating] = np.float64) -> Constant:
    return Constant(name, array.astype(dtype))
