"""Every rewrite, and the whole pipeline, on random graphs of all operators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value, readers
from irprune.passes.pipeline import DEPLOYMENT, Pass, deployed
from irprune.passes.rewrite.drop_dead import drop_dead
from irprune.passes.rewrite.drop_identities import drop_identities
from irprune.passes.rewrite.fold_constants import fold_constants
from irprune.passes.rewrite.fuse_activations import ACTIVATIONS, fuse_activations
from irprune.passes.rewrite.recognize_activations import recognize_activations
from tests.rewrites import assert_keeps, kinds
from tests.strategies import graphs

EXACT = (drop_dead, drop_identities, fold_constants, fuse_activations, recognize_activations)
ROUNDING = 1e-4


@pytest.mark.parametrize("rewrite", EXACT, ids=lambda rewrite: rewrite.__name__)
def test_no_bit_changes(rewrite: Pass) -> None:
    """Random graphs spell no formula out by chance; what is left moves no rounding."""

    @given(graphs(max_nodes=12))
    def holds(graph: Graph) -> None:
        assert_keeps(rewrite, graph, 0.0)

    holds()


@given(graphs(max_nodes=12))
def test_the_deployed_form_keeps_the_function(graph: Graph) -> None:
    assert_keeps(deployed, graph, ROUNDING)


@given(graphs(max_nodes=12))
def test_no_step_finds_work_in_the_deployed_form(graph: Graph) -> None:
    after = deployed(graph)
    for step in DEPLOYMENT:
        assert step.rewrite(after) is after


@given(graphs(kinds=("Expand", "Add", "Mul", "PRelu", "Reshape", "Relu"), max_nodes=12))
def test_expansions(graph: Graph) -> None:
    """None is left that only arithmetic reads, unless it makes a shape that nothing else makes."""
    after = assert_keeps(drop_identities, graph, 0.0)
    for node in after.nodes:
        found = readers(after)[node.output]
        arithmetic = all(isinstance(reader.op, ops.Add | ops.Mul) for reader in found)
        if isinstance(node.op, ops.Expand) and found and arithmetic:
            small = node.inputs[0].type.shape
            others = [[v.type.shape for v in r.inputs if v is not node.output] for r in found]
            shapes = [np.broadcast_shapes(small, *shapes) for shapes in others]
            kept = [r.output.type.shape for r in found] == shapes
            assert node.output in after.outputs or not kept


VIEWS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
NOTHINGS = (*VIEWS, "Transpose", "Slice", "Pad", "Expand", "Concat", "Split", "Gather")


@given(graphs(kinds=(*NOTHINGS, "Relu"), max_nodes=12))
def test_views_and_moves(graph: Graph) -> None:
    after = assert_keeps(drop_identities, graph, 0.0)
    fixed = {*after.inputs, *after.constants, *after.outputs}
    for node in after.nodes:
        if isinstance(node.op, ops.Identity):
            assert {node.inputs[0], node.output} <= fixed


@given(graphs(kinds=("Conv2d", "Dense", "Add", "MaxPool2d", "Relu", "Tanh", "Reshape", "Squeeze")))
def test_no_activation_is_left_after_an_operator_that_could_apply_it(graph: Graph) -> None:
    after = assert_keeps(fuse_activations, graph, 0.0)
    applying = (ops.Conv2d, ops.Dense, ops.Add, ops.MaxPool2d)
    for node in after.nodes:
        if isinstance(node.op, applying) and node.op.activation is None:
            nodes = readers(after)[node.output]
            alone = len(nodes) == 1 and node.output not in after.outputs
            assert not (alone and isinstance(nodes[0].op, ACTIVATIONS))


class Formulas:
    """Spells activations out, in any of the ways that say the same."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.builder = Builder("formulas")

    def number(self, number: float) -> Value:
        shape = self.draw(st.sampled_from(((), (1,), (1, 1))))
        return self.builder.constant("c", np.full(shape, number, np.float32))

    def add(self, x: Value, number: float) -> Value:
        return self.commuted(ops.Add(), x, self.number(number))

    def commuted(self, op: ops.Add | ops.Mul, *operands: Value) -> Value:
        return self.builder.add(op, *self.draw(st.permutations(operands)))

    def scaled(self, x: Value, factor: float) -> Value:
        if self.draw(st.booleans()):
            return self.commuted(ops.Mul(), x, self.number(factor))
        return self.builder.add(ops.Div(), x, self.number(1 / factor))

    def product(self, factor: float, *values: Value) -> Value:
        """The values and a number multiplied in any order and grouping."""
        at = self.draw(st.integers(0, len(values)))
        terms = list(self.draw(st.permutations(values)))
        if at < len(values):
            terms[at] = self.scaled(terms[at], factor)
        total = terms[0]
        for term in terms[1:]:
            total = self.commuted(ops.Mul(), total, term)
        return total if at < len(values) else self.scaled(total, factor)

    def clipped(self, x: Value) -> Value:
        """Between 0 and 6."""
        add = self.builder.add
        match self.draw(st.integers(0, 3)):
            case 0:
                return add(ops.Relu6(), x)
            case 1:
                return add(ops.Clip(0.0, 6.0), x)
            case 2:
                return add(ops.Minimum(), add(ops.Relu(), x), self.number(6.0))
            case _:
                return add(ops.Maximum(), self.number(0.0), add(ops.Clip(high=6.0), x))

    def cube(self, x: Value) -> Value:
        add = self.builder.add
        match self.draw(st.integers(0, 2)):
            case 0:
                return add(ops.Pow(), x, self.number(3.0))
            case 1:
                return self.commuted(ops.Mul(), add(ops.Pow(), x, self.number(2.0)), x)
            case _:
                return self.commuted(ops.Mul(), add(ops.Mul(), x, x), x)

    def spelled(self, kind: str, x: Value) -> Value:
        add = self.builder.add
        match kind:
            case "Silu":
                return self.commuted(ops.Mul(), x, add(ops.Sigmoid(), x))
            case "HardSigmoid":
                return self.scaled(self.clipped(self.add(x, 3.0)), 1 / 6)
            case "HardSwish":
                return self.product(1 / 6, x, self.clipped(self.add(x, 3.0)))
            case "Gelu":
                gate = self.add(add(ops.Erf(), self.scaled(x, 0.5**0.5)), 1.0)
                return self.product(0.5, x, gate)
            case _:
                inner = self.commuted(ops.Add(), x, self.scaled(self.cube(x), 0.044715))
                gate = self.add(add(ops.Tanh(), self.scaled(inner, (2 / np.pi) ** 0.5)), 1.0)
                return self.product(0.5, x, gate)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("Silu", ops.Silu()),
        ("HardSigmoid", ops.HardSigmoid()),
        ("HardSwish", ops.HardSwish()),
        ("Gelu", ops.Gelu()),
        ("Gelu by tanh", ops.Gelu(True)),
    ],
)
def test_formulas_are_recognized_however_they_are_written(kind: str, found: object) -> None:
    @st.composite
    def nets(draw: st.DrawFn) -> Graph:
        formulas = Formulas(draw)
        x = formulas.builder.input("x", (2, 9))
        return formulas.builder.finish([formulas.spelled(kind, formulas.spelled(kind, x))])

    @given(nets())
    def holds(graph: Graph) -> None:
        after = assert_keeps(recognize_activations, graph, 1e-5)
        assert [node.op for node in after.nodes] == [found, found]

    holds()


def test_a_formula_is_fused_into_the_operator_before_it() -> None:
    b = Builder("net")
    x = b.input("x", (1, 4))
    weights = b.constant("w", np.ones((4, 4), np.float32))
    y = b.add(ops.Dense(), x, weights)
    graph = b.finish([b.add(ops.Mul(), b.add(ops.Sigmoid(), y), y)])
    after = assert_keeps(deployed, graph, ROUNDING)
    assert kinds(after) == ["Dense"]
    assert after.nodes[0].op == ops.Dense(ops.Silu())
