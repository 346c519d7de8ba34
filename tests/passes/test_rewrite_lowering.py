"""From the deployed form to the operators and forms that TFLite-Micro has."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.backends.reference import run as evaluate
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import OPS, Op
from irprune.ir.ops.conv import Padding
from irprune.ir.ops.recurrent import Direction
from irprune.ir.types import Array, DType, Quant, Shape
from irprune.passes.pipeline import Pass, deployed, lowering, run
from irprune.passes.rewrite.explicit_padding import explicit_padding
from irprune.passes.rewrite.fold_scales import fold_scales
from irprune.passes.rewrite.spell_out import spell_out
from irprune.passes.rewrite.spell_out_reals import spell_out_reals
from irprune.passes.rewrite.split_groups import split_groups
from tests.rewrites import assert_keeps, kinds
from tests.strategies import STAIRCASES, graphs

GONE = {"BatchNorm", "Silu", "HardSigmoid", "Clip", "Neg", "Gelu", "Erf", "LayerNorm", "LRN", "GRU"}


@pytest.mark.parametrize(
    "rewrite",
    [split_groups, spell_out, explicit_padding, spell_out_reals, fold_scales],
    ids=lambda rewrite: rewrite.__name__,
)
def test_each_keeps_the_function(rewrite: Pass) -> None:
    @given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=12))
    def holds(graph: Graph) -> None:
        assert_keeps(rewrite, graph, 1e-4)

    holds()


@given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=12))
def test_all_keep_the_function(graph: Graph) -> None:
    def lowered(graph: Graph) -> Graph:
        return spell_out_reals(run(graph, lowering(keep_io_layout=True)))

    after = assert_keeps(lowered, deployed(graph), 1e-4)
    assert GONE.isdisjoint(kinds(after))


def single(op: Op, shape: Shape, *constants: Array) -> Graph:
    b = Builder("single")
    x = b.input("x", shape)
    return b.finish([b.add(op, x, *(b.constant("c", array) for array in constants))])


def drawn(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "padding", "stride", "kinds_after", "padding_after"),
    [
        pytest.param(8, (1, 1), 1, ["Conv2d"], (1, 1), id="same"),
        pytest.param(7, (1, 1), 2, ["Conv2d"], (1, 1), id="same with a stride"),
        pytest.param(8, (1, 1), 2, ["Pad", "Conv2d"], (0, 0), id="torch's, where SAME pads later"),
        pytest.param(8, (0, 1), 2, ["Conv2d"], (0, 1), id="same, uneven"),
        pytest.param(8, (0, 0), 1, ["Conv2d"], (0, 0), id="valid"),
        pytest.param(7, (0, 1), 2, ["Conv2d"], (0, 0), id="what no window reaches"),
    ],
)
def test_padding_of_convolutions(
    size: int,
    padding: tuple[int, int],
    stride: int,
    kinds_after: list[str],
    padding_after: tuple[int, int],
) -> None:
    """Of windows of 3. SAME of 8 in steps of 2 pads only the end."""
    op = ops.Conv2d((stride, stride), (padding, padding), layout="NHWC")
    after = assert_keeps(explicit_padding, single(op, (1, size, size, 2), drawn(3, 3, 3, 2)), 1e-6)
    assert kinds(after) == kinds_after
    last = after.nodes[-1].op
    assert isinstance(last, ops.Conv2d)
    assert last.padding == (padding_after, padding_after)


def test_averages_of_what_is_inside() -> None:
    """Padding that is not SAME and does not count: each window is weighed."""
    pool = ops.AveragePool2d((3, 3), (2, 2), ((1, 1), (1, 1)), layout="NHWC")
    after = assert_keeps(explicit_padding, single(pool, (1, 8, 8, 2)), 1e-6)
    assert kinds(after) == ["Pad", "AveragePool2d", "Mul"]
    b, quant = Builder("integers"), Quant((0.1,), (3,))
    x = b.input("x", (1, 8, 8, 2), DType.I8, quant)
    integers = b.finish([b.add(pool, x, quant=quant)])
    after = assert_keeps(explicit_padding, integers, 1.0)
    assert kinds(after) == ["Pad", "AveragePool2d", "Mul"]
    counting = ops.AveragePool2d((3, 3), (2, 2), ((1, 1), (1, 1)), count_padding=True)
    after = assert_keeps(explicit_padding, single(counting, (1, 2, 8, 8)), 1e-6)
    assert kinds(after) == ["Pad", "AveragePool2d"]


def test_erf_is_exact_to_single_precision() -> None:
    """To the formula's 1.5e-7 and a few roundings of numbers near 1, of 6e-8 each."""
    graph = spell_out_reals(single(ops.Erf(), (2001,)))
    x = np.linspace(-5, 5, 2001, dtype=np.float32)
    (found,) = evaluate(graph, [x])
    np.testing.assert_allclose(found, [math.erf(v) for v in x.tolist()], rtol=0, atol=5e-7)
    (at_zero,) = evaluate(spell_out_reals(single(ops.Erf(), (1,))), [np.zeros(1, np.float32)])
    assert abs(at_zero[0]) < 1e-8


@pytest.mark.parametrize("beta", [0.5, 0.75, 0.6])
@pytest.mark.parametrize("axis", [1, 3])
def test_local_response_normalization(beta: float, axis: int) -> None:
    op = ops.LRN(3, 0.5, beta, 2.0, axis)
    after = assert_keeps(spell_out_reals, single(op, (1, 4, 3, 5)), 1e-6)
    assert "LRN" not in kinds(after)
    assert ("Transpose" in kinds(after)) == (axis == 1)


def test_activations_that_layers_do_not_have() -> None:
    """They stand behind the layer; those that it has stay in it."""
    weights = drawn(3, 3, 3, 2)
    swish = ops.Conv2d(layout="NHWC", activation=ops.HardSwish())
    after = assert_keeps(spell_out, single(swish, (1, 4, 4, 2), weights), 1e-6)
    assert kinds(after) == ["Conv2d", "HardSwish"]
    clamp = ops.Conv2d(layout="NHWC", activation=ops.Relu6())
    graph = single(clamp, (1, 4, 4, 2), weights)
    assert spell_out(graph) is graph


@pytest.mark.parametrize(
    ("padding", "folds"), [(((0, 0), (0, 0)), True), (((1, 1), (1, 1)), False)]
)
def test_shifts_before_padding_stay(padding: Padding, folds: bool) -> None:
    """A pad of zeros would have to be one of shifts."""
    b = Builder("before")
    x = b.input("x", (1, 4, 5, 5))
    statistics = [b.constant("bn", drawn(4, low=0.5, high=2.0)) for _ in range(4)]
    y = b.add(ops.BatchNorm(), x, *statistics)
    conv = ops.Conv2d(padding=padding, groups=2)
    graph = b.finish([b.add(conv, y, b.constant("w", drawn(6, 2, 3, 3)))])
    after = assert_keeps(fold_scales, graph, 1e-5)
    assert kinds(after) == (["Conv2d"] if folds else ["BatchNorm", "Conv2d"])


def test_scales_before_padding_are_folded() -> None:
    b = Builder("scaled")
    x = b.input("x", (1, 4, 5, 5))
    y = b.add(ops.Mul(), x, b.constant("s", drawn(4, 1, 1)))
    conv = ops.Conv2d(padding=((1, 1), (1, 1)))
    graph = b.finish(
        [b.add(conv, y, b.constant("w", drawn(6, 4, 3, 3)), b.constant("b", drawn(6)))]
    )
    assert kinds(assert_keeps(fold_scales, graph, 1e-5)) == ["Conv2d"]


@given(st.integers(1, 4), st.booleans(), st.sampled_from(get_args(Direction)))
def test_recurrent_cells_are_layers(time: int, after: bool, direction: Direction) -> None:
    b = Builder("cell")
    x = b.input("x", (time, 1, 3))
    n = 2 if direction == "bidirectional" else 1
    shapes = [(n, 6, 3), (n, 6, 2), (n, 12)]
    weights: list[Value] = [b.constant("w", drawn(*shape)) for shape in shapes]
    cell = ops.GRU(2, direction, after)
    graph = b.finish(list(b.add_node(cell, [x, *weights])))
    spelled = assert_keeps(spell_out, graph, 1e-5)
    assert set(kinds(spelled)) <= {
        *("Dense", "Split", "Add", "Sub", "Mul", "Sigmoid", "Tanh", "Concat", "Reshape")
    }
