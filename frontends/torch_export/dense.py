"""Matrix products; with constant weights they are dense layers."""

from __future__ import annotations

import torch

from irprune.frontends.torch_export.call import Call, Number, Operand, Result, lower, shape_of
from irprune.ir.graph import Value
from irprune.ir.ops import Add, Dense, MatMul, Mul, Reshape, Unsqueeze


@lower("aten.linear.default")
def linear(call: Call, input: Operand, weight: Operand, bias: Operand | None) -> Result:
    """The dense layer x @ w.T + b."""
    if isinstance(weight, torch.Tensor):
        return _dense(call, input, weight, bias)
    y = call.add(MatMul(transpose_b=True), input, weight)
    return y if bias is None else call.add(Add(), y, bias)


@lower("aten.matmul.default")
def matmul(call: Call, self: Operand, other: Operand) -> Result:
    """Vectors, matrices or stacks of them."""
    return product(call, self, other)


@lower("aten.mm.default", "aten.bmm.default")
def mm(call: Call, self: Operand, mat2: Operand) -> Result:
    """Two matrices, or stacks of them."""
    return product(call, self, mat2)


@lower("aten.mv.default")
def mv(call: Call, self: Operand, vec: Operand) -> Result:
    """A matrix and a vector."""
    return product(call, self, vec)


@lower("aten.dot.default")
def dot(call: Call, self: Operand, tensor: Operand) -> Result:
    """Two vectors."""
    return product(call, self, tensor)


@lower("aten.addmm.default")
def addmm(
    call: Call, self: Operand, mat1: Operand, mat2: Operand, beta: Number, alpha: Number
) -> Result:
    """The sum beta * self + alpha * mat1 @ mat2; with weights, the dense layer it was."""
    if beta == alpha == 1 and isinstance(mat2, torch.Tensor):
        return _dense(call, mat1, mat2.t(), self)
    return _sum(call, self, product(call, mat1, mat2), beta, alpha)


@lower("aten.baddbmm.default")
def baddbmm(
    call: Call, self: Operand, batch1: Operand, batch2: Operand, beta: Number, alpha: Number
) -> Result:
    """The sum beta * self + alpha * batch1 @ batch2."""
    return _sum(call, self, product(call, batch1, batch2), beta, alpha)


def product(call: Call, a: Operand, b: Operand) -> Value:
    """The product of vectors or (stacks of) matrices; a dense layer where b is weights."""
    if isinstance(b, torch.Tensor):
        matrix = _one_matrix(b)
        if matrix.ndim == 2 and (*shape_of(a)[:-1], matrix.shape[1]) == call.shape:
            return call.add(Dense(), a, matrix.t())
    rows = a if len(shape_of(a)) > 1 else call.add(Unsqueeze((0,)), a)
    columns = b if len(shape_of(b)) > 1 else call.add(Unsqueeze((1,)), b)
    y = call.add(MatMul(), rows, columns)
    return y if y.type.shape == call.shape else call.add(Reshape(call.shape), y)


def _dense(call: Call, x: Operand, weight: torch.Tensor, bias: Operand | None) -> Value:
    """The layer x @ weight.T + bias; a bias that is not one number an output is added."""
    if bias is None:
        return call.add(Dense(), x, weight)
    if isinstance(bias, torch.Tensor) and bias.shape == weight.shape[:1]:
        return call.add(Dense(), x, weight, bias)
    return call.add(Add(), call.add(Dense(), x, weight), bias)


def _one_matrix(weights: torch.Tensor) -> torch.Tensor:
    """The matrix that a stack repeats, as decomposed dense layers expand theirs."""
    while weights.ndim > 2 and (weights.shape[0] == 1 or weights.stride(0) == 0):
        weights = weights[0]
    return weights


def _sum(call: Call, bias: Operand, y: Value, beta: Number, alpha: Number) -> Value:
    """The sum beta * bias + alpha * y."""
    if alpha != 1:
        y = call.add(Mul(), y, call.same(alpha))
    if beta == 0:
        return y
    scaled = bias if beta == 1 else call.add(Mul(), call.same(bias), call.same(beta))
    return call.add(Add(), y, scaled)
