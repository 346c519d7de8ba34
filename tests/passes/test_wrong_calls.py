"""What the analyses of memory are given wrongly, and the smallest graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from irprune import PeakModel, arena, schedule
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import best_arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import MemoryModel, Step
from irprune.passes.analysis.memory import memory_of
from irprune.passes.analysis.schedule import best_order


def two_nodes() -> Graph:
    b = Builder("two")
    x = b.input("x", (1, 8))
    return b.finish([b.add(ops.Abs(), b.add(ops.Relu(), x))])


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0,), (0, 1, 2)])
def test_an_arena_is_for_an_order_that_can_run(order: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="the order"):
        arena(two_nodes(), order)


def test_graphs_without_nodes() -> None:
    """Both inputs are in memory, each at an aligned place."""
    b = Builder("nothing")
    graph = b.finish([b.input("x", (1, 1)), b.input("y", (1, 1))])
    memory = memory_of(graph, Precision.INT8)
    assert (memory.schedule.peak, memory.arena.size) == (2, 32)
    peaks = PeakModel(graph)
    assert peaks.peak(peaks.sizes) == schedule(graph).peak == 2


@pytest.mark.parametrize(
    "sizes", [[np.nan] * 3, [np.inf] * 3, [[1.0, 2.0, 3.0]], [1.0], [-1.0, 1.0, 1.0]]
)
def test_sizes_that_are_none(sizes: Sequence[float]) -> None:
    peaks = PeakModel(two_nodes())
    assert len(peaks.sizes) == 3
    with pytest.raises(UsageError, match="wants 3 sizes"):
        peaks.peak(np.array(sizes))


def test_peaks_of_odd_shapes() -> None:
    b = Builder("odd")
    x = b.input("x", ())
    empty, rest = b.add_node(ops.Split(1, (0, 4)), [b.input("y", (1, 4))])
    graph = b.finish([b.add(ops.Transpose(()), x), b.add(ops.Abs(), empty), rest])
    peaks = PeakModel(graph)
    assert peaks.peak(peaks.sizes) == schedule(graph).peak


def test_time_limits_hold_for_thousands_of_buffers() -> None:
    """A star of pairs; a search of seconds may overrun by what its first answer takes."""
    steps, sizes = [], [Bytes(1)]
    for at in range(1000):
        steps.append(Step((0,), (len(sizes),), ()))
        steps.append(Step((len(sizes),), (len(sizes) + 1,), (2 * at,)))
        sizes += [Bytes(at % 97 + 1), Bytes(at % 5 + 1)]
    ends = tuple(range(2, len(sizes), 2))
    steps.append(Step(ends, (len(sizes),), tuple(range(1, 2000, 2))))
    sizes.append(Bytes(1))
    model = MemoryModel(tuple(sizes), frozenset((0,)), frozenset((len(sizes) - 1,)), tuple(steps))
    begin = time.monotonic()
    order = best_order(model, time_limit=0.5).order
    found = best_arena(model, order, time_limit=0.5)
    assert found.lower_bound <= found.size
    assert time.monotonic() - begin < 15  # without a limit it takes minutes
