"""Masks: their JSON, what they make of weights, and what is refused."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irprune.backends.compile import compile_tflite
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph
from irprune.ir.plan import Mask, Plan, fingerprint, loads
from irprune.ir.types import Array, DType, Quant
from irprune.passes.analysis.channels import channels
from irprune.passes.analysis.deployment import weights
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.passes.rewrite.apply_widths import apply_widths
from tests.rewrites import random_inputs

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def net() -> Graph:
    """A convolution, its normalization, and a dense layer."""
    rng, b = np.random.default_rng(0), Builder("net")

    x = b.input("x", (1, 3, 4, 4))
    w = b.constant("conv.w", rng.normal(size=(6, 3, 3, 3)).astype(np.float32))
    y = b.add(ops.Conv2d(), x, w, name="conv")
    norm = [b.constant(f"norm.{i}", rng.uniform(0.5, 2, 6).astype(np.float32)) for i in range(4)]
    y = b.add(ops.Flatten(), b.add(ops.BatchNorm(), y, *norm))
    v = b.constant("head.w", rng.normal(size=(5, 24)).astype(np.float32))
    return b.finish([b.add(ops.Dense(), y, v, name="head")])


def half(graph: Graph, *names: str, seed: int = 1) -> Plan:
    """A plan that takes half of the named constants' elements, at random."""
    rng = np.random.default_rng(seed)
    masks = {
        v.name: Mask.of(rng.random(v.type.shape) < 0.5) for v in graph.constants if v.name in names
    }
    return Plan(fingerprint(graph), masks=masks)


@given(arrays.arrays(np.bool_, SHAPES))
def test_a_mask_is_what_it_was_made_of(stays: Array) -> None:
    mask = Mask.of(stays)
    np.testing.assert_array_equal(mask.stays, stays, strict=True)
    assert len(mask.bits) == -(-stays.size // 8)


def test_the_first_element_is_the_highest_bit() -> None:
    mask = Mask.of(np.array([[True, False, True], [True, False, False], [True, True, True]]))
    assert (mask.shape, mask.bits) == ((3, 3), bytes([0b10110011, 0b10000000]))


@given(st.dictionaries(st.text(), arrays.arrays(np.bool_, SHAPES), max_size=3))
def test_a_plan_survives_its_json(arrays_by_name: dict[str, Array]) -> None:
    masks = {name: Mask.of(array) for name, array in arrays_by_name.items()}
    plan = Plan("hash", {"group": (0, 2)}, masks)
    assert loads(plan.dumps()) == plan
    assert json.loads(plan.dumps())["version"] == (2 if masks else 1)


def test_plans_from_before_there_were_masks() -> None:
    text = '{"kind": "irprune plan", "version": 1, "graph": "hash", "kept": {"a": [0, 1]}}'
    assert loads(text) == Plan("hash", {"a": (0, 1)})


BITS = base64.b64encode(bytes(2)).decode()


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([], "its masks have no names"),
        ({"w": BITS}, "the mask of 'w' is no shape"),
        ({"w": {"shape": [3, "3"], "bits": BITS}}, "the mask of 'w' is no shape"),
        ({"w": {"shape": [3, 7], "bits": BITS}}, "'w' is damaged: 2 bytes are no mask of 3x7"),
        ({"w": {"shape": [-4, -4], "bits": BITS}}, "'w' is damaged: 2 bytes are no mask"),
        ({"w": {"shape": [3, 3], "bits": "no base 64!"}}, "'w' is damaged"),
        ({"w": {"shape": [3, 3], "bits": "ä"}}, "'w' is damaged"),
    ],
)
def test_damaged_masks(masks: object, words: str) -> None:
    document = {"kind": "irprune plan", "version": 2, "graph": "hash", "kept": {}, "masks": masks}
    with pytest.raises(InvalidPlan, match=words):
        loads(json.dumps(document))


def test_masked_weights_are_zero_and_all_else_is_as_it_was() -> None:
    graph = net()
    plan = half(graph, "conv.w", "head.w")
    after = apply_sparsity(graph, plan)
    assert (after.nodes, after.inputs, after.outputs) == (graph.nodes, graph.inputs, graph.outputs)
    for value, array in graph.constants.items():
        found = after.constants[value]
        if value.name in plan.masks:
            stays = plan.masks[value.name].stays
            np.testing.assert_array_equal(found[stays], array[stays])
            assert not found[~stays].any()
            assert found.dtype == array.dtype
        else:
            assert found is array
    assert apply_sparsity(after, plan) is after
    assert apply_sparsity(graph, Plan(fingerprint(graph))) is graph


@pytest.mark.parametrize(
    "quant",
    [Quant((0.5,), (-7,)), Quant((0.5, 0.25), (3, -4), 0), Quant((0.5, 0.25, 1.0), (3, 0, 9), 1)],
)
def test_integers_are_the_zero_points(quant: Quant) -> None:
    b = Builder("integers")
    array = np.arange(20, 26, dtype=np.int8).reshape(2, 3)
    x = b.input("x", (1, 3), DType.I8, Quant((1.0,), (0,)))
    w = b.constant("w", array, quant)
    graph = b.finish([b.add(ops.Dense(), x, w, quant=Quant((1.0,), (0,)))])
    stays = np.array([[True, False, False], [False, True, True]])
    after = apply_sparsity(graph, Plan(fingerprint(graph), masks={"w": Mask.of(stays)}))
    ((value, found),) = after.constants.items()
    assert value.type.quant == quant
    assert found.dtype == np.int8
    for row in range(2):
        for column in range(3):
            channel = (0, row, column)[0 if quant.axis is None else quant.axis + 1]
            zero = quant.zero_point[channel]
            assert found[row, column] == (array[row, column] if stays[row, column] else zero)


@pytest.mark.parametrize("seed", range(5))
def test_a_masked_weight_is_the_int8_zero(seed: int) -> None:
    """Normalizations are folded and weights quantized; what was masked is 0, its scale finite."""
    graph = net()
    plan = half(graph, "conv.w", "head.w", seed=seed)
    after = apply_sparsity(graph, plan)
    compiled = compile_tflite(after, [random_inputs(graph)]).model.graph
    conv, head = (compiled.constants[value] for value in weights(compiled))
    zeros = [~plan.masks[name].stays for name in ("conv.w", "head.w")]
    assert conv.dtype == head.dtype == np.int8
    assert not conv[zeros[0].transpose(0, 2, 3, 1)].any()
    pixels = zeros[1].reshape(5, 6, 2, 2).transpose(0, 2, 3, 1).reshape(5, 24)
    assert not head[pixels].any()
    assert conv.any()
    assert head.any()


def test_masks_and_widths_of_one_plan() -> None:
    """Masks are of whole constants, so they come first."""
    graph = net()
    (group,) = channels(graph).free
    masks = half(graph, "conv.w").masks
    plan = Plan(fingerprint(graph), {group.name: (0, 3, 4)}, masks)
    found = apply_widths(apply_sparsity(graph, plan), plan)
    wanted = np.where(masks["conv.w"].stays, next(iter(graph.constants.values())), 0)[[0, 3, 4]]
    np.testing.assert_array_equal(next(iter(found.constants.values())), wanted)
    with pytest.raises(InvalidPlan, match="is for another graph"):
        apply_sparsity(apply_widths(graph, plan), plan)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("absent", (2,), "there is no constant 'absent'"),
        ("x", (1, 3, 4, 4), "there is no constant 'x'"),
        ("conv.w", (6, 3, 3), "mask of 'conv.w': is 6x3x3, not 6x3x3x3"),
    ],
)
def test_masks_that_do_not_fit(name: str, shape: tuple[int, ...], words: str) -> None:
    graph = net()
    plan = Plan(fingerprint(graph), masks={name: Mask.of(np.ones(shape, bool))})
    with pytest.raises(InvalidPlan, match=words):
        apply_sparsity(graph, plan)


def test_integers_that_are_no_reals() -> None:
    b = Builder("indices")
    x, i = b.input("x", (1,), DType.I32), b.constant("i", np.ones(1, np.int32))
    graph = b.finish([b.add(ops.Add(), x, i)])
    with pytest.raises(InvalidPlan, match="of i32, which are no weights"):
        apply_sparsity(graph, Plan(fingerprint(graph), masks={"i": Mask.of(np.zeros(1, bool))}))
