"""Which weights one-shot sparsity takes, beside a slow twin; what it leaves, and why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan
from irprune.ir.types import Array, DType, Quant
from irprune.passes.one_shot_sparsity import (
    left_whole,
    plan_for_size,
    plan_for_sparsity,
    prunable,
)
from irprune.passes.rewrite.apply_sparsity import apply_sparsity


def dense(*layers: Array, quant: Quant | None = None) -> Graph:
    """Dense layers beside each other."""
    b, outputs = Builder("dense"), []
    reals = quant and Quant((1.0,), (0,))
    x = b.input("x", (1, layers[0].shape[1]), DType.of(layers[0].dtype), reals)
    for i, array in enumerate(layers):
        outputs.append(b.add(ops.Dense(), x, b.constant(f"w{i}", array, quant), quant=reals))
    return b.finish(outputs)


def kept(array: Array, sparsity: float) -> list[int]:
    """By definition: take the least, the first of equals first, one after the other."""
    left = list(range(array.size))
    flat = np.abs(array).ravel().tolist()
    for _ in range(min(round(sparsity * array.size), array.size - 1)):
        left.remove(min(left, key=lambda i: (flat[i], i)))
    return left


few = st.sampled_from([0.0, -0.5, 0.5, 1.0, -1.0, 2.0])


@given(arrays.arrays(np.float32, (3, 7), elements=few), st.floats(0, 1, exclude_max=True))
def test_the_least_go(array: Array, sparsity: float) -> None:
    graph = dense(array)
    plan = plan_for_sparsity(graph, sparsity)
    if left_whole(graph):
        assert len(set(np.abs(array).ravel().tolist())) == 1
        assert not plan.masks
    elif plan.masks:
        assert np.flatnonzero(plan.masks["w0"].stays).tolist() == kept(array, sparsity)
    else:
        assert len(kept(array, sparsity)) == array.size


def test_magnitudes_are_of_what_integers_stand_for() -> None:
    """The second channel's numbers are larger, and stand for smaller weights."""
    array = np.array([[11, 9, 13, 5], [60, 40, 70, 12]], np.int8)
    graph = dense(array, quant=Quant((1.0, 0.01), (10, 10), 0))
    after = apply_sparsity(graph, plan_for_sparsity(graph, 0.5))
    np.testing.assert_array_equal(
        next(iter(after.constants.values())), [[11, 9, 13, 5], [10, 10, 10, 10]]
    )


def test_what_is_left_whole_and_why() -> None:
    rng, b = np.random.default_rng(0), Builder("net")

    x = b.input("x", (1, 4, 4, 4))

    def conv(name: str, groups: int, array: Array) -> None:
        nonlocal x
        w = b.constant(name, array.astype(np.float32))
        bias = b.constant(name + ".b", np.arange(array.shape[0], dtype=np.float32))
        x = b.add(ops.Conv2d(groups=groups), x, w, bias)

    conv("free", 1, rng.normal(size=(4, 4, 1, 1)))
    conv("grouped", 2, rng.normal(size=(4, 2, 1, 1)))
    conv("depthwise", 4, rng.normal(size=(8, 1, 1, 1)))
    conv("equal", 1, np.where(rng.random((4, 8, 1, 1)) < 0.5, 0.25, -0.25))
    conv("zero", 1, np.zeros((4, 4, 1, 1)))
    x = b.add(ops.Mul(), x, b.constant("factor", np.ones((1, 4, 1, 1), np.float32)))
    graph = b.finish([x])
    assert [v.name for v in prunable(graph)] == ["free", "grouped", "depthwise", "equal", "zero"]
    reasons = {value.name: reason for value, reason in left_whole(graph).items()}
    assert set(reasons) == {"depthwise", "equal", "zero"}
    assert "depthwise" in reasons["depthwise"]
    assert "one magnitude" in reasons["equal"]
    assert "zero already" in reasons["zero"]
    plan = plan_for_sparsity(graph, 0.5)
    assert {name: mask.stays.sum() for name, mask in plan.masks.items()} == {
        "free": 8,
        "grouped": 4,
    }


def test_one_weight_stays() -> None:
    graph = dense(np.arange(1, 9, dtype=np.float32).reshape(2, 4))
    plan = plan_for_sparsity(graph, 0.999)
    assert np.flatnonzero(plan.masks["w0"].stays).tolist() == [7]


def test_weights_behind_what_only_moves_or_stores_them() -> None:
    rng, b = np.random.default_rng(0), Builder("stored")
    x = b.input("x", (1, 4))
    stored = b.constant("w", rng.integers(-99, 99, (4, 6)).astype(np.int8), Quant((0.1,), (0,)))
    w = b.add(ops.Transpose((1, 0)), b.add(ops.Dequantize(), stored))
    y = b.add(ops.Dense(), x, w)
    mixed = b.add(ops.Abs(), b.constant("v", rng.normal(size=(2, 6)).astype(np.float32)))
    graph = b.finish([b.add(ops.Dense(), y, mixed)])
    assert [value.name for value in prunable(graph)] == ["w"]
    assert plan_for_sparsity(graph, 0.25).masks["w"].stays.sum() == 18


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_no_share(sparsity: float) -> None:
    with pytest.raises(UsageError, match=f"sparsity {sparsity} is not a share"):
        plan_for_sparsity(dense(np.ones((2, 2), np.float32)), sparsity)


def test_weights_that_are_not_finite() -> None:
    with pytest.raises(UsageError, match="'w0' is not finite"):
        plan_for_sparsity(dense(np.array([[1, np.nan]], np.float32)), 0.5)


def test_a_model_without_weights() -> None:
    b = Builder("none")
    graph = b.finish([b.add(ops.Relu(), b.input("x", (1, 4)))])
    with pytest.raises(UsageError, match="none: has no weights of convolutions or dense layers"):
        plan_for_sparsity(graph, 0.5)


def present(plan: Plan) -> int:
    """A size for the search: weights that stay, of two tensors of 200 and of 35."""
    total = sum(int(mask.stays.sum()) for mask in plan.masks.values())
    return total + (0 if "w0" in plan.masks else 200) + (0 if "w1" in plan.masks else 35)


@pytest.mark.parametrize("bound", [2, 3, 57, 100, 180, 234, 235, 10_000])
def test_the_least_sparsity_that_is_enough(bound: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 5)).astype(np.float32) for n in (40, 7)]
    graph = dense(*arrays)
    first = next(n for n in range(1000) if present(plan_for_sparsity(graph, n / 1000)) <= bound)
    assert plan_for_size(graph, present, bound) == plan_for_sparsity(graph, first / 1000)


def test_a_size_that_no_sparsity_reaches() -> None:
    graph = dense(np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))
    with pytest.raises(UsageError, match="flash can fall to 36 bytes at the least, not to 20"):
        plan_for_size(graph, present, 20)
