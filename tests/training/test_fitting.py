"""Plans for a budget at once, where the device takes other than what is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

import irprune
from irprune.budget import Budget, Usage
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.rewrite.apply_widths import apply_widths
from irprune.training.fitting import expect_reachable_on_device, least_plan, one_shot_plan

NAME = "zoo:ds_cnn?input=1x8x8&classes=10&widths=8-8-8"


def counted(graph: Graph) -> Usage:
    model = CostModel(graph)
    return model.usage(model.widths)


def test_the_least_that_the_device_takes() -> None:
    graph = irprune.load(NAME)
    least = counted(apply_widths(graph, least_plan(graph)))
    assert least.macs < counted(graph).macs / 8

    def dearer(smaller: Graph) -> Usage:
        return replace(counted(smaller), flash=Bytes(counted(smaller).flash + 500))

    expect_reachable_on_device(graph, Budget(flash=Bytes(least.flash + 500)), dearer)
    said = f"flash can fall to {least.flash + 500:,} at the least, not to {least.flash + 499:,}"
    with pytest.raises(UsageError, match=f"no widths meet the budget on the device: {said}"):
        expect_reachable_on_device(graph, Budget(flash=Bytes(least.flash + 499)), dearer)


def test_the_least_is_taken_where_only_that_fits_the_device() -> None:
    """All else takes more than is counted, whatever it is counted as."""
    graph = irprune.load(NAME)
    least = counted(apply_widths(graph, least_plan(graph)))

    def device(smaller: Graph) -> Usage:
        usage = counted(smaller)
        extra = 0 if usage.macs == least.macs else 10_000
        return replace(usage, flash=Bytes(usage.flash + extra))

    plan = one_shot_plan(graph, Budget(flash=Bytes(least.flash + 100)), device)
    assert plan == least_plan(graph)
