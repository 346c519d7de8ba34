"""Plans that bring a model within a budget at once, for comparison with widths that are learned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irprune.budget import Budget, Usage
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint
from irprune.passes.analysis.channels import channels
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.one_shot import expect_reachable, plan_for_budget, plan_for_ratio
from irprune.passes.rewrite.apply_widths import apply_widths

Check = Callable[[Graph], Usage]
"""What a graph takes on the device, where that is known better than by counting."""

SCALES = 256
"""How finely layers are scaled."""


def least_plan(graph: Graph) -> Plan:
    """The plan that keeps one unit of each group."""
    kept = {
        group.name: tuple(sorted(group.indices[:1].ravel().tolist()))
        for group in channels(graph).groups
        if not group.frozen and group.width > 1
    }
    return Plan(fingerprint(graph), kept)


def expect_reachable_on_device(graph: Graph, budget: Budget, check: Check) -> None:
    """Raise UsageError where one unit a group is too much for a budget, counted or on the device.

    The error says what each resource can fall to.
    """
    model = CostModel(graph)
    expect_reachable(graph, model, np.ones_like(model.widths), budget)
    least = check(apply_widths(graph, least_plan(graph)))
    short = [
        f"{name} can fall to {getattr(least, name):,} at the least, "
        f"not to {getattr(budget, name):,}"
        for name in least.beyond(budget)
    ]
    if short:
        raise UsageError(
            f"no widths meet the budget on the device: {'; '.join(short)}", where=graph.name
        )


def one_shot_plan(graph: Graph, budget: Budget, check: Check) -> Plan:
    """The plan of ``plan_for_budget`` that meets a budget on the device, too.

    Raises:
        UsageError: no widths meet it.
    """
    expect_reachable_on_device(graph, budget, check)
    bounds = budget
    while True:
        try:
            plan = plan_for_budget(graph, bounds)
        except UsageError:  # by what is counted, which the device takes less of
            return least_plan(graph)
        smaller = apply_widths(graph, plan)
        taken = check(smaller)
        if not taken.beyond(budget):
            return plan
        model = CostModel(smaller)
        bounds = bounds.lowered(model.usage(model.widths), taken, budget)


def uniform_plan(graph: Graph, budget: Budget, check: Check) -> Plan:
    """The plan that scales all layers alike, by the largest factor that meets a budget.

    Where none of the factors does, it keeps one unit a layer.

    Raises:
        UsageError: no widths meet it.
    """
    expect_reachable_on_device(graph, budget, check)
    low, high = 0, SCALES - 1
    best = None
    while low <= high:  # costs grow with the factor
        middle = (low + high) // 2
        plan = plan_for_ratio(graph, 1 - (middle + 1) / SCALES)
        if check(apply_widths(graph, plan)).beyond(budget):
            high = middle - 1
        else:
            best, low = plan, middle + 1
    return best or least_plan(graph)
