"""Convolutions and matrix products: everything that multiplies by weights."""

from __future__ import annotations

import numpy as np

from irprune.frontends.onnx.call import Call, expect_rank
from irprune.frontends.onnx.scope import Operand, Stored
from irprune.frontends.onnx.windows import (
    AUTO_PAD,
    as_padding,
    halved,
    over_space,
    pair,
    reach,
    read_window,
    sized,
    spatial_size,
)
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import (
    Add,
    Conv2d,
    ConvTranspose2d,
    Dense,
    MatMul,
    Mul,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from irprune.ir.ops.conv import Pair
from irprune.ir.types import dims

_SWAP = Transpose((1, 0))


def conv(call: Call) -> Value:
    """Conv of one or two spatial dimensions."""
    return convolve(call, call.operand(0), call.operand(1), call.optional(2))


def convolve(
    call: Call, x: Operand, weights: Operand, bias: Operand | None, part: str = ""
) -> Value:
    """A convolution of operands, by the node's attributes."""
    window = read_window(call, x, _kernel(call, x, weights))
    op = Conv2d(window.stride, window.padding, window.dilation, call.int_("group", 1))
    return over_space(call, op, x, weights, *_present(bias), part=part)


def conv_transpose(call: Call) -> Value:
    """ConvTranspose of one or two spatial dimensions."""
    x, weights = call.operand(0), call.operand(1)
    kernel = _kernel(call, x, weights)
    size = spatial_size(x)
    n = len(size)
    stride, dilation = sized(call, "strides", n, 1), sized(call, "dilations", n, 1)
    if min(*stride, *dilation) < 1:
        raise InvalidType("strides and dilations must be positive")
    extra = sized(call, "output_padding", n, 0)
    full = [(size[i] - 1) * stride[i] + reach(kernel, dilation, i) + extra[i] for i in range(n)]
    padding, longer = _cut(call, full, [s * k for s, k in zip(size, stride, strict=True)])
    op = ConvTranspose2d(
        pair(stride, 1),
        as_padding(padding),
        pair([e + more for e, more in zip(extra, longer, strict=True)], 0),
        pair(dilation, 1),
        call.int_("group", 1),
    )
    return over_space(call, op, x, weights, *_present(call.optional(2)))


def _cut(call: Call, full: list[int], same: list[int]) -> tuple[list[Pair], list[int]]:
    """What is cut from the full output at both ends, or is added to its end.

    Args:
        call: the node.
        full: the sizes of the output without padding.
        same: the sizes that SAME padding gives.
    """
    n = len(full)
    mode = call.text("auto_pad", "NOTSET", *AUTO_PAD)
    pads = sized(call, "pads", 2 * n, 0)
    call.expect(min(pads) >= 0, "negative pads are not supported")
    wanted = call.int_list("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        explicit = mode == "NOTSET"
        return [(pads[i] * explicit, pads[n + i] * explicit) for i in range(n)], [0] * n
    sizes = same if wanted is None else wanted
    if len(sizes) != n:
        raise InvalidType(f"output_shape has {len(sizes)} numbers, not {n}")
    total = [found - size for found, size in zip(full, sizes, strict=True)]
    return [halved(max(t, 0), mode) for t in total], [max(-t, 0) for t in total]


def _kernel(call: Call, x: Operand, weights: Operand) -> tuple[int, ...]:
    """The size of the window, which the weights have and the attribute may repeat."""
    expect_rank(weights, len(spatial_size(x)) + 2)
    kernel = weights.type.shape[2:]
    repeated = call.int_list("kernel_shape")
    if repeated not in (None, kernel):
        raise InvalidType(f"kernel_shape is {repeated} and the weights {dims(weights.type.shape)}")
    return kernel


def gemm(call: Call) -> Value:
    """Gemm: alpha * A @ B + beta * C, A and B transposed first if asked."""
    return affine(call, call.operand(0), call.operand(1), call.optional(2))


def affine(call: Call, a: Operand, b: Operand, c: Operand | None, part: str = "") -> Value:
    """Alpha * a @ b + beta * c, by the node's attributes; Dense where b is constant."""
    expect_rank(a, 2)
    expect_rank(b, 2)
    alpha, beta = call.float_("alpha", 1.0), call.float_("beta", 1.0)
    if call.int_("transA", 0):
        a = call.emit(_SWAP, a, part="a")
    swapped = bool(call.int_("transB", 0))
    c = _scaled(call, c, beta, "beta") if c is not None and beta else None
    if not _is_constant(call, b):
        return _chain(call, (MatMul(transpose_b=swapped), a, b), alpha, c, part)
    weights = b if swapped else call.rearranged(b, _SWAP)
    if isinstance(weights, Value):
        weights, alpha = _scaled(call, weights, alpha, "alpha"), 1.0
    bias = _as_bias(call, c, weights.type.shape[0]) if alpha == 1 else None
    if bias is not None:
        return call.emit(Dense(), a, weights, bias, part=part)
    return _chain(call, (Dense(), a, weights), alpha, c, part)


def _chain(
    call: Call,
    product: tuple[Op, Operand, Operand],
    alpha: float,
    c: Operand | None,
    part: str,
) -> Value:
    """Alpha times a product, plus c."""
    steps: list[tuple[Op, Operand]] = []
    if alpha != 1:
        steps.append((Mul(), call.like(product[1], alpha, "alpha")))
    if c is not None:
        steps.append((Add(), c))
    return call.chain(product, *steps, part=part)


def matmul(call: Call) -> Value:
    """MatMul, as numpy's."""
    return multiply(call, call.operand(0), call.operand(1))


def multiply(call: Call, a: Operand, b: Operand, part: str = "") -> Value:
    """A @ b: Dense where b is a constant matrix; vectors are matrices of one row or column."""
    if min(a.type.rank, b.type.rank) < 1:
        raise InvalidType("wants operands of rank 1 or more")
    if b.type.rank == 2 and _is_constant(call, b):
        return call.emit(Dense(), a, call.rearranged(b, _SWAP), part=part)
    dropped: list[int] = []
    if a.type.rank == 1:
        a = call.emit(Unsqueeze((0,)), a, part="row")
        dropped.append(-2)
    if b.type.rank == 1:
        b = call.emit(Unsqueeze((1,)), b, part="column")
        dropped.append(-1)
    squeeze = [(Squeeze(tuple(dropped)),)] if dropped else []
    return call.chain((MatMul(), a, b), *squeeze, part=part)


def _present(operand: Operand | None) -> tuple[Operand, ...]:
    return () if operand is None else (operand,)


def _is_constant(call: Call, x: Operand) -> bool:
    return isinstance(x, Stored) or call.scope.array(x) is not None


def _scaled(call: Call, x: Operand, factor: float, part: str) -> Operand:
    """The operand times a number."""
    if factor == 1:
        return x
    return call.emit(Mul(), x, call.like(x, factor, f"{part}.factor"), part=part)


def _as_bias(call: Call, c: Operand | None, channels: int) -> Operand | None:
    """A constant as one element an output channel; None where it is not of that form."""
    if c is None or not _is_constant(call, c):
        return None
    if c.type.shape == (channels,):
        return c
    array = call.scope.array(c)
    if array is None or (array.size != 1 and array.shape != (1, channels)):
        return None
    return call.constant(np.broadcast_to(array.reshape(-1), (channels,)), "bias")
