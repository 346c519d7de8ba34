import numpy as np
import pytest
from hypothesis import given, settings

from irprune.backends.reference import run
from irprune.ir.graph import Graph
from irprune.ir.op import OPS
from irprune.ir.verify import verify
from tests.strategies import GROWERS, graphs, inputs_of


def test_every_operator_has_a_grower() -> None:
    assert sorted(GROWERS) == sorted(OPS)


@pytest.mark.parametrize("kind", sorted(OPS))
def test_each_operator_is_drawn_where_asked_for(kind: str) -> None:
    @settings(max_examples=10)
    @given(graphs(kinds=[kind]))
    def holds(graph: Graph) -> None:
        assert kind in {type(node.op).__name__ for node in graph.nodes}

    holds()


@given(graphs())
def test_graphs_are_valid_and_have_finite_outputs(graph: Graph) -> None:
    verify(graph)
    outputs = run(graph, inputs_of(graph))
    assert [y.shape for y in outputs] == [v.type.shape for v in graph.outputs]
    for y in outputs:
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
