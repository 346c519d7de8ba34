"""Orders of least memory, held to proven optima and to enumeration."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from irprune.ir.types import Bytes
from irprune.passes.analysis.liveness import MemoryModel, Step, timeline
from irprune.passes.analysis.ordering import solver
from irprune.passes.analysis.ordering.beam import beam
from irprune.passes.analysis.ordering.moves import Backward, Forward, Sized
from irprune.passes.analysis.ordering.search import _End, search
from irprune.passes.analysis.ordering.structure import structure_of
from irprune.passes.analysis.schedule import best_order
from tests.memory_models import memory_model_of, memory_models
from tests.oracles import least_peak_by_enumeration, usage_by_definition


def test_every_shared_case_is_proven(shared: Path) -> None:
    for case in json.loads((shared / "cases" / "peak_memory.json").read_text())["cases"]:
        model, _ = memory_model_of(case)
        found = best_order(model)
        assert (found.peak, found.lower_bound) == (case["peak"],) * 2, case["name"]
        assert max(usage_by_definition(reordered(model, found.order))) == case["peak"]


def reordered(model: MemoryModel, order: tuple[int, ...]) -> MemoryModel:
    """The model with its steps in another order, which must be one."""
    assert sorted(order) == list(range(len(model.steps)))
    place = {at: i for i, at in enumerate(order)}
    steps = tuple(model.steps[at] for at in order)
    assert all(place[earlier] < i for i, step in enumerate(steps) for earlier in step.after)
    return MemoryModel(model.sizes, model.inputs, model.outputs, steps)


@settings(max_examples=3000, deadline=None)
@given(memory_models())
def test_no_order_is_better(model: MemoryModel) -> None:
    found = best_order(model)
    assert found.proven
    assert found.advice == ""
    assert max(usage_by_definition(reordered(model, found.order))) == found.peak
    least = least_peak_by_enumeration(model)
    assert found.peak == least
    # Also where the search is not told of the given order.
    sized = Sized(structure_of(model), model.sizes)
    unknown = Bytes(sum(model.sizes) + 1)
    searched = search(sized, unknown, Bytes(0), time.monotonic() + 60)
    assert searched.order is not None
    assert timeline(model, searched.order).peak == searched.lower_bound == least


@settings(max_examples=300, deadline=None)
@given(memory_models())
def test_each_end_of_the_exact_search_is_right_by_itself(model: MemoryModel) -> None:
    """It finds an order of the least peak, and refutes any smaller one."""
    sized = Sized(structure_of(model), model.sizes)
    least = least_peak_by_enumeration(model)
    for direction in (Forward, Backward):
        for allowed in (least, least - 1):
            end = _End(direction(sized), allowed)
            while not end.advance(50):
                pass
            order = end.order()
            if allowed == least:
                assert order is not None
                assert timeline(model, order).peak == least
            else:
                assert order is None
                assert end.needed <= least


@pytest.mark.parametrize("seed", range(20))
def test_an_input_that_nobody_reads_counts_at_the_first_step(seed: int) -> None:
    """Sources of which one output is read at the end, beside a search of all sets of them.

    There are enough of them for both ends to get their turn.
    """
    rng = np.random.default_rng(seed)
    unread = Bytes(int(rng.integers(20, 80)))
    kept, lost = (rng.integers(1, most, 11).tolist() for most in (4, 60))
    sizes = [Bytes(1), unread]
    steps = []
    for one, other in zip(kept, lost, strict=True):
        steps.append(Step((0,), (len(sizes), len(sizes) + 1), ()))
        sizes += [Bytes(one), Bytes(other)]
    sizes.append(Bytes(1))
    ends = tuple(step.makes[0] for step in steps)
    steps.append(Step(ends, (len(sizes) - 1,), tuple(range(len(steps)))))
    outputs = frozenset((len(sizes) - 1,))
    found = best_order(MemoryModel(tuple(sizes), frozenset((0, 1)), outputs, tuple(steps)))
    least = {0: 0}
    for done in range(1 << len(kept)):
        live = 1 + sum(size for at, size in enumerate(kept) if done >> at & 1)
        for at in range(len(kept)):
            if not done >> at & 1:
                need = live + kept[at] + lost[at] + (0 if done else unread)
                after = done | 1 << at
                least[after] = min(least.get(after, 1 << 30), max(least[done], need))
    wanted = max(least[(1 << len(kept)) - 1], sum(kept) + 1)
    assert (found.peak, found.lower_bound) == (wanted, wanted)


@settings(max_examples=300, deadline=None)
@given(memory_models())
def test_each_end_finds_the_optimum_by_itself(model: MemoryModel) -> None:
    sized = Sized(structure_of(model), model.sizes)
    least = least_peak_by_enumeration(model)
    assert sized.lower_bound <= least
    for direction in (Forward(sized), Backward(sized)):
        order = beam(direction, 2 ** len(model.steps), time.monotonic() + 60)
        assert order is not None
        assert sized.peak(order) == timeline(model, order).peak == least


@settings(max_examples=150, deadline=None)
@given(memory_models())
def test_constraint_programming_finds_the_optimum(model: MemoryModel) -> None:
    sized = Sized(structure_of(model), model.sizes)
    given_order = tuple(range(len(model.steps)))
    least, known = least_peak_by_enumeration(model), sized.peak(given_order)
    found = solver.solve(sized, model.sizes, given_order, Bytes(0), 60)
    assert found.lower_bound == least
    if least < known:
        assert found.order is not None
        assert timeline(model, found.order).peak == least
    else:
        assert found.order is None


def chains(count: int, length: int) -> MemoryModel:
    """Parallel chains that read one input, their small ends combined: too wide to prove."""
    rng = np.random.default_rng(0)
    sizes = [Bytes(64)]
    steps: list[Step] = []
    ends: list[int] = []
    for _ in range(count):
        read = 0
        for size in (*rng.integers(8, 65, length - 1), rng.integers(1, 9)):
            after = (len(steps) - 1,) if read else ()
            steps.append(Step((read,), (len(sizes),), after))
            read = len(sizes)
            sizes.append(Bytes(int(size)))
        ends.append(read)
    # Step i makes buffer i + 1.
    steps.append(Step(tuple(ends), (len(sizes),), tuple(end - 1 for end in ends)))
    outputs = frozenset({len(sizes)})
    return MemoryModel((*sizes, Bytes(1)), frozenset({0}), outputs, tuple(steps))


@pytest.mark.parametrize("has_solver", [False, True])
def test_a_search_that_is_cut_short_has_bounds(
    monkeypatch: pytest.MonkeyPatch, has_solver: bool
) -> None:
    monkeypatch.setattr(solver, "available", lambda: has_solver)
    model = chains(12, 8)
    start = time.monotonic()
    found = best_order(model, time_limit=1.0)
    assert time.monotonic() - start < 5  # of which CP-SAT may take one to build its model
    assert not found.proven
    assert ("irprune[solver]" in found.advice) == (not has_solver)
    assert max(usage_by_definition(reordered(model, found.order))) == found.peak
    sized = Sized(structure_of(model), model.sizes)
    given_order = tuple(range(len(model.steps)))
    assert sized.lower_bound <= found.lower_bound < found.peak < sized.peak(given_order)


@pytest.mark.parametrize("length", [1, 2])
def test_bounds_of_parallel_chains_hold(length: int) -> None:
    model = chains(6, length)
    found = best_order(model)
    assert found.proven
    assert found.peak == least_peak_by_enumeration(model)


@settings(max_examples=200, deadline=None)
@given(memory_models(most=15))
def test_larger_graphs_agree_with_plain_dynamic_programming(model: MemoryModel) -> None:
    sized = Sized(structure_of(model), model.sizes)
    order = beam(Forward(sized), 2**15, time.monotonic() + 60)
    assert order is not None
    assert best_order(model).peak == sized.peak(order)
