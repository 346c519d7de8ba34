from __future__ import annotations

import gc
import weakref

from irprune.ir.analysis import analysis
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value, producers, readers, values
from irprune.ir.ops import Add, Relu


def diamond() -> Graph:
    b = Builder("diamond")
    x = b.input("x", (1, 4))
    left, right = b.add(Relu(), x, name="left"), b.add(Relu(), x, name="right")
    return b.finish([b.add(Add(), left, right, left, name="sum")])


def test_an_analysis_runs_once_for_each_graph_and_arguments() -> None:
    calls: list[tuple[str, int]] = []

    @analysis
    def count(graph: Graph, factor: int, *, extra: int = 0) -> int:
        calls.append((graph.name, factor))
        return len(graph.nodes) * factor + extra

    one, other = diamond(), diamond()
    assert [count(one, 2), count(one, 2), count(one, 3), count(one, 2, extra=1)] == [6, 6, 9, 7]
    assert len(calls) == 3
    assert count(other, 2) == 6
    assert len(calls) == 4


def test_a_result_goes_with_its_graph() -> None:
    @analysis
    def of_values(graph: Graph) -> tuple[Value, ...]:
        return values(graph)

    graph = diamond()
    of_values(graph)
    producers(graph), readers(graph)
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None


def test_who_makes_and_who_reads() -> None:
    graph = diamond()
    left, right, total = graph.nodes
    (x,) = graph.inputs
    assert producers(graph) == {n.output: n for n in graph.nodes}
    assert readers(graph)[x] == (left, right)
    assert readers(graph)[left.output] == (total,)
    assert readers(graph)[total.output] == ()
