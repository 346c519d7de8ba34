"""Normalizations and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from irprune.frontends.torch_export.call import Call, Operand, Result, lower
from irprune.ir.graph import Value
from irprune.ir.ops import (
    Add,
    BatchNorm,
    Div,
    LayerNorm,
    LogSoftmax,
    Mul,
    ReduceMean,
    Reshape,
    Softmax,
    Sqrt,
    Sub,
)


@lower("aten.batch_norm.default")
def batch_norm(
    call: Call,
    input: Value,
    weight: Operand | None,
    bias: Operand | None,
    running_mean: Operand | None,
    running_var: Operand | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Result:
    """By the running statistics; a layer that keeps none normalizes by its input's."""
    if running_mean is None or running_var is None:
        axes = tuple(axis for axis in range(input.type.rank) if axis != 1)
        return _affine(call, _standardized(call, input, axes, eps), weight, bias)
    call.require(not training, "is in training mode (call eval() before exporting)")
    channels = input.type.shape[1]
    gamma = torch.ones(channels, dtype=call.element) if weight is None else weight
    beta = torch.zeros(channels, dtype=call.element) if bias is None else bias
    scale, shift = call.value(gamma, "weight"), call.value(beta, "bias")
    return call.add(BatchNorm(eps), input, scale, shift, running_mean, running_var)


@lower("aten._native_batch_norm_legit_no_training.default")
def batch_norm_no_training(call: Call, **arguments: Any) -> Result:
    """batch_norm, decomposed, that is not training."""
    return _without_statistics(batch_norm(call, training=False, **arguments))


@lower("aten._native_batch_norm_legit.no_stats")
def batch_norm_no_stats(call: Call, **arguments: Any) -> Result:
    """batch_norm, decomposed, without running statistics."""
    y = batch_norm(call, running_mean=None, running_var=None, **arguments)
    return _without_statistics(y)


@lower("aten.layer_norm.default")
def layer_norm(
    call: Call,
    input: Value,
    normalized_shape: Sequence[int],
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
    cudnn_enable: bool = False,
) -> Result:
    """Over the last axes."""
    gamma = torch.ones(tuple(normalized_shape), dtype=call.element) if weight is None else weight
    beta = [] if bias is None else [bias]
    return call.add(
        LayerNorm(-len(normalized_shape), eps), input, call.value(gamma, "weight"), *beta
    )


@lower("aten.native_layer_norm.default")
def native_layer_norm(call: Call, **arguments: Any) -> Result:
    """layer_norm, decomposed."""
    return _without_statistics(layer_norm(call, **arguments))


@lower("aten.group_norm.default")
def group_norm(
    call: Call,
    input: Value,
    num_groups: int,
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
    cudnn_enabled: bool = False,
) -> Result:
    """Over the channels of a group and all positions."""
    batch = input.type.shape[0]
    inner = math.prod(input.type.shape[1:]) // num_groups
    groups = call.add(Reshape((batch, num_groups, inner)), input)
    y = call.add(Reshape(call.shape), _standardized(call, groups, (2,), eps))
    return _affine(call, y, weight, bias)


@lower("aten.native_group_norm.default")
def native_group_norm(call: Call, group: int, N: int, C: int, HxW: int, **arguments: Any) -> Result:
    """group_norm, decomposed; the sizes it repeats are the operand's."""
    return _without_statistics(group_norm(call, num_groups=group, **arguments))


@lower("aten.instance_norm.default")
def instance_norm(
    call: Call,
    input: Value,
    weight: Operand | None,
    bias: Operand | None,
    use_input_stats: bool,
    eps: float,
    **arguments: Any,
) -> Result:
    """Over the positions of each channel, or by running statistics where it uses those."""
    if not use_input_stats:
        return batch_norm(call, input, weight, bias, training=False, eps=eps, **arguments)
    y = _standardized(call, input, tuple(range(2, input.type.rank)), eps)
    return _affine(call, y, weight, bias)


@lower("aten.softmax.int")
def softmax(call: Call, self: Value, dim: int, dtype: torch.dtype | None = None) -> Value:
    """Along one axis."""
    return call.add(Softmax(dim), call.same(self))


@lower("aten._softmax.default")
def softmax_core(call: Call, self: Value, dim: int, half_to_float: bool) -> Result:
    """softmax, decomposed."""
    return softmax(call, self, dim)


@lower("aten.log_softmax.int")
def log_softmax(call: Call, self: Value, dim: int, dtype: torch.dtype | None = None) -> Result:
    """Along one axis."""
    return call.add(LogSoftmax(dim), call.same(self))


@lower("aten._log_softmax.default")
def log_softmax_core(call: Call, self: Value, dim: int, half_to_float: bool) -> Result:
    """log_softmax, decomposed."""
    return log_softmax(call, self, dim)


def _standardized(call: Call, x: Value, axes: tuple[int, ...], eps: float) -> Value:
    """(x - mean) / sqrt(variance + eps), both over the axes."""
    centred = call.add(Sub(), x, call.add(ReduceMean(axes), x))
    variance = call.add(ReduceMean(axes), call.add(Mul(), centred, centred))
    deviation = call.add(Sqrt(), call.add(Add(), variance, call.same(eps)))
    return call.add(Div(), centred, deviation)


def _affine(call: Call, x: Value, weight: Operand | None, bias: Operand | None) -> Value:
    """Scale and shift each channel (axis 1)."""
    shape = (x.type.shape[1], *[1] * (x.type.rank - 2))
    for op, factor in ((Mul(), weight), (Add(), bias)):
        if isinstance(factor, torch.Tensor):
            x = call.add(op, x, factor.reshape(shape))
        elif factor is not None:
            x = call.add(op, x, call.add(Reshape(shape), factor))
    return x


def _without_statistics(y: Result) -> Result:
    """The output of an operator whose other two are for the backward pass."""
    assert not isinstance(y, tuple)
    return (y, None, None)
