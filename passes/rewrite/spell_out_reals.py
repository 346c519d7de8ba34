from __future__ import annotations

import math

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.graph import Graph, Value
from irprune.ir.op import normalize_axis
from irprune.passes.rewrite.formula import Formula, spell

ERFC = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Coefficients of exp(z^2) erfc(z) in t = 1 / (1 + ERFC_T z), exact to 1.5e-7 for z >= 0.

Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26.
"""

ERFC_T = 0.3275911

STEEP = 1e20
"""A slope that makes all but the smallest reals larger than one."""


def spell_out_reals(graph: Graph) -> Graph:
    """The graph in operators that TFLite-Micro has for reals.

    What has no arithmetic on integers there: Erf, Gelu, LayerNorm and LRN. Quantized or not, it
    is computed on reals, so this comes after quantization.
    """
    return spell(
        graph,
        {
            ops.Erf: _erf,
            ops.Gelu: _gelu,
            ops.LayerNorm: _layernorm,
            ops.LRN: _lrn,
        },
    )


def _erf(f: Formula) -> None:
    """The complement's formula is of what is not negative; the sign comes after."""
    below_one = f.add(ops.Sub(), f.number(1), _erfc(f, f.add(ops.Abs(), f.x)))
    steep = f.add(ops.Maximum(), f.add(ops.Mul(), f.x, f.number(STEEP)), f.number(-1))
    f.end(ops.Mul(), below_one, f.add(ops.Minimum(), steep, f.number(1)))


def _gelu(f: Formula) -> None:
    """Relu(x) - |x| erfc(|x| / sqrt(2)) / 2, or the approximation with tanh."""
    op = f.node.op
    assert isinstance(op, ops.Gelu)
    if op.approximate:
        slope = math.sqrt(2 / math.pi)
        square = f.add(ops.Mul(), f.x, f.x)
        cubic = f.add(ops.Mul(), square, f.number(0.044715 * slope))
        curve = f.add(ops.Mul(), f.x, f.add(ops.Add(), cubic, f.number(slope)))
        gate = f.add(ops.Mul(), f.add(ops.Tanh(), curve), f.number(0.5))
        f.end(ops.Mul(), f.x, f.add(ops.Add(), gate, f.number(0.5)))
        return
    size = f.add(ops.Mul(), f.add(ops.Abs(), f.x), f.number(math.sqrt(0.5)))
    tail = f.add(ops.Mul(), size, _erfc(f, size))
    f.end(
        ops.Sub(),
        f.add(ops.Relu(), f.x),
        f.add(ops.Mul(), tail, f.number(math.sqrt(0.5))),
    )


def _erfc(f: Formula, z: Value) -> Value:
    """The complementary error function of what is not negative."""
    slow = f.add(ops.Add(), f.add(ops.Mul(), z, f.number(ERFC_T)), f.number(1))
    t = f.add(ops.Div(), f.number(1), slow)
    series = f.add(ops.Mul(), t, f.number(ERFC[-1]))
    for coefficient in reversed(ERFC[:-1]):
        series = f.add(ops.Mul(), f.add(ops.Add(), series, f.number(coefficient)), t)
    square = f.add(ops.Mul(), f.add(ops.Mul(), z, f.number(-1)), z)
    return f.add(ops.Mul(), series, f.add(ops.Exp(), square))


def _layernorm(f: Formula) -> None:
    op, (x, gamma, *beta) = f.node.op, f.node.inputs
    assert isinstance(op, ops.LayerNorm)
    axes = tuple(range(normalize_axis(op.axis, x.type.rank), x.type.rank))
    mean = ops.ReduceMean(axes, keepdims=True)
    centred = f.add(ops.Sub(), x, f.add(mean, x))
    variance = f.add(mean, f.add(ops.Mul(), centred, centred))
    deviation = f.add(ops.Sqrt(), f.add(ops.Add(), variance, f.number(op.epsilon)))
    unit = f.add(ops.Div(), centred, deviation)
    if beta:
        f.end(ops.Add(), f.add(ops.Mul(), unit, gamma), *beta)
    else:
        f.end(ops.Mul(), unit, gamma)


def _lrn(f: Formula) -> None:
    """The mean of squares in a window of channels is an average pool of rows of channels."""
    op, x = f.node.op, f.x
    assert isinstance(op, ops.LRN)
    rank = x.type.rank
    axis = normalize_axis(op.axis, rank)
    if axis != rank - 1:
        perm = list(range(rank))
        perm[axis], perm[-1] = perm[-1], perm[axis]
        swap = ops.Transpose(tuple(perm))
        f.end(swap, f.add(with_attributes(op, axis=rank - 1), f.add(swap, x)))
        return
    channels = x.type.shape[-1]
    rows = f.add(ops.Reshape((1, x.type.elements // channels, channels, 1)), x)
    around = ((0, 0), (0, 0), ((op.size - 1) // 2, op.size // 2), (0, 0))
    squares = f.add(ops.Pad(around), f.add(ops.Mul(), rows, rows))
    mean = f.add(ops.AveragePool2d((1, op.size), layout="NHWC"), squares)
    scaled = f.add(ops.Mul(), f.add(ops.Reshape(x.type.shape), mean), f.number(op.alpha))
    norm = f.add(ops.Add(), scaled, f.number(op.k))
    match op.beta:
        case 0.5:
            f.end(ops.Div(), x, f.add(ops.Sqrt(), norm))
        case 0.75:
            root = f.add(ops.Sqrt(), norm)
            f.end(ops.Div(), x, f.add(ops.Mul(), root, f.add(ops.Sqrt(), root)))
        case beta:
            exponent = f.add(ops.Mul(), f.add(ops.Log(), norm), f.number(-beta))
            f.end(ops.Mul(), x, f.add(ops.Exp(), exponent))
