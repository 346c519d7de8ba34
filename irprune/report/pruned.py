"""A model before and after its channels were removed, in a terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from irprune.ir.graph import Graph
from irprune.ir.plan import Plan
from irprune.passes.analysis.channels import channels
from irprune.passes.analysis.deployment import Precision
from irprune.report.report import analyze
from irprune.report.terminal import plain, print_titled


@dataclass(frozen=True)
class Width:
    """The channels of a group before and after."""

    group: str
    before: int
    after: int


@dataclass(frozen=True)
class Pruned:
    """What pruning has changed.

    Attributes:
        name: the model's name.
        costs: by resource, what the model takes before and after.
        widths: the groups that lost channels.
        masked: how many weights the plan's masks left out.
    """

    name: str
    costs: dict[str, tuple[int, int]]
    widths: tuple[Width, ...]
    masked: int


def comparison(before: Graph, after: Graph, plan: Plan, precision: Precision | None) -> Pruned:
    """What the plan has made of a graph."""
    reports = [analyze(graph, precision).costs for graph in (before, after)]
    names = ("peak_sram", "model_size", "macs", "parameters")
    costs = {name: (getattr(reports[0], name), getattr(reports[1], name)) for name in names}
    widths = tuple(
        Width(group.name, group.indices.size, len(plan.kept[group.name]))
        for group in channels(before).free
        if group.name in plan.kept
    )
    masked = sum(int(np.sum(~mask.stays)) for mask in plan.masks.values())
    return Pruned(before.name, costs, widths, masked)


def comparison_as_json(found: Pruned) -> str:
    """Costs as pairs, before and after; sizes in bytes."""
    document = {
        "name": found.name,
        "costs": {
            name: {"before": before, "after": after}
            for name, (before, after) in found.costs.items()
        },
        "groups": [
            {"name": width.group, "before": width.before, "after": width.after}
            for width in found.widths
        ],
        "masked_weights": found.masked,
    }
    return json.dumps(document, indent=2)


def print_comparison(out: Console, found: Pruned) -> None:
    """The costs, then the width of each group that lost channels."""
    titles = {
        "peak_sram": "peak SRAM, bytes",
        "model_size": "model size, bytes",
        "macs": "MACs",
        "parameters": "parameters",
    }
    costs = _table("cost")
    for name, (before, after) in found.costs.items():
        costs.add_row(titles[name], *_figures(before, after))
    print_titled(out, found.name, costs)
    widths = _table("channel group")
    for width in found.widths:
        widths.add_row(plain(width.group), *_figures(width.before, width.after))
    print_titled(out, "channels that stay", widths)
    if found.masked:
        out.print(f"The plan's masks make {found.masked:,} weights zero.")


def _table(first: str) -> Table:
    table = Table()
    table.add_column(first, overflow="fold")
    for heading in ("before", "after", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _figures(before: int, after: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{after:,}", f"{100 * after / before:.1f} %" if before else "-"
