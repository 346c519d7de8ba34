from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from irprune.ir.build import Builder
from irprune.ir.errors import InvalidGraph
from irprune.ir.graph import Graph
from irprune.ir.ops import Relu
from irprune.passes.pipeline import DEPLOYMENT, Pass, Step, deployed, run
from tests.rewrites import assert_keeps
from tests.strategies import graphs

REWRITES = {step.rewrite.__name__: step.rewrite for step in DEPLOYMENT}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_rewrite_keeps_any_graph(rewrite: Pass) -> None:
    @settings(max_examples=150)
    @given(graphs())
    def keeps(graph: Graph) -> None:
        assert_keeps(rewrite, graph, tolerance=1e-3)

    keeps()


@settings(max_examples=300)
@given(graphs(max_nodes=12))
def test_the_deployed_form_keeps_any_graph(graph: Graph) -> None:
    after = assert_keeps(deployed, graph, tolerance=2e-3)
    assert deployed(graph) is after  # computed once


def chain() -> Graph:
    b = Builder("chain")
    return b.finish([b.add(Relu(), b.input("x", (1, 4)))])


def test_a_step_that_breaks_a_graph_is_caught() -> None:
    def forget_nodes(graph: Graph) -> Graph:
        return replace(graph, nodes=())

    with pytest.raises(InvalidGraph):
        run(chain(), [Step(forget_nodes, "to break it")])


def test_nothing_to_do_gives_the_same_object() -> None:
    graph = chain()
    assert deployed(graph) is graph


def test_every_step_has_its_reason() -> None:
    assert all(step.reason for step in DEPLOYMENT)
