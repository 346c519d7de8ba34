"""Liveness against the shared cases, whose peaks were proven independently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given

from irprune.budget import Budget
from irprune.ir.build import Builder
from irprune.ir.ops import Add, Flatten, Relu
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import best_arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import (
    MemoryModel,
    Step,
    buffers,
    imprecise_peak,
    memory_model,
    timeline,
)
from irprune.passes.analysis.schedule import best_order
from irprune.report.report import analyze
from tests.memory_models import memory_model_of, memory_models
from tests.oracles import usage_by_definition


def test_peaks_of_shared_cases(shared: Path) -> None:
    cases = json.loads((shared / "cases" / "peak_memory.json").read_text())["cases"]
    assert len(cases) == 69
    for case in cases:
        model, step_of = memory_model_of(case)
        best = timeline(model, [step_of[i] for i in case["order"]]).peak
        found = (timeline(model).peak, best, imprecise_peak(model))
        wanted = (case["peak_given_order"], case["peak"], case["imprecise_add_both"])
        assert found == wanted, case["name"]
        assert imprecise_peak(model, in_place=True) == case["imprecise_add_inplace"], case["name"]


@given(memory_models())
def test_a_timeline_is_what_the_convention_says(model: MemoryModel) -> None:
    assert list(timeline(model).usage) == usage_by_definition(model)


def test_the_bottleneck_is_the_first_step_at_the_peak() -> None:
    steps = (Step((0,), (1,)), Step((1,), (2,)), Step((2,), (3,)))
    sizes = tuple(map(Bytes, (10, 50, 50, 50)))
    found = timeline(MemoryModel(sizes, frozenset({0}), frozenset({3}), steps))
    assert (found.usage, found.peak, found.bottleneck) == ((60, 100, 100), 100, 1)
    assert found.live[1] == {1, 2}


def test_views_and_inputs_of_a_graph() -> None:
    b = Builder("views")
    x, unread = b.input("x", (1, 4, 2, 2)), b.input("unread", (1, 100))
    flat = b.add(Flatten(), x)
    y = b.add(Relu(), flat)
    graph = b.finish([y, b.add(Relu(), x)])
    assert unread in graph.inputs
    index = buffers(graph)
    assert index[x] == index[flat]
    found = timeline(memory_model(graph, Precision.INT8))
    assert found.usage == (116, 32, 48)  # the view at 16 + 100; y beside x; both outputs beside x
    without = timeline(memory_model(graph, Precision.INT8, exclude_inputs=True))
    assert without.usage == (0, 16, 32)


def test_a_step_waits_for_views_of_constants() -> None:
    b = Builder("constant view")
    x, table = b.input("x", (1, 4)), b.constant("table", np.ones((2, 2), np.float32))
    graph = b.finish([b.add(Add(), x, b.add(Flatten(0), table))])
    steps = memory_model(graph, Precision.INT8).steps
    assert [(step.reads, step.makes, step.after) for step in steps] == [
        ((), (), ()),
        ((0,), (1,), (0,)),
    ]


def test_a_graph_without_steps_holds_its_inputs() -> None:
    b = Builder("nothing")
    x = b.input("x", (1, 4, 2, 2))
    graph = b.finish([x])
    model = memory_model(graph, Precision.INT8)
    assert (timeline(model).peak, best_order(model).peak, best_arena(model).size) == (16, 16, 16)
    report = analyze(graph)
    assert report.costs.peak_sram == 16
    assert [v.fits for v in report.verdicts(Budget(sram=Bytes(15)))] == [False]
