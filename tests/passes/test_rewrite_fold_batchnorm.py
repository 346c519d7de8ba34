"""Random sequences of scales and shifts after every operator that can take them.

The graphs are double-precision, so that an inexact fold stands out from rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import Op
from irprune.ir.ops.conv import Layout, channel_axis, in_layout
from irprune.ir.types import Array, DType, Shape
from irprune.passes.rewrite.fold_batchnorm import fold_batchnorm
from tests.rewrites import assert_keeps, kinds
from tests.strategies import graphs

ROUNDING = 1e-11

LINEAR = ("conv", "grouped", "depthwise", "transposed", "dense", "batchnorm")
SCALES = ("batchnorm", "mul", "div", "add", "add of three", "sub", "sub from", "neg")
MOVES = ("insert an axis", "drop an axis", "transpose")
BARRIERS = ("relu", "softmax", "other axis", "fork", "output")


class Net:
    """A graph in the making: its last value, and which axis of it has the channels."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.builder = Builder("net")
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.layout: Layout = draw(st.sampled_from(("NCHW", "NHWC")))
        self.outputs: list[Value] = []
        self.value: Value
        self.axis: int

    def constant(self, shape: Shape, low: float = -2.0, high: float = 2.0) -> Value:
        array: Array = self.rng.uniform(low, high, shape)
        return self.builder.constant("c", array)

    def per_channel(self, low: float = -2.0) -> Value:
        """A constant a channel, or one for all, with or without leading axes of size 1."""
        rank, channels = self.value.type.rank, self.value.type.shape[self.axis]
        size = self.draw(st.sampled_from((channels, 1)))
        shape = [size if at == self.axis else 1 for at in range(rank)]
        return self.constant(tuple(shape[self.draw(st.integers(0, self.axis)) :]), low)

    def add(self, op: Op, *operands: Value) -> None:
        self.value = self.builder.add(op, *operands)

    def start(self, kind: str) -> None:
        """The operator that the rest is to be folded into."""
        size = st.integers(1, 3)
        channels, height, width = self.draw(size), self.draw(size), self.draw(size)
        self.axis = channel_axis(self.layout)
        shape = in_layout(self.layout, 1, channels, height, width)
        if kind == "dense":
            shape = (*shape[: self.draw(st.integers(1, 3))], channels)
            self.axis = len(shape) - 1
        x = self.builder.input("x", shape, DType.F64)
        out = self.draw(size)
        match kind:
            case "conv":
                w = self.constant(in_layout(self.layout, out, channels, height, 1))
                op: Op = ops.Conv2d(padding=((0, 1), (0, 0)), layout=self.layout)
            case "grouped" | "depthwise":
                groups = channels if kind == "depthwise" else 1
                out *= groups
                w = self.constant(in_layout(self.layout, out, channels // groups, 1, width))
                op = ops.Conv2d(groups=groups, layout=self.layout)
            case "transposed":
                groups = channels if self.layout == "NCHW" else 1
                nchw = (channels, out, 2, 1)
                w = self.constant(nchw if self.layout == "NCHW" else (out, 2, 1, channels))
                out *= groups
                op = ops.ConvTranspose2d(stride=(2, 1), groups=groups, layout=self.layout)
            case "dense":
                w = self.constant((out, channels))
                op = ops.Dense()
            case _:
                self.value = x
                return self.batchnorm()
        bias = [self.constant((out,))] if self.draw(st.booleans()) else []
        return self.add(op, x, w, *bias)

    def batchnorm(self) -> None:
        shape = (self.value.type.shape[self.axis],)
        axis = self.axis - self.draw(st.sampled_from((0, self.value.type.rank)))
        statistics = [self.constant(shape) for _ in range(3)]
        self.add(ops.BatchNorm(1e-3, axis), self.value, *statistics, self.constant(shape, 0.5))

    def follow(self, kind: str) -> None:
        """One node after the last."""
        x, rank, at = self.value, self.value.type.rank, self.draw(st.integers(0, 9))
        match kind:
            case "batchnorm":
                self.batchnorm()
            case "mul" | "add":
                op = ops.Mul() if kind == "mul" else ops.Add()
                self.add(op, *self.draw(st.permutations((x, self.per_channel()))))
            case "add of three":
                self.add(ops.Add(), self.per_channel(), x, self.per_channel())
            case "div":
                self.add(ops.Div(), x, self.per_channel(0.5))
            case "sub":
                self.add(ops.Sub(), x, self.per_channel())
            case "sub from":
                self.add(ops.Sub(), self.per_channel(), x)
            case "neg":
                self.add(ops.Neg(), x)
            case "insert an axis" if rank < 5:
                at %= rank + 1
                self.add(ops.Unsqueeze((at,)), x)
                self.axis += at <= self.axis
            case "drop an axis":
                free = [a for a, d in enumerate(x.type.shape) if d == 1 and a != self.axis]
                if free:
                    self.add(ops.Squeeze((free[0],)), x)
                    self.axis -= free[0] < self.axis
            case "transpose":
                perm = tuple(self.draw(st.permutations(range(rank))))
                self.add(ops.Transpose(perm), x)
                self.axis = perm.index(self.axis)
            case "relu":
                self.add(ops.Relu(), x)
            case "softmax":
                self.add(ops.Softmax(at % rank), x)
            case "other axis":
                self.add(ops.Mul(), x, self.constant(x.type.shape[at % rank :]))
            case "fork":
                self.add(ops.Add(), x, self.builder.add(ops.Abs(), x))
            case "output":
                self.outputs.append(x)


@st.composite
def nets(draw: st.DrawFn, first: str, then: tuple[str, ...]) -> Graph:
    """A linear operator and up to six nodes after it."""
    net = Net(draw)
    net.start(first)
    for kind in draw(st.lists(st.sampled_from(then), max_size=6)):
        net.follow(kind)
    return net.builder.finish([net.value, *net.outputs])


@pytest.mark.parametrize("first", LINEAR)
def test_every_scale_and_shift_is_folded_where_nothing_is_between(first: str) -> None:
    @given(nets(first, SCALES + MOVES))
    def holds(graph: Graph) -> None:
        after = assert_keeps(fold_batchnorm, graph, ROUNDING)
        assert set(kinds(after)[1:]) <= {"Unsqueeze", "Squeeze", "Transpose"}

    holds()


@pytest.mark.parametrize("first", LINEAR)
def test_the_function_is_kept_whatever_is_between(first: str) -> None:
    @given(nets(first, SCALES + MOVES + BARRIERS))
    def holds(graph: Graph) -> None:
        assert_keeps(fold_batchnorm, graph, ROUNDING)

    holds()


@given(graphs(kinds=("Conv2d", "Dense", "BatchNorm", "Mul", "Add", "Sub", "Transpose", "Squeeze")))
def test_graphs_with_shared_and_computed_weights(graph: Graph) -> None:
    assert_keeps(fold_batchnorm, graph, 1e-4)


def test_weights_that_repeat_one_element_do_not_fill_memory() -> None:
    b = Builder("light")
    x = b.input("x", (1, 512, 1, 1))
    w = b.constant("w", np.broadcast_to(np.float32(0.5), (512, 512, 3, 3)))
    y = b.add(ops.Conv2d(padding=((1, 1), (1, 1))), x, w)
    scale = b.constant("scale", np.arange(512, dtype=np.float32).reshape(1, 512, 1, 1))
    after = fold_batchnorm(b.finish([b.add(ops.Mul(), y, scale)]))
    (folded,) = after.constants.values()
    assert folded.strides == (4, 0, 0, 0)
    assert folded[:, 0, 0, 0].tolist() == [0.5 * i for i in range(512)]
