"""Cases of activations and arithmetic."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.torch_cases.operands import COLUMN, IMAGE, ROW, Cases, aten

ELEMENTS: Cases = {
    # activations
    "relu": (nn.ReLU(), (IMAGE,)),
    "relu6": (lambda x: (F.relu6(x), aten.relu6(2 * x)), (IMAGE,)),
    "hardtanh": (nn.Hardtanh(-0.5, 0.7), (IMAGE,)),
    "clamp": (lambda x: x.clamp(-0.3, 0.4), (IMAGE,)),
    "clamp_6": (lambda x: x.clamp(0, 6), (IMAGE,)),
    "clamp_below": (lambda x: x.clamp(min=0), (IMAGE,)),
    "clamp_min_max": (lambda x: x.clamp_min(-0.3).clamp_max(0.2), (IMAGE,)),
    "clamp_tensor": (lambda x, y: torch.clamp(x, y, torch.tensor(0.5)), (IMAGE, (8,))),
    "leaky_relu": (nn.LeakyReLU(0.2), (IMAGE,)),
    "prelu": (nn.PReLU(4, 0.3), (IMAGE,)),
    "prelu_one": (nn.PReLU(), ((7,),)),
    "prelu_kernel": (lambda x: aten._prelu_kernel(x, COLUMN), (IMAGE,)),
    "sigmoid": (nn.Sigmoid(), (IMAGE,)),
    "tanh": (nn.Tanh(), (IMAGE,)),
    "hardsigmoid": (nn.Hardsigmoid(), (IMAGE,)),
    "hardswish": (nn.Hardswish(), (IMAGE,)),
    "silu": (nn.SiLU(), (IMAGE,)),
    "gelu": (nn.GELU(), (IMAGE,)),
    "gelu_tanh": (nn.GELU("tanh"), (IMAGE,)),
    "elu": (nn.ELU(0.7), (IMAGE,)),
    "selu": (nn.SELU(), (IMAGE,)),
    "glu": (nn.GLU(1), (IMAGE,)),
    # arithmetic
    "add": (lambda x, y: torch.add(x, y, alpha=2) + 1.5, (IMAGE, (4, 1, 1))),
    "add_scaled_weights": (lambda x: torch.add(x, ROW, alpha=3), (IMAGE,)),
    "add_int": (lambda x: x + torch.arange(8), (IMAGE,)),
    "sub": (lambda x, y: torch.sub(x, y, alpha=0.5) - 2, (IMAGE, (8,))),
    "rsub": (lambda x: torch.rsub(x, 3, alpha=2) + torch.rsub(x, ROW), (IMAGE,)),
    "mul": (lambda x, y: x * y * 0.3, (IMAGE, (8,))),
    "div": (lambda x, y: x / (y.abs() + 1) / 3, (IMAGE, (8,))),
    "div_mode": (lambda x: torch.div(x, 3, rounding_mode=None), (IMAGE,)),
    "div_modes": (
        lambda x: (
            aten.div.Scalar_mode(x, 3, rounding_mode=None)
            + aten.div.Tensor_mode(x, ROW, rounding_mode=None)
        ),
        (IMAGE,),
    ),
    "scalar_overloads": (
        lambda x: (
            aten.add.Scalar(aten.sub.Scalar(aten.mul.Scalar(x, 2), 1), 3) + aten.div.Scalar(x, 4)
        ),
        (IMAGE,),
    ),
    "minimum": (lambda x, y: torch.minimum(x, y) + torch.min(x, ROW), (IMAGE, (8,))),
    "maximum": (lambda x, y: torch.maximum(x, y) + torch.max(x, ROW), (IMAGE, (8,))),
    "abs_neg_exp": (lambda x: torch.exp(-x.abs()), (IMAGE,)),
    "erf": (torch.erf, (IMAGE,)),
    "log": (lambda x: torch.log(x.abs()), (IMAGE,)),
    "sqrt": (lambda x: x.sqrt() + x**0.5, (IMAGE,)),
    "rsqrt": (torch.rsqrt, (IMAGE,)),
    "reciprocal": (lambda x: torch.reciprocal(x.abs() + 1), (IMAGE,)),
    "square": (lambda x: torch.square(x) + x**2, (IMAGE,)),
    "pow_fraction": (lambda x: x**0.75, (IMAGE,)),
    "pow_tensor": (lambda x, y: x**y + 2**y, (IMAGE, (8,))),
    "addcmul": (lambda x, y: torch.addcmul(x, x, y, value=0.5), (IMAGE, (8,))),
    "masked_fill": (
        lambda x: x.masked_fill(torch.ones(8, 8).triu(1) > 0, -math.inf).softmax(-1),
        ((2, 8, 8),),
    ),
    "masked_fill_tensor": (
        lambda x: aten.masked_fill.Tensor(x, torch.arange(8) > 2, torch.tensor(0.5)),
        (IMAGE,),
    ),
    "where": (lambda x: torch.where(torch.arange(8) > 2, x, ROW), (IMAGE,)),
    "where_computed": (lambda x, y: torch.where(torch.arange(8) > 2, x, y / 0), (IMAGE, (8,))),
    "where_scalars": (
        lambda x: (
            torch.where(torch.arange(8) > 2, 0.0, x) + torch.where(torch.arange(8) > 5, x, -1.0)
        ),
        (IMAGE,),
    ),
    "tril": (lambda x: x.tril() + x.triu(1), (IMAGE,)),
    # reductions
    "mean": (lambda x: (x.mean(), x.mean((2, 3)), x.mean(1, keepdim=True)), (IMAGE,)),
    "sum": (lambda x: (x.sum(), x.sum((-1, 0)), x.sum(1, keepdim=True)), (IMAGE,)),
    "amax": (lambda x: (x.amax((2, 3)), x.max(), x.max(1)[0], x.amax(1, True)), (IMAGE,)),
    "var": (lambda x: (x.var((2, 3)), x.std(1, correction=0), x.var()), (IMAGE,)),
}
