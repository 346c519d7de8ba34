"""Channel groups, and the law that they obey: held at zero is the same as removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

import irprune
from irprune import zoo
from irprune.backends.compile import compile_tflite
from irprune.backends.reference import run
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidType, UnsupportedOp, UsageError
from irprune.ir.graph import Graph, producers
from irprune.ir.op import OPS
from irprune.ir.plan import Plan
from irprune.passes.analysis.channels import Group, channels
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.passes.rewrite.drop_dead import drop_dead
from tests.channel_nets import NETS, Net
from tests.onnx_light import LIGHT, with_random_weights
from tests.rewrites import random_inputs
from tests.strategies import OF_REALS, STAIRCASES, graphs, inputs_of
from tests.widths import between_layers, random_plan, run_masked

INT8_MODELS = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]

BOUNDED = frozenset(OPS) - STAIRCASES


def loaded(net: Net) -> Graph:
    torch.manual_seed(0)
    return irprune.load(net.build().eval(), tuple(torch.randn(shape) for shape in net.shapes))


def assert_law(graph: Graph, plan: Plan, tolerance: float = 1e-5) -> Graph:
    """Held at zero is the same as removed: to a tolerance, and for integers bit for bit."""
    after = apply_widths(graph, plan)
    inputs = random_inputs(graph)
    pairs = zip(graph.outputs, run_masked(graph, plan, inputs), run(after, inputs), strict=True)
    for value, wanted, found in pairs:
        if value.type.dtype.is_float:
            atol = tolerance * np.abs(wanted).max(initial=1.0)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)
        else:
            np.testing.assert_array_equal(found, wanted)
    return after


@pytest.mark.parametrize("name", NETS)
def test_groups(name: str) -> None:
    net = NETS[name]
    groups = channels(loaded(net)).groups
    free = {g.name: (g.width, g.indices.shape[1]) for g in groups if not g.frozen}
    frozen = {g.name: g.frozen for g in groups if g.frozen}
    assert free == net.free
    assert frozen.keys() == net.frozen.keys()
    for group, words in net.frozen.items():
        assert words in frozen[group]


@pytest.mark.parametrize("name", NETS)
def test_the_law_on_small_nets(name: str) -> None:
    graph = loaded(NETS[name])
    rng = np.random.default_rng(0)
    for _ in range(4):
        assert_law(graph, random_plan(graph, rng))


@settings(max_examples=2000)
@given(graphs(kinds=BOUNDED, max_nodes=6), st.integers(0, 9))
def test_the_law_on_random_graphs(graph: Graph, seed: int) -> None:
    """All of the table of operators, behind and before layers, so that axes can be cut."""
    graph = between_layers(graph)
    plan = random_plan(graph, np.random.default_rng(seed))
    assume(plan.kept)
    inputs = inputs_of(graph)
    masked, found = run_masked(graph, plan, inputs), run(apply_widths(graph, plan), inputs)
    for wanted, y in zip(masked, found, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(initial=1.0))


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(graphs(kinds=BOUNDED - OF_REALS, max_nodes=4), st.integers(0, 9))
def test_the_law_on_random_integer_graphs(graph: Graph, seed: int) -> None:
    """Bit for bit, but for what an int8 model computes on reals."""
    graph = between_layers(graph)
    samples = [random_inputs(graph, seed) for seed in range(3)]
    try:
        compiled = compile_tflite(graph, samples)
    except (UnsupportedOp, UsageError, InvalidType):
        reject()  # what cannot be compiled is tested with the compiler
    lowered = compiled.model.graph
    plan = random_plan(lowered, np.random.default_rng(seed))
    assume(plan.kept and not compiled.reals)
    assert_law(lowered, plan)


@pytest.mark.parametrize("name", zoo.names())
def test_the_law_on_the_zoo(name: str) -> None:
    graph = irprune.load(f"zoo:{name}")
    assert_law(graph, random_plan(graph, np.random.default_rng(0), 0.3))


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_the_law_on_the_light_models(path: Path) -> None:
    graph = irprune.load(with_random_weights(path, np.random.default_rng(0)))
    assert_law(graph, random_plan(graph, np.random.default_rng(0), 0.3))


@pytest.mark.parametrize("name", INT8_MODELS)
def test_the_law_on_int8_models(shared: Path, name: str) -> None:
    graph = irprune.load(shared / "models" / f"{name}.tflite")
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert_law(graph, random_plan(graph, rng))


@pytest.mark.parametrize("name", zoo.names())
def test_every_parameter_belongs_to_groups(name: str) -> None:
    """Each axis of each constant is in groups, but for windows; and what stays says why."""
    graph = drop_dead(irprune.load(f"zoo:{name}"))
    grouped: set[object] = set()
    for group in channels(graph).groups:
        grouped.update(group.places)
    windows = {
        (node.inputs[1], axis)
        for node in graph.nodes
        if isinstance(node.op, ops.Conv2d | ops.ConvTranspose2d)
        for axis in ((2, 3) if node.inputs[1].type.shape[1] > 1 else (1, 2, 3))
    }
    places = {(v, axis) for v in graph.constants for axis in range(v.type.rank)}
    assert places - grouped == windows
    assert all(group.frozen or group.width > 1 for group in channels(graph).groups)


def group_of(graph: Graph, name: str) -> Group:
    return next(group for group in channels(graph).groups if group.name == name)


def test_groups_of_what_reshapes_across_axes() -> None:
    """4 x 6 as 3 x 8: no axis of one is part of an axis of the other."""
    b = Builder("across")
    x = b.input("x", (1, 5))
    w = b.constant("w", np.ones((24, 5), np.float32))
    y = b.add(ops.Reshape((1, 4, 6)), b.add(ops.Dense(), x, w, name="made"))
    z = b.add(ops.Reshape((1, 3, 8)), y, name="turned")
    v = b.constant("v", np.ones((2, 8), np.float32))
    graph = b.finish([b.add(ops.ReduceSum((1,)), b.add(ops.Dense(), z, v, name="read"))])
    assert "turned reshapes across it" in group_of(graph, "made").frozen


def test_dead_branches_tie_nothing() -> None:
    """A sum that nobody reads would make one group of two."""
    b = Builder("dead")
    x = b.input("x", (1, 5))
    first, second = (
        b.add(ops.Dense(), x, b.constant("w", np.ones((4, 5), np.float32)), name=name)
        for name in ("first", "second")
    )
    b.add(ops.Add(), first, second)
    v = b.constant("v", np.ones((2, 4), np.float32))
    ends = [b.add(ops.Dense(), y, v) for y in (first, b.add(ops.Sigmoid(), second))]
    graph = b.finish([b.add(ops.Add(), *ends)])
    assert group_of(graph, "first").layers == ("first", "second")  # v is read twice
    alone = b.finish(ends[:1])
    assert group_of(alone, "first").layers == ("first",)
    assert_law(alone, random_plan(alone, np.random.default_rng(0)))


def test_names_are_kept() -> None:
    graph = irprune.load("zoo:res8")
    after = assert_law(graph, random_plan(graph, np.random.default_rng(1)))
    assert [node.name for node in after.nodes] == [node.name for node in graph.nodes]
    assert {v.name for v in after.constants} == {v.name for v in graph.constants}
    assert producers(after).keys().isdisjoint(after.inputs)
