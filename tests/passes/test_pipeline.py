from __future__ import annotations

from dataclasses import replace

import pytest

from irprune.ir.build import Builder
from irprune.ir.errors import InvalidGraph
from irprune.ir.graph import Graph
from irprune.ir.ops import Relu
from irprune.passes.pipeline import DEPLOYMENT, Step, deployed, run


def chain() -> Graph:
    b = Builder("chain")
    return b.finish([b.add(Relu(), b.input("x", (1, 4)))])


def test_a_step_that_breaks_a_graph_is_caught() -> None:
    def forget_nodes(graph: Graph) -> Graph:
        return replace(graph, nodes=())

    with pytest.raises(InvalidGraph):
        run(chain(), [Step(forget_nodes, "to break it")])


def test_the_deployed_form_is_computed_once() -> None:
    b = Builder("dead")
    x = b.input("x", (1, 4))
    b.add(Relu(), x)
    graph = b.finish([b.add(Relu(), x)])
    assert len(deployed(graph).nodes) == 1
    assert deployed(graph) is deployed(graph)


def test_nothing_to_do_gives_the_same_object() -> None:
    graph = chain()
    assert deployed(graph) is graph


def test_every_step_has_its_reason() -> None:
    assert all(step.reason for step in DEPLOYMENT)
