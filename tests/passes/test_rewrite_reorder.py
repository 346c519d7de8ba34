"""Graphs in the order of their schedules: less memory, the same function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import irprune
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.ops import Add, Conv2d, Relu
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import memory_model, timeline
from irprune.passes.analysis.schedule import Schedule, schedule
from irprune.passes.rewrite.reorder import reorder
from tests.strategies import graphs, inputs_of


def given_peak(graph: Graph) -> int:
    return timeline(memory_model(graph, Precision.INT8)).peak


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_the_function_stays_and_the_peak_is_the_schedules(graph: Graph) -> None:
    found = schedule(graph, Precision.INT8)
    after = reorder(graph, found)
    irprune.verify(after)
    assert given_peak(after) == found.peak <= given_peak(graph)
    assert (after is graph) == (found.peak == given_peak(graph))
    inputs = inputs_of(graph)
    for y, wanted in zip(irprune.run(after, inputs), irprune.run(graph, inputs), strict=True):
        np.testing.assert_array_equal(y, wanted)


def wide_first() -> Graph:
    """A branch that is wide at its end, run before one that is wide at its beginning."""
    b = Builder("wide first")
    x = b.input("x", (1, 4, 8, 8))

    def conv(value: irprune.Value, channels: int, name: str) -> irprune.Value:
        weights = np.ones((channels, value.type.shape[1], 1, 1), np.float32)
        return b.add(Conv2d(), value, b.constant(f"{name}.w", weights), name=name)

    end = conv(x, 32, "end")
    begin = conv(conv(x, 64, "begin"), 32, "thin")
    return b.finish([b.add(Add(), end, begin, name="sum")])


def test_a_better_order_is_found_and_keeps_every_node() -> None:
    graph = wide_first()
    found = schedule(graph)
    # By hand, in channels of 64 bytes. As given: x 4 + end 32, + begin 64, end + begin + thin 128.
    # At best: x + begin, x + begin + thin = 100, x + thin + end; the sum is written over thin.
    assert (given_peak(graph), found.peak, found.proven) == (128 * 64, 100 * 64, True)
    after = reorder(graph, found)
    assert [node.name for node in after.nodes] == ["begin", "thin", "end", "sum"]
    assert set(after.nodes) == set(graph.nodes)


def test_a_schedule_for_another_graph_is_refused() -> None:
    found = schedule(wide_first())
    b = Builder("other")
    other = b.finish([b.add(Relu(), b.input("x", (1, 2)))])
    with pytest.raises(UsageError, match="does not run each of 1 nodes once of 'other'"):
        reorder(other, found)
    graph = wide_first()
    twice = Schedule((0, 0, 2, 3), found.peak, found.lower_bound)
    with pytest.raises(UsageError, match="does not run each of 4 nodes once"):
        reorder(graph, twice)
    with pytest.raises(UsageError, match="runs node 3 before what makes its operands"):
        reorder(graph, Schedule((3, 2, 1, 0), found.peak, found.lower_bound))
    assert reorder(graph, Schedule((0, 1, 2, 3), found.peak, found.lower_bound)) is graph
