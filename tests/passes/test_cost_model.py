"""Costs as functions of widths, against analyses of graphs that have those widths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import irprune
from irprune import zoo
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.op import OPS
from irprune.ir.plan import Plan
from irprune.ir.types import Array
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.analysis.costs import costs
from irprune.passes.analysis.deployment import default_precision
from irprune.passes.analysis.entropy import bits_per_weight, compressed_size
from irprune.passes.analysis.schedule import schedule
from irprune.passes.pipeline import deployed
from irprune.passes.rewrite.apply_widths import apply_widths
from tests.strategies import STAIRCASES, graphs
from tests.widths import between_layers, random_plan

SHARED = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8"]
SHARED += ["pretrainedResnet", "vww_96_float"]


def widths_of(model: CostModel, plan: Plan) -> Array:
    return np.array(
        [
            len(plan.kept[g.name]) // g.indices.shape[1] if g.name in plan.kept else g.width
            for g in model.groups
        ]
    )


def assert_equals_analysis(graph: Graph, model: CostModel, plan: Plan) -> None:
    widths, after = widths_of(model, plan), deployed(apply_widths(graph, plan))
    found = costs(after, default_precision(deployed(graph)))
    assert model.macs(widths) == found.macs
    assert model.model_size(widths) == found.model_size
    assert model.peak(widths) == schedule(after, default_precision(deployed(graph))).peak
    coded = compressed_size(after, 4, 0.3)
    assert model.compressed_size(widths, 4, 0.3) == pytest.approx(coded, rel=1e-12)


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo(name: str) -> None:
    graph = irprune.load(f"zoo:{name}")
    model, rng = CostModel(graph), np.random.default_rng(0)
    for _ in range(5):
        assert_equals_analysis(graph, model, random_plan(graph, rng))


@pytest.mark.parametrize("name", SHARED)
def test_shared_models(shared: Path, name: str) -> None:
    graph = irprune.load(shared / "models" / f"{name}.tflite")
    model, rng = CostModel(graph), np.random.default_rng(0)
    for _ in range(5):
        assert_equals_analysis(graph, model, random_plan(graph, rng))


@settings(max_examples=150)
@given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=4), st.integers(0, 9))
def test_random_graphs(graph: Graph, seed: int) -> None:
    """MACs and sizes; an axis left with one index may become a view, and memory less."""
    graph = between_layers(graph)
    plan = random_plan(graph, np.random.default_rng(seed))
    model = CostModel(graph)
    widths, after = widths_of(model, plan), deployed(apply_widths(graph, plan))
    found = costs(after, default_precision(deployed(graph)))
    assert (model.macs(widths), model.model_size(widths)) == (found.macs, found.model_size)


@pytest.mark.parametrize("name", ["mobilenet_v2?classes=2&input=3x50x50", "resnet8", "ds_cnn"])
def test_gradients_are_slopes(name: str) -> None:
    """Of torch, beside finite differences; the peak where no other step or order takes over."""
    model = CostModel(irprune.load(f"zoo:{name}"))
    start = 0.7 * model.widths
    smooth = 0
    for cost in (model.macs, model.model_size, model.compressed_size, model.peak):
        widths = torch.tensor(start, requires_grad=True)
        cost(widths).backward()
        assert widths.grad is not None
        for at in range(len(start)):
            step = np.zeros_like(start)
            step[at] = 1e-3
            up, here, down = (float(cost(start + by * step)) for by in (1, 0, -1))
            if cost == model.peak and abs(up + down - 2 * here) > 1e-6 * here:
                continue  # a kink
            smooth += 1
            slope = (up - down) / 2e-3
            assert widths.grad[at].item() == pytest.approx(slope, rel=1e-5, abs=1e-5 * here)
    assert smooth > 3.5 * len(start)


def test_many_width_vectors_at_once() -> None:
    model = CostModel(irprune.load("zoo:resnet8"))
    rng = np.random.default_rng(0)
    many = rng.integers(1, model.widths + 1, (2, 3, len(model.widths)))
    for cost in (model.macs, model.model_size, model.compressed_size, model.peak):
        found = cost(many)
        assert found.shape == (2, 3)
        assert found[1, 2] == pytest.approx(cost(many[1, 2]), rel=1e-12)


def test_wrong_widths() -> None:
    model = CostModel(irprune.load("zoo:resnet8"))
    with pytest.raises(UsageError, match="wants 6 widths, one a channel group"):
        model.macs(np.ones(5))
    with pytest.raises(UsageError, match="one vector"):
        model.peak(torch.ones(2, 6))


def test_bits_of_coded_weights(shared: Path) -> None:
    """UDC's bound, against values computed to 40 digits (see formulas.md beside them)."""
    cases = json.loads((shared / "cases/formulas.json").read_text())
    for row in cases["udc_eq4_rhs_bits_per_weight"]:
        bits = bits_per_weight(row["b"], row["s"])
        assert bits == pytest.approx(row["rhs_value_plus_mask"], rel=1e-12)
        assert bits <= row["rhs_printed"] + 1e-12
