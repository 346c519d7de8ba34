"""Memory plans, checked against a memory whose bytes say whose they are."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irprune.ir.errors import InvalidPlan
from irprune.ir.types import Bytes
from irprune.passes.analysis.offline_plan import (
    RUNTIME,
    Operation,
    RuntimeModel,
    check_plan,
    fill_plan,
    plan_size,
)


def model_of(
    sizes: Sequence[int], operations: Sequence[Operation], inputs: set[int], outputs: set[int]
) -> RuntimeModel:
    return RuntimeModel(
        tuple(f"t{i}" for i in range(len(sizes))),
        {i: Bytes(size) for i, size in enumerate(sizes)},
        frozenset(inputs),
        frozenset(outputs),
        tuple(operations),
    )


def survives(model: RuntimeModel, plan: Sequence[int]) -> bool:
    """Whether every tensor has its own content when it is read, byte by byte."""
    memory: dict[int, tuple[int, int]] = {}
    content = {tensor: tensor for tensor in model.sizes}
    for operation in model.operations:
        if operation.view:
            content[operation.makes[0]] = content[operation.reads[0]]

    def places(tensor: int) -> range:
        return range(plan[tensor], plan[tensor] + model.sizes[tensor])

    def write(tensors: Sequence[int]) -> bool:
        for tensor in tensors:
            for i, place in enumerate(places(tensor)):
                memory[place] = (content[tensor], i)
        return all(map(holds, tensors))

    def holds(tensor: int) -> bool:
        return all(memory[p] == (content[tensor], i) for i, p in enumerate(places(tensor)))

    def harmless(operation: Operation, made: int, read: int) -> bool:
        """Whether an operand stays whole until the operator has read it."""
        same = (plan[made], model.sizes[made]) == (plan[read], model.sizes[read])
        apart = not set(places(made)) & set(places(read))
        moves_nothing = content[made] == content[read]
        return apart or (same and (moves_nothing or operation.overwrites))

    sound = write(sorted(model.inputs))
    for operation in model.operations:
        sound &= all(map(holds, operation.reads))
        sound &= all(harmless(operation, m, r) for m in operation.makes for r in operation.reads)
        sound &= write(operation.makes)
    return sound and all(map(holds, model.outputs))


@st.composite
def models(draw: st.DrawFn) -> RuntimeModel:
    """Models of a few operators that read all their inputs at the first of them."""
    sizes = draw(st.lists(st.sampled_from((8, 16, 24, 32)), min_size=1, max_size=2))
    inputs = set(range(len(sizes)))
    operations = [Operation(tuple(inputs), (len(sizes),))]
    sizes.append(16)
    for _ in range(draw(st.integers(1, 5))):
        x = draw(st.integers(0, len(sizes) - 1))
        new = len(sizes)
        match draw(st.sampled_from(("view", "over", "over", "plain", "split"))):
            case "view":
                operations.append(Operation((x,), (new,), view=True))
                sizes.append(sizes[x])
            case "over":
                other = draw(st.integers(0, len(sizes) - 1))
                operations.append(Operation((x, other), (new,), overwrites=True))
                sizes.append(max(sizes[x], sizes[other]))
            case "plain":
                operations.append(Operation((x,), (new,)))
                sizes.append(draw(st.sampled_from((8, 16, 24, 32))))
            case _:
                operations.append(Operation((x,), (new, new + 1)))
                sizes += [sizes[x] // 2] * 2
    outputs = draw(st.sets(st.integers(0, len(sizes) - 1), min_size=1, max_size=2))
    return model_of(sizes, operations, inputs, outputs)


@st.composite
def placed(draw: st.DrawFn) -> tuple[RuntimeModel, list[int]]:
    """Models with plans in which what an operator makes is often where its first operand is."""
    model = draw(models())
    plan = [draw(st.sampled_from((0, 16, 32, 48, 64, 96, 128))) for _ in model.names]
    for operation in model.operations:
        if draw(st.booleans()):
            plan[operation.makes[0]] = plan[operation.reads[0]]
    return model, plan


@settings(max_examples=1000)
@given(placed())
def test_what_passes_survives_and_what_survives_passes(
    model_and_plan: tuple[RuntimeModel, list[int]],
) -> None:
    model, plan = model_and_plan
    if survives(model, plan):
        check_plan(model, plan)
    else:
        with pytest.raises(InvalidPlan, match="overlap while both are needed"):
            check_plan(model, plan)


@given(models(), st.data())
def test_a_filled_plan_survives(model: RuntimeModel, data: st.DataObject) -> None:
    given_first = data.draw(st.sampled_from(sorted(model.sizes)))
    place = data.draw(st.sampled_from((0, 16, 64)))
    plan = fill_plan(model, {given_first: place}, range(len(model.operations)))
    assert plan[given_first] == place
    assert survives(model, plan)
    ends = [plan[t] + size + -size % 16 for t, size in model.sizes.items()]
    assert plan_size(model, plan) == max(ends)


CHAIN = model_of(
    (20, 20, 20), [Operation((0,), (1,)), Operation((1,), (2,))], inputs={0}, outputs={2}
)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ((0, 32), "for another model: it has 2 tensors, not 3"),
        ((0, 32, 0, 64), "for another model: it has 4 tensors, not 3"),
        ((0, 40, 0), "puts tensor 't1' at 40, which is no multiple of 16"),
        ((0, -16, 0), "puts tensor 't1' at -16"),
        ((0, -2, 0), "puts tensor 't1' at -2"),
        ((0, 32, 64), "lets tensor 't2' end at 96, in an arena of 64"),
        ((0, 16, 48), "'t0' at 0 and 't1' at 16, where they overlap while both are needed"),
    ],
)
def test_bad_plans_are_refused_by_name(plan: tuple[int, ...], why: str) -> None:
    with pytest.raises(InvalidPlan, match=why):
        check_plan(CHAIN, plan, size=Bytes(96 if why.startswith("'t0'") else 64))


def test_the_order_decides() -> None:
    """Two branches from one tensor: what the first leaves behind, the second may take."""
    operations = [Operation((0,), (1,)), Operation((1,), (2,)), Operation((0,), (3,))]
    model = model_of((16,) * 4, operations, inputs={0}, outputs={2, 3})
    plan = (0, 16, 32, 16)
    check_plan(model, plan)
    with pytest.raises(InvalidPlan, match="'t1' at 16 and 't3' at 16"):
        check_plan(model, plan, (0, 2, 1))


def test_what_the_runtime_places_is_left_to_it() -> None:
    check_plan(CHAIN, (RUNTIME, 0, RUNTIME))
    assert plan_size(CHAIN, (RUNTIME, 0, RUNTIME)) == 32


def test_a_sum_is_not_written_over_the_end_of_itself() -> None:
    """A row of channels at the end of the images to which it is added."""
    model = model_of((32, 16, 32), [Operation((0, 1), (2,), overwrites=True)], {0, 1}, {2})
    check_plan(model, (0, 32, 0))
    with pytest.raises(InvalidPlan, match="'t2' at 32 and 't1' at 48"):
        check_plan(model, (0, 48, 32))


def test_what_has_no_place_gets_the_lowest_that_is_free() -> None:
    model = model_of(
        (16,) * 3 + (32,), [Operation((0, 1), (2,)), Operation((2,), (3,))], {0, 1}, {3}
    )
    assert fill_plan(model, {0: 0, 1: 48}, (0, 1)) == (0, 48, 32, 0)
    assert fill_plan(model, {0: 16, 3: 32}, (0, 1)) == (16, 0, 64, 32)
