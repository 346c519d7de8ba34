"""Orders of least memory, held to proven optima and to enumeration."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import given, settings

from irprune.ir.types import Bytes
from irprune.passes.analysis.liveness import MemoryModel, timeline
from irprune.passes.analysis.ordering import solver
from irprune.passes.analysis.ordering.beam import beam
from irprune.passes.analysis.ordering.moves import Backward, Forward, Sized
from irprune.passes.analysis.ordering.search import search
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
