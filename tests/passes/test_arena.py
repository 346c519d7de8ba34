"""Arenas against a simulation, and the check against plans that are wrong in every way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir.build import Builder
from irprune.ir.errors import InvalidPlan, UsageError
from irprune.ir.graph import Graph
from irprune.ir.ops import Add, Concat, Flatten, Relu
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import Arena, arena, best_arena, check_arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import MemoryModel, buffers, memory_model
from tests.memory_models import memory_model_of, memory_models
from tests.oracles import conflicts, usage_by_definition
from tests.strategies import graphs


def rounded_peak(model: MemoryModel, alignment: int) -> int:
    """The peak of the model's own order with sizes rounded up."""
    sizes = tuple(Bytes((size + alignment - 1) // alignment * alignment) for size in model.sizes)
    return max(usage_by_definition(replace(model, sizes=sizes)))


def assert_holds(model: MemoryModel, found: Arena) -> None:
    """The plan is sound for the model's own order, and as large as it says."""
    assert conflicts(model, found.offsets) == []
    assert all(offset >= 0 and offset % found.alignment == 0 for offset in found.offsets)
    end = max(o + size for o, size in zip(found.offsets, model.sizes, strict=True))
    assert found.size == (end + found.alignment - 1) // found.alignment * found.alignment


def test_arenas_of_shared_cases_reach_the_peak(shared: Path) -> None:
    cases = json.loads((shared / "cases" / "peak_memory.json").read_text())["cases"]
    for case in cases:
        model, step_of = memory_model_of(case)
        order = [step_of[i] for i in case["order"]]
        as_run = replace(model, steps=tuple(model.steps[i] for i in order))
        for alignment in (1, 16):
            found = best_arena(model, order, alignment=alignment)
            assert_holds(as_run, found)
            assert (found.order, found.proven) == (tuple(order), True), case["name"]
            # Rounding may make sizes equal, but in place means equal before it.
            assert found.lower_bound >= rounded_peak(as_run, alignment), case["name"]
        assert best_arena(model, order, alignment=1).size == case["peak"], case["name"]


@given(memory_models(), st.sampled_from((1, 2, 16)))
def test_an_arena_holds(model: MemoryModel, alignment: int) -> None:
    found = best_arena(model, alignment=alignment)
    assert_holds(model, found)
    assert found.proven
    if alignment == 1:
        assert found.lower_bound >= max(usage_by_definition(model))


@given(memory_models())
def test_the_bound_is_the_peak_unless_that_is_refuted(model: MemoryModel) -> None:
    scaled = replace(model, sizes=tuple(Bytes(16 * size) for size in model.sizes))
    found = best_arena(scaled)
    assert found.lower_bound >= max(usage_by_definition(scaled))
    assert found.size == 16 * best_arena(model, alignment=1).size


def residual() -> Graph:
    """Two sums in place, one after the other, a view, and an input that nobody reads."""
    b = Builder("residual")
    x, _ = b.input("x", (1, 4, 2, 2)), b.input("unread", (1, 100))
    a = b.add(Relu(), x, name="a")
    total = b.add(Add(), a, x, name="total")
    again = b.add(Add(), total, b.add(Relu(), total, name="c"), name="again")
    flat = b.add(Flatten(), again, name="flat")
    return b.finish([b.add(Concat(1), flat, flat, name="pair")])


def placed(graph: Graph, found: Arena) -> dict[str, int]:
    return {value.name: found.offsets[at] for value, at in buffers(graph).items()}


def test_what_is_written_over_shares_its_place() -> None:
    graph = residual()
    found = arena(graph)
    check_arena(graph, found)
    # At the first step x, unread and a: 16 + 112 + 16 bytes, 100 rounded up.
    assert (found.size, found.proven, found.order) == (144, True, (0, 1, 2, 3, 4, 5))
    offsets = placed(graph, found)
    names = {node.output.name for node in graph.nodes}
    assert len({offsets[name] for name in names if name.startswith(("again", "flat"))}) == 1
    total = offsets[graph.nodes[1].output.name]
    assert total in (offsets[graph.nodes[0].output.name], offsets["x"])
    assert arena(graph, precision=Precision.FLOAT32).size == 64 + 400 + 64
    assert arena(graph, exclude_inputs=True).size == 48


def test_a_graph_without_nodes_keeps_its_inputs() -> None:
    b = Builder("identity")
    x = b.input("x", (1, 20))
    graph = b.finish([x])
    found = arena(graph)
    check_arena(graph, found)
    assert (found.offsets, found.size, found.proven) == ((0,), 32, True)


def drawn_order(data: st.DataObject, model: MemoryModel) -> tuple[int, ...]:
    order: list[int] = []
    while len(order) < len(model.steps):
        waiting = [at for at in range(len(model.steps)) if at not in order]
        ready = [at for at in waiting if {*order}.issuperset(model.steps[at].after)]
        order.append(data.draw(st.sampled_from(ready)))
    return tuple(order)


@given(graphs(), st.sampled_from(tuple(Precision)), st.booleans(), st.data())
def test_the_arenas_of_graphs_pass_the_check(
    graph: Graph, precision: Precision, exclude_inputs: bool, data: st.DataObject
) -> None:
    order = drawn_order(data, memory_model(graph, precision))
    found = arena(graph, order, precision=precision, exclude_inputs=exclude_inputs)
    check_arena(graph, found, precision=precision, exclude_inputs=exclude_inputs)


@given(graphs(), st.data())
def test_the_check_refuses_what_a_simulation_refuses(graph: Graph, data: st.DataObject) -> None:
    model = memory_model(graph, Precision.INT8)
    order = drawn_order(data, model)
    found = arena(graph, order, precision=Precision.INT8)
    offsets = list(found.offsets)
    for at in data.draw(st.lists(st.integers(0, len(offsets) - 1), min_size=1, max_size=3)):
        places = st.one_of(st.sampled_from(offsets), st.integers(0, 4).map(lambda n: Bytes(16 * n)))
        offsets[at] = data.draw(places)
    ends = [o + size for o, size in zip(offsets, model.sizes, strict=True)]
    plan = replace(found, offsets=tuple(offsets), size=Bytes(max(ends)))
    if conflicts(replace(model, steps=tuple(model.steps[i] for i in order)), offsets):
        with pytest.raises(InvalidPlan, match="overlap"):
            check_arena(graph, plan, precision=Precision.INT8)
    else:
        check_arena(graph, plan, precision=Precision.INT8)


def moved(graph: Graph, name: str, offset: int) -> Arena:
    """The graph's arena with one buffer elsewhere."""
    found = arena(graph)
    (at,) = {at for value, at in buffers(graph).items() if value.name == name}
    offsets = list(found.offsets)
    offsets[at] = Bytes(offset)
    return replace(found, offsets=tuple(offsets), size=Bytes(10**6))


@pytest.mark.parametrize(
    ("name", "offset", "problem"),
    [
        ("unread", -16, "buffer 'unread' (bytes -16 to 84, steps 0 to 0) starts below the arena"),
        ("unread", 8, "buffer 'unread' (bytes 8 to 108, steps 0 to 0) is not aligned to 16 bytes"),
        (
            "unread",
            999_920,
            "buffer 'unread' (bytes 999920 to 1000020, steps 0 to 0) leaves the arena of "
            "1000000 bytes",
        ),
    ],
)
def test_a_place_that_no_buffer_can_have(name: str, offset: int, problem: str) -> None:
    graph = residual()
    with pytest.raises(InvalidPlan) as caught:
        check_arena(graph, moved(graph, name, offset))
    assert str(caught.value).startswith(f"residual: {problem} (")


def test_buffers_that_overlap_are_named() -> None:
    graph = residual()
    x = placed(graph, arena(graph))["x"]
    with pytest.raises(InvalidPlan) as caught:
        check_arena(graph, moved(graph, "unread", x))
    assert str(caught.value).startswith(
        f"residual: buffer 'x' (bytes {x} to {x + 16}, steps 0 to 1) and "
        f"buffer 'unread' (bytes {x} to {x + 100}, steps 0 to 0) overlap ("
    )
    assert "\n" not in str(caught.value)


def unary_chain() -> Graph:
    b = Builder("chain")
    x = b.input("x", (1, 32))
    y = b.add(Relu(), x)
    return b.finish([b.add(Add(), y, b.add(Relu(), y))])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda plan: replace(plan, offsets=(Bytes(0),)),
            "it places 1 buffers and the graph has 4",
        ),
        (lambda plan: replace(plan, order=(0, 1)), "its order of 2 steps is none of the graph's 3"),
        (lambda plan: replace(plan, order=(0, 1, 1)), "its order of 3 steps is none of"),
        (lambda plan: replace(plan, order=(0, 2, 1)), "step 1, node 'add', runs before 'relu.2'"),
        (lambda plan: replace(plan, alignment=0), "an alignment of 0 bytes is none"),
        (lambda plan: replace(plan, size=Bytes(48)), "leaves the arena of 48 bytes"),
    ],
)
def test_a_plan_for_another_model(change: Callable[[Arena], Arena], problem: str) -> None:
    graph = unary_chain()
    found = arena(graph)
    check_arena(graph, found)
    with pytest.raises(InvalidPlan, match=problem) as caught:
        check_arena(graph, change(found))
    assert str(caught.value).startswith("chain: ")
    assert "of another model" in str(caught.value)


def test_only_a_step_in_place_may_write_over_its_operand() -> None:
    graph = unary_chain()
    found = arena(graph)
    assert found.size == 64
    with pytest.raises(InvalidPlan, match="overlap"):
        check_arena(graph, replace(found, offsets=(Bytes(0),) * 4))
    b = Builder("outputs")
    x = b.input("x", (1, 32))
    y = b.add(Relu(), x)
    both = b.finish([b.add(Add(), y, x), x, y])  # the operands of the sum are needed afterwards
    plan = Arena((0, 1), 16, (Bytes(0), Bytes(32), Bytes(32)), Bytes(64), Bytes(64))
    with pytest.raises(InvalidPlan, match="overlap"):
        check_arena(both, plan)
    assert arena(both).size == 96


def test_what_is_written_over_has_the_same_size() -> None:
    b = Builder("broadcast")
    x, y = b.input("x", (1, 32)), b.input("y", (1, 1))
    graph = b.finish([b.add(Add(), x, y)])
    for place, size, holds in ((0, 48, True), (32, 64, False)):  # over x, over y
        plan = Arena((0,), 16, (Bytes(0), Bytes(32), Bytes(place)), Bytes(size), Bytes(48))
        if holds:
            check_arena(graph, plan)
            continue
        with pytest.raises(InvalidPlan, match=r"'y' .* overlap"):
            check_arena(graph, plan)


def test_an_alignment_that_is_none() -> None:
    with pytest.raises(UsageError, match="an alignment of 0 bytes"):
        arena(residual(), alignment=0)
