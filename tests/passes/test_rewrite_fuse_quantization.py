"""Quantized operators spelled as Dequantize, reals, Quantize; run both ways.

The integers are compared with those of the graph run on reals: equal where elements only move, one
step apart where an operator rounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.backends.reference import run
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import Op
from irprune.ir.ops.conv import in_layout
from irprune.ir.types import DType, Quant, Shape
from tests.quantized import BYTES, SHORTS, Net, fused, steps_apart
from tests.rewrites import kinds, random_inputs

widths = pytest.mark.parametrize("dtypes", [BYTES, SHORTS], ids=["8", "16"])


def allowed(dtypes: tuple[DType, ...]) -> int:
    """Steps that rounding may cost: with 16 bits one more, for factors have no more than that."""
    return 1 if dtypes is BYTES else 2


@st.composite
def linear(draw: st.DrawFn, kind: str, dtypes: tuple[DType, ...]) -> Graph:
    """A linear operator with stored weights, with or without bias and activation."""
    net = Net(draw, dtypes)
    c, o, h, w = (draw(st.integers(1, 4)) for _ in range(4))
    per_channel = draw(st.booleans())
    x_shape: Shape = in_layout(net.layout, 1, c, h, w)
    w_shape: Shape
    op: Op
    match kind:
        case "conv":
            w_shape = in_layout(net.layout, o, c, 1, w)
            op = ops.Conv2d(padding=((1, 0), (0, 0)), layout=net.layout, activation=net.clamp())
        case "depthwise":
            w_shape = in_layout(net.layout, c * o, 1, h, 1)
            op = ops.Conv2d(groups=c, layout=net.layout, activation=net.clamp())
        case "transposed":
            w_shape = (c, o, 2, 2) if net.layout == "NCHW" else (o, 2, 2, c)
            op = ops.ConvTranspose2d(stride=(2, 1), layout=net.layout, activation=net.clamp())
        case _:
            x_shape, w_shape, op = (2, c), (o, c), ops.Dense(activation=net.clamp())
    first = kind == "transposed" and net.layout == "NCHW"
    axis = int(first) if per_channel else None
    x, weights = net.input(x_shape), net.weights(w_shape, axis)
    filters = w_shape[int(first)]
    bias = [net.bias(filters, x, weights)] if draw(st.booleans()) else []
    return net.finish(net.builder.add(op, x, weights, *bias))


@widths
@pytest.mark.parametrize("kind", ["conv", "depthwise", "transposed", "dense"])
def test_linear_operators(kind: str, dtypes: tuple[DType, ...]) -> None:
    @given(linear(kind, dtypes))
    def holds(graph: Graph) -> None:
        after = fused(graph)
        assert len(after.nodes) == 1
        assert steps_apart(graph, after) <= allowed(dtypes)

    holds()


@widths
@pytest.mark.parametrize("op", [ops.Add, ops.Sub, ops.Mul])
def test_arithmetic(op: type[ops.Add | ops.Sub | ops.Mul], dtypes: tuple[DType, ...]) -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw, dtypes)
        size = data.draw(st.integers(1, 20))
        operands = [net.input((2, size)), net.input((data.draw(st.sampled_from((1, size))),))]
        graph = net.finish(net.builder.add(op(activation=net.clamp()), *operands))
        after = fused(graph)
        assert len(after.nodes) == 1
        assert steps_apart(graph, after) <= allowed(dtypes)

    holds()


@widths
def test_products_of_two_activations(dtypes: tuple[DType, ...]) -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw, dtypes)
        n, m, k = (data.draw(st.integers(1, 5)) for _ in range(3))
        graph = net.finish(net.builder.add(ops.MatMul(), net.input((n, m)), net.input((m, k))))
        after = fused(graph)
        assert kinds(after) == ["MatMul"]
        assert steps_apart(graph, after) <= allowed(dtypes)

    holds()


def test_division_by_constants() -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw)
        divisor = np.asarray(data.draw(st.lists(st.integers(-127, 127), min_size=1, max_size=9)))
        stored = net.builder.constant("d", divisor.astype(net.dtype.numpy), Quant((0.5,), (0,)))
        x = net.input((2, divisor.size))
        y = net.builder.add(ops.Div(), x, net.builder.add(ops.Dequantize(), stored))
        graph = net.finish(y, net.quant())
        after = fused(graph)
        if np.all(divisor != 0):
            assert kinds(after) == ["Div"]
            assert steps_apart(graph, after) <= 1
        else:
            assert after is graph

    holds()


PLAIN_FUNCTIONS = (
    *(ops.Relu(), ops.LeakyRelu(0.1), ops.Abs()),
    *(ops.ReduceMean((1,)), ops.ReduceMean((0, 1), False), ops.ReduceSum((1,))),
)


@pytest.mark.parametrize("op", PLAIN_FUNCTIONS, ids=str)
def test_functions_of_16_bits(op: Op) -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw, SHORTS)
        graph = net.finish(net.builder.add(op, net.input((2, data.draw(st.integers(2, 20))))))
        after = fused(graph)
        assert kinds(after) == [type(op).__name__]
        assert steps_apart(graph, after) <= 2

    holds()


def test_long_sums_of_16_bits_stay_on_reals() -> None:
    """32 bits do not hold them."""
    for count, found in ((2**14, ["ReduceMean"]), (2**14 + 1, ["Dequantize", "ReduceMean"])):
        b = Builder("net")
        x = b.add(ops.Dequantize(), b.input("x", (2, count), DType.I16, Quant((1.0,), (0,))))
        y = b.add(ops.ReduceMean((1,)), x)
        graph = b.finish([b.add(ops.Quantize(DType.I16, Quant((1.0,), (0,))), y)])
        assert kinds(fused(graph))[: len(found)] == found


FUNCTIONS = (
    *(ops.Relu(), ops.LeakyRelu(0.1), ops.Elu(), ops.HardSwish(), ops.Abs()),
    *(ops.Sigmoid(), ops.Tanh(), ops.Softmax(), ops.Softmax(beta=0.5), ops.LogSoftmax()),
    *(ops.ReduceMean((1,)), ops.ReduceMean((0, 1), False), ops.ReduceSum((1,))),
)


@pytest.mark.parametrize("op", FUNCTIONS, ids=str)
def test_functions(op: Op) -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw)
        graph = net.finish(net.builder.add(op, net.input((2, data.draw(st.integers(2, 20))))))
        after = fused(graph)
        if kinds(after)[0] == "Dequantize":  # the fixed output scale of integers is too coarse
            assert isinstance(op, ops.Sigmoid | ops.Tanh | ops.Softmax | ops.LogSoftmax)
            assert after is graph
        else:
            assert set(kinds(after)[1:]) <= {"Quantize"}
            assert steps_apart(graph, after) <= 1

    holds()


@pytest.mark.parametrize(
    ("op", "scale", "zero_point"),
    [
        (ops.Sigmoid(), 1 / 256, -128),
        (ops.Softmax(), 1 / 256, -128),
        (ops.Tanh(), 1 / 128, 0),
        (ops.LogSoftmax(), 1 / 16, 127),
    ],
    ids=str,
)
def test_a_fixed_output_scale_is_requantized(op: Op, scale: float, zero_point: int) -> None:
    b = Builder("net")
    x = b.add(ops.Dequantize(), b.input("x", (1, 8), DType.I8, Quant((0.05,), (3,))))
    y = b.add(op, x)
    fixed = Quant((scale,), (zero_point,))
    for wanted, found in (
        (fixed, [type(op).__name__]),
        (Quant((scale * 0.9,), (zero_point,)), [type(op).__name__, "Quantize"]),
        (Quant((scale * 0.5,), (zero_point,)), ["Dequantize", type(op).__name__, "Quantize"]),
    ):
        graph = b.finish([b.add(ops.Quantize(DType.I8, wanted), y)])
        after = fused(replace(graph, nodes=(*graph.nodes[:2], graph.nodes[-1])))
        assert kinds(after) == found
        if len(found) < 3:
            assert after.nodes[0].output.type.quant == fixed


@pytest.mark.parametrize("kind", ["average", "resize", "relu6"])
def test_what_keeps_its_scale_is_requantized(kind: str) -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw)
        own = net.quant()
        x = net.input((1, 2, 4, 5), own)
        op = {
            "average": ops.AveragePool2d((2, 2), padding=((1, 0), (0, 1))),
            "resize": ops.Resize((2, 3), (8, 10), (2.0, 2.0), "linear"),
            "relu6": ops.Relu6(),
        }[kind]
        finer = data.draw(st.sampled_from((1.0, 0.8, 0.5)))
        graph = net.finish(net.builder.add(op, x), replace(own, scale=(own.scale[0] * finer,)))
        after = fused(graph)
        if finer == 0.5:
            assert after is graph
        else:
            assert kinds(after) == [type(op).__name__, "Quantize"][: 1 + (finer < 1)]
            assert steps_apart(graph, after) <= 1

    holds()


MOVES = (
    *("reshape", "transpose", "slice", "pad", "expand", "concat", "split", "gather", "max pool"),
    *("reduce max", "maximum", "minimum"),
)


def move(net: Net, kind: str, x: Value) -> Value:
    """A node that moves or compares elements of a value of shape (1, 2, 4, 4), or of its like."""
    add = net.builder.add
    match kind:
        case "reshape":
            return add(ops.Reshape((1, 2, 4, 4)), add(ops.Flatten(), x))
        case "transpose":
            return add(ops.Transpose((0, 1, 3, 2)), x)
        case "slice":
            reverse = ops.Slice((2, 3), (3, 0), (4, 4), (-1, 1))
            return add(reverse, x)
        case "pad":
            value = net.draw(st.sampled_from((0.0, -0.3, 100.0, -np.inf)))
            padding = ((0, 0), (0, 0), (1, 0), (0, 0))
            crop = ops.Slice((2,), (0,), (4,), (1,))
            return add(crop, add(ops.Pad(padding, value=value), x))
        case "expand":
            row = add(ops.Slice((2,), (1,), (1,), (1,)), x)
            return add(ops.Expand((1, 2, 4, 4)), row)
        case "concat":
            halves = [add(ops.Slice((1,), (i,), (1,), (1,)), x) for i in (1, 0)]
            return add(ops.Concat(1), *halves)
        case "split":
            first, second = net.builder.add_node(ops.Split(3, (3, 1)), [x])
            return add(ops.Concat(3), second, first)
        case "gather":
            return add(ops.Gather((1, 1), (2,), 1), x)
        case "max pool":
            return add(ops.MaxPool2d((3, 3), padding=((1, 1), (1, 1))), x)
        case "reduce max":
            return add(ops.Expand((1, 2, 4, 4)), add(ops.ReduceMax((3,)), x))
        case _:
            other = net.input((1, 2, 4, 4))
            return add(ops.Maximum() if kind == "maximum" else ops.Minimum(), x, other)


def test_moves_before_a_quantize_are_exact() -> None:
    """All of it runs on the integers that are wanted, whatever its operands are."""

    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw)
        start = net.builder.input("real", (1, 2, 4, 4))
        x = data.draw(st.sampled_from((start, net.input((1, 2, 4, 4)))))
        chain = data.draw(st.lists(st.sampled_from(MOVES), min_size=1, max_size=4))
        for kind in chain:
            x = move(net, kind, x)
        graph = net.finish(x, net.quant())
        after = fused(graph)
        assert not any(v.type.dtype.is_float for n in after.nodes for v in n.outputs)
        requantized = any(
            isinstance(node.op, ops.Quantize) and node.inputs[0].type.quant is not None
            for node in after.nodes
        )
        assert steps_apart(graph, after) <= requantized

    holds()


def test_moves_after_a_dequantize_are_exact() -> None:
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        net = Net(data.draw)
        x = net.input((1, 2, 4, 4))
        kinds_ = [kind for kind in MOVES if kind not in ("maximum", "minimum", "pad")]
        for kind in data.draw(st.lists(st.sampled_from(kinds_), min_size=1, max_size=4)):
            x = move(net, kind, x)
        graph = net.builder.finish([net.builder.add(ops.Exp(), x)])
        after = fused(graph)
        assert kinds(after)[-2:] == ["Dequantize", "Exp"]
        assert not any(v.type.dtype.is_float for n in after.nodes[:-2] for v in n.outputs)
        for one, other in zip(
            run(graph, random_inputs(graph)), run(after, random_inputs(after)), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    holds()


@pytest.mark.parametrize(
    ("product", "bias", "output", "fits"),
    [
        (2.0**-20, 2047.9, 1.0, True),
        (2.0**-20, 2048.1, 1.0, False),  # more than 31 bits
        (0.25, 0.125, 0.25, True),
        (0.25, 0.125, 0.125, False),  # half of 0.25 is lost, a step of the output
        (0.25, 0.25, 0.125, True),
    ],
)
def test_a_float_bias_is_stored_where_that_keeps_it(
    product: float, bias: float, output: float, fits: bool
) -> None:
    b = Builder("net")
    x = b.add(ops.Dequantize(), b.input("x", (1, 2), DType.I8, Quant((1.0,), (0,))))
    stored = b.constant("w", np.ones((1, 2), np.int8), Quant((product,), (0,)))
    w = b.add(ops.Dequantize(), stored)
    y = b.add(ops.Dense(), x, w, b.constant("b", np.asarray([bias], np.float32)))
    graph = b.finish([b.add(ops.Quantize(DType.I8, Quant((output,), (0,))), y)])
    after = fused(graph)
    if fits:
        assert kinds(after) == ["Dense"]
    else:
        assert after is graph
