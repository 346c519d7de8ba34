"""Whether, and in which types, an operator can run on integers instead of reals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from irprune.ir import ops
from irprune.ir.errors import InvalidType
from irprune.ir.fixed_point import Multiplier
from irprune.ir.integer import Clamp, quantization, scale, zero_point
from irprune.ir.op import Op
from irprune.ir.ops.binary import Arithmetic
from irprune.ir.ops.pointwise import Unary
from irprune.ir.ops.pool import Pool
from irprune.ir.ops.reduce import Reduce
from irprune.ir.types import Array, DType, Quant, TensorType
from irprune.passes.rewrite.patterns import activation_of

Linear = ops.Conv2d | ops.ConvTranspose2d | ops.Dense | ops.MatMul

IN_16_BITS = (
    *(ops.Conv2d, ops.ConvTranspose2d, ops.Dense, ops.MatMul, ops.AveragePool2d),
    *(ops.Add, ops.Sub, ops.Mul, ops.Relu, ops.LeakyRelu, ops.Abs, ops.ReduceMean, ops.ReduceSum),
)
"""Operators with integer arithmetic over activations of 16 bits.

TFLite's kernels have it for zero points of 0; with others, which onnxruntime's quantizer makes,
the formulas are the same and the registers one bit wider. The sums of reductions stay in 32 bits
for 2**14 terms.
"""

_BYTES = {DType.I8, DType.U8}
_SHORTS = {DType.I16, DType.U16}

COARSER = 1.5
"""How many times the scale of an output that of an intermediate may be, if it reaches as far.

Rounding to the intermediate moves a real by half of its scale, so by less than one step of the
output. One that ends earlier cuts reals off by up to its whole scale.
"""


def integer_output(op: Op, inputs: Sequence[TensorType], output: TensorType) -> TensorType | None:
    """The type in which integer arithmetic gives an operator's output.

    Args:
        op: the operator.
        inputs: the types of its operands as they are stored, a bias left out.
        output: the type in which the output is wanted.

    Returns:
        ``output``, or a type of about its precision that has to be requantized to it; None where
        the operator has no integer arithmetic for these operands.
    """
    if not _are_storable(op, inputs, output) or len(quantization(inputs[0]).scale) > 1:
        return None
    accepts = _multiplies if isinstance(op, Linear) else _runs
    return next((t for t in _candidates(op, inputs[0], output) if accepts(op, inputs, t)), None)


def integer_bias(
    real: Array, x: TensorType, w: TensorType, output: TensorType
) -> tuple[Array, Quant] | None:
    """A bias in the scale of the products it is added to.

    It is as wide as the sums that start from it: 32 bits, or 64 (of which 48 are used) over
    activations of 16. None where that does not hold it, or is too coarse for the output.
    """
    wide = x.dtype.itemsize == 2
    scales = scale(x) * np.asarray(quantization(w).scale, np.float64)
    whole = np.rint(real.astype(np.float64) / scales)
    low, high = (-(2**47), 2**47 - 1) if wide else DType.I32.limits
    fits = np.all((whole >= low) & (whole <= high))
    if not fits or np.any(np.abs(whole * scales - real) > scale(output) / 2):
        return None
    axis = None if scales.size == 1 else 0
    stored = whole.astype(np.int64 if wide else np.int32)
    return stored, Quant(tuple(scales.tolist()), (0,) * scales.size, axis)


def _are_storable(op: Op, inputs: Sequence[TensorType], output: TensorType) -> bool:
    """Whether these types are of 8 bits, or of 16 where the operator has arithmetic for them."""
    dtypes = {t.dtype for t in (*inputs, output)}
    if any(t.quant is None for t in (*inputs, output)) or not dtypes <= {*_BYTES, *_SHORTS}:
        return False
    if dtypes <= _BYTES:
        return True
    long = isinstance(op, Reduce) and inputs[0].elements > output.elements << 14
    alike = inputs[0].dtype == output.dtype
    return isinstance(op, IN_16_BITS) and alike and output.dtype in _SHORTS and not long


def _candidates(op: Op, x: TensorType, output: TensorType) -> Iterator[TensorType]:
    """Types the output may have, the wanted one first."""
    if not isinstance(op, ops.Relu6) or x.quant == output.quant:  # it clamps the integers it gets
        yield output
    low, _ = output.dtype.limits
    match op:
        case Pool() | ops.Resize() | ops.Relu6() if x.dtype == output.dtype:
            other = quantization(x)
        case ops.Sigmoid() | ops.Softmax():
            other = Quant((1 / 256,), (low,))
        case ops.Tanh():
            other = Quant((1 / 128,), (low + 128,))
        case ops.LogSoftmax():
            other = Quant((1 / 16,), (low + 255,))
        case _:
            return
    between = replace(output, quant=other)
    most = COARSER if _covers(between, output) else 1.0
    if scale(between) <= most * scale(output):
        yield between


def _covers(one: TensorType, other: TensorType) -> bool:
    """Whether one type reaches, but for rounding, as far as another."""
    reach = [(limit - zero_point(t)) * scale(t) for t in (one, other) for limit in t.dtype.limits]
    rounding = scale(one) / 2
    return bool(reach[0] - rounding <= reach[2] and reach[3] <= reach[1] + rounding)


def _multiplies(op: Op, inputs: Sequence[TensorType], output: TensorType) -> bool:
    """Whether the sums of products of a linear operator can be rescaled to the output."""
    x, w = inputs
    activation = activation_of(op)
    if quantization(w).axis not in (None, _output_axis(op)) or x.dtype != output.dtype:
        return False
    try:
        Multiplier.of(scale(x) * np.asarray(quantization(w).scale) / scale(output))
    except InvalidType:
        return False
    return activation is None or isinstance(activation, Clamp)


def _output_axis(op: Op) -> int | None:
    """The axis of output channels in the weights; None where there may be only one scale."""
    match op:
        case ops.Conv2d() | ops.Dense() | ops.ConvTranspose2d(layout="NHWC"):
            return 0
        case ops.ConvTranspose2d(groups=1):
            return 1
        case _:
            return None


def _runs(op: Op, inputs: Sequence[TensorType], output: TensorType) -> bool:
    """Whether the operator's integer arithmetic takes these types, found by running it on ones."""
    if isinstance(op, Unary | Arithmetic):  # shapes do not matter
        inputs = [replace(t, shape=(1,) * t.rank) for t in inputs]
    try:
        made = op.infer(inputs)[0]
        if made.dtype != output.dtype or made.quant not in (None, output.quant):
            return False
        args = [np.full(t.shape, _one(t), t.dtype.numpy) for t in inputs]
        with np.errstate(all="ignore"):
            op.evaluate_quantized(args, inputs, [replace(output, shape=made.shape)])
    except InvalidType:
        return False
    return True


def _one(t: TensorType) -> int:
    """A stored integer that stands for no zero."""
    zero = quantization(t).zero_point[0]
    return zero + (1 if zero < t.dtype.limits[1] else -1)
