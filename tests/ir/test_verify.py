"""Each invariant broken in turn, and several at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from irprune.ir.errors import InvalidGraph
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import Op
from irprune.ir.ops import Add, Conv2d, Dense, Flatten, Relu, Softmax
from irprune.ir.types import DType, Quant, TensorType
from irprune.ir.verify import problems, verify


def floats(name: str, *shape: int) -> Value:
    return Value(name, TensorType(shape, DType.F32))


X = floats("x", 1, 4)
W = floats("w", 3, 4)
Y = floats("y", 1, 3)
Z = floats("z", 1, 3)
DENSE = Node(Dense(), (X, W), (Y,), "dense")
RELU = Node(Relu(), (Y,), (Z,), "relu")
WEIGHTS = np.ones((3, 4), np.float32)
GOOD = Graph("good", (X,), (Z,), (DENSE, RELU), {W: WEIGHTS})


QUANTIZED = Value("z", TensorType((1, 3), DType.F32, Quant((1.0,), (0,))))


@dataclass(frozen=True)
class Unregistered(Relu):
    """An operator that the text form could not read."""


def with_writable_constant() -> Graph:
    graph = replace(GOOD)
    weights = np.ones((3, 4), np.float32)
    object.__setattr__(graph, "constants", {W: weights})
    return graph


def with_node(node: Node) -> Graph:
    return replace(GOOD, nodes=(DENSE, node))


def with_constant(value: Value) -> Graph:
    dense = replace(DENSE, inputs=(X, value))
    return replace(GOOD, nodes=(dense, RELU), constants={value: WEIGHTS})


def activated(op: Op) -> Graph:
    return replace(GOOD, nodes=(replace(DENSE, op=Dense(activation=op)), RELU))


BROKEN = {
    "two values of a name": (
        with_node(Node(Relu(), (Y,), (Z, floats("x", 1, 3)), "r")),
        "named 'x'",
    ),
    "two nodes of a name": (with_node(replace(RELU, name="dense")), "nodes are named 'dense'"),
    "no name": (with_node(replace(RELU, name="")), "has no name"),
    "read too early": (replace(GOOD, nodes=(RELU, DENSE)), "reads 'y' before it is made"),
    "read from nowhere": (replace(GOOD, nodes=(RELU,)), "reads 'y' that nothing makes"),
    "made twice": (with_node(Node(Relu(), (Y,), (Y,), "r")), "'y', which is made already"),
    "input twice": (replace(GOOD, inputs=(X, X)), "listed twice"),
    "input and constant": (replace(GOOD, inputs=(X, W)), "also a constant"),
    "output from nowhere": (replace(GOOD, outputs=(floats("o", 1),)), "'o' is made by nothing"),
    "another shape": (
        with_node(Node(Relu(), (Y,), (floats("z", 1, 5),), "r")),
        "inferred f32[1,3]",
    ),
    "another count": (with_node(Node(Relu(), (Y,), (Z, floats("o", 1)), "r")), "2 outputs"),
    "operands that do not fit": (with_node(Node(Add(), (Y,), (Z,), "add")), "operands"),
    "another constant": (with_constant(floats("v", 3, 4, 1)), "is declared"),
    "a writable constant": (with_writable_constant(), "can be written to"),
    "an unknown op": (with_node(replace(RELU, op=Unregistered())), "not registered"),
    "an attribute of a wrong type": (with_node(replace(RELU, op=Softmax(axis="1"))), "axis"),  # type: ignore[arg-type]  # the mistake
    "a shape-changing activation": (activated(Flatten(0)), "activation Flatten"),
    "an ill-formed activation": (activated(Softmax(axis=None)), "axis"),  # type: ignore[arg-type]  # the mistake
    "a quantized float": (with_node(replace(RELU, outputs=(QUANTIZED,))), "but is f32"),
}


def test_a_good_graph_has_no_problems() -> None:
    assert problems(GOOD) == ()
    verify(GOOD)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_is_reported(name: str) -> None:
    graph, words = BROKEN[name]
    assert any(words in problem for problem in problems(graph)), problems(graph)
    with pytest.raises(InvalidGraph, match="good: "):
        verify(graph)


def test_a_zero_point_must_be_storable() -> None:
    x = Value("x", TensorType((1,), DType.I8, Quant((0.5,), (200,))))
    assert problems(Graph("g", (x,), (x,), ())) == ("value 'x' has a zero point outside of i8",)


def test_all_problems_are_reported_at_once() -> None:
    bad_conv = Node(Conv2d(groups=0), (X, W), (floats("c", 1),), "conv")
    graph = replace(GOOD, nodes=(RELU, bad_conv), outputs=(floats("o", 1),))
    with pytest.raises(InvalidGraph) as raised:
        verify(graph)
    text = str(raised.value)
    for words in ("reads 'y' that nothing makes", "node 'conv'", "output 'o'"):
        assert words in text
    assert len(raised.value.problems) == 3
