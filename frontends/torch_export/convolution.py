"""Convolutions of one and two spatial dimensions, transposed ones too."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from irprune.frontends.torch_export.call import Call, Operand, Result, lower, shape_of
from irprune.frontends.torch_export.plane import over_plane, planar
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import Conv2d, ConvTranspose2d, Unsqueeze


@lower("aten.conv1d.default", "aten.conv2d.default")
def convolution(
    call: Call,
    input: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Result:
    """The same padding before and after."""
    pads = [(p, p) for p in padding]
    return _convolution(call, input, weight, bias, stride, pads, dilation, groups)


@lower("aten.conv1d.padding", "aten.conv2d.padding")
def convolution_padding(
    call: Call,
    input: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: str,
    dilation: Sequence[int],
    groups: int,
) -> Result:
    """Padding 'valid', or 'same', which puts an odd element at the end."""
    totals = [
        d * (k - 1) if padding == "same" else 0
        for k, d in zip(shape_of(weight)[2:], _each(dilation, weight), strict=True)
    ]
    pads = [(total // 2, total - total // 2) for total in totals]
    return _convolution(call, input, weight, bias, stride, pads, dilation, groups)


@lower("aten.conv_transpose1d.default", "aten.conv_transpose2d.input")
def conv_transpose(
    call: Call,
    input: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> Result:
    """Padding is cut from both ends of the output."""
    steps = (_each(numbers, weight) for numbers in (output_padding, stride, dilation))
    runs = all(p < max(s, d) for p, s, d in zip(*steps, strict=True))
    call.require(runs, "pads its output by its stride or more, and so is not run by torch")
    n = len(shape_of(weight)) - 2
    op = ConvTranspose2d(
        planar(stride, n, 1),
        planar([(p, p) for p in padding], n, (0, 0)),
        planar(output_padding, n, 0),
        planar(dilation, n, 1),
        groups,
    )
    return _over(call, op, input, weight, bias)


@lower("aten.convolution.default")
def convolution_core(
    call: Call,
    input: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Result:
    """Any of them, decomposed."""
    if transposed:
        return conv_transpose(
            call, input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return convolution(call, input, weight, bias, stride, padding, dilation, groups)


def _convolution(
    call: Call,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    n = len(shape_of(weight)) - 2
    op = Conv2d(planar(stride, n, 1), planar(pads, n, (0, 0)), planar(dilation, n, 1), groups)
    return _over(call, op, x, weight, bias)


def _over(call: Call, op: Op, x: Operand, weight: Operand, bias: Operand | None) -> Value:
    """Add a convolution, with weights of height 1 where it has one spatial dimension."""
    spatial = len(shape_of(weight)) - 2
    call.require(spatial in (1, 2), f"has {spatial} spatial dimensions")
    kernel = weight
    if spatial == 1 and isinstance(weight, torch.Tensor):
        kernel = weight.unsqueeze(2)
    elif spatial == 1:
        kernel = call.add(Unsqueeze((2,)), weight)
    biases = [] if bias is None else [bias]
    return over_plane(call, op, x, spatial, kernel, *biases)


def _each(numbers: Sequence[int], weight: Operand) -> Sequence[int]:
    """A number for each spatial dimension, where one may stand for all."""
    n = len(shape_of(weight)) - 2
    return list(numbers) * n if len(numbers) == 1 else numbers
