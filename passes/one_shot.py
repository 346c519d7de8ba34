"""One-shot pruning: which channels stay, from saliences alone, for a ratio or within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irprune.budget import Budget
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint
from irprune.ir.types import Array
from irprune.passes.analysis.channels import Group, channels
from irprune.passes.analysis.cost_model import CostModel
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.salience import Over, Salience, saliences


@dataclass(frozen=True)
class PruneOptions:
    """How channels are chosen.

    Attributes:
        salience: what stands for the importance of a channel.
        over: how the saliences of channels that are tied become one.
        round_to: widths that are left are multiples of this where they can be; kernels like it.
        ignored: names of layers or channel groups that keep all channels.
        seed: of random saliences.
        precision: how wide numbers are that a budget counts; by default as the graph is deployed.
    """

    salience: Salience = Salience.L2
    over: Over = Over.LARGEST
    round_to: int = 1
    ignored: Sequence[str] = ()
    seed: int = 0
    precision: Precision | None = None


def plan_for_ratio(graph: Graph, ratio: float, options: PruneOptions = PruneOptions()) -> Plan:
    """A plan that takes the least salient channels of every group, a share of each.

    Args:
        graph: the graph, as it was read.
        ratio: the share that goes, from 0 to less than 1; of each group at least one unit stays.
        options: how channels are chosen.

    Raises:
        UsageError: the ratio is no such share, or the options do not fit the graph.
    """
    if not 0 <= ratio < 1:
        raise UsageError(f"ratio {ratio} is not a share from 0 to less than 1")
    groups = _prunable(graph, options)
    widths = {
        group.name: _rounded((1 - ratio) * group.width, group.width, options.round_to)
        for group in groups
    }
    return _plan(graph, _ranked(graph, groups, options), widths)


def plan_for_budget(graph: Graph, budget: Budget, options: PruneOptions = PruneOptions()) -> Plan:
    """A plan that brings a graph within a budget, channel by channel.

    While a resource is violated, the one that is violated most by ratio decides: the channels go
    whose salience, as a share of what is left in their group, is least for what they take of it.
    Of SRAM that is what they take at the bottleneck of the best order.

    Args:
        graph: the graph, as it was read.
        budget: what the deployed model may take.
        options: how channels are chosen.

    Raises:
        UsageError: no widths meet the budget; the error says how low each resource can get, and
            what stands in the way. Or the options do not fit the graph.
    """
    groups = _prunable(graph, options)
    ranked = _ranked(graph, groups, options)
    return _plan(graph, ranked, _Greedy(graph, groups, ranked, budget, options).widths())


def _prunable(graph: Graph, options: PruneOptions) -> tuple[Group, ...]:
    """The groups that may lose channels and are not ignored."""
    if options.round_to < 1:
        raise UsageError(f"cannot round to multiples of {options.round_to}")
    groups = channels(graph).groups
    names = {name for group in groups for name in (group.name, *group.layers)}
    unknown = sorted(set(options.ignored) - names)
    if unknown:
        raise UsageError(
            f"there is no layer or channel group {', '.join(map(repr, unknown))} to ignore",
            where=graph.name,
            hint="see irprune groups",
        )
    ignored = set(options.ignored)
    return tuple(g for g in groups if not g.frozen and ignored.isdisjoint((g.name, *g.layers)))


def _ranked(graph: Graph, groups: Sequence[Group], options: PruneOptions) -> dict[str, _Ranked]:
    """The units of each group, the least salient first."""
    found = {}
    for group in groups:
        each = saliences(graph, group, options.salience, options.over, options.seed)
        order = np.argsort(each, kind="stable")
        found[group.name] = _Ranked(group, order, each[order])
    return found


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Units of a group in the order in which they go, and their saliences."""

    group: Group
    order: Array
    saliences: Array


def _rounded(wanted: float, width: int, multiple: int) -> int:
    """A width near the wanted one: a multiple where the group is that wide, and at least one."""
    nearest = int(wanted / multiple + 0.5) * multiple
    return min(max(nearest, multiple), width)


def _plan(graph: Graph, ranked: Mapping[str, _Ranked], widths: Mapping[str, int]) -> Plan:
    """The most salient units of each group."""
    kept = {}
    for name, width in widths.items():
        group, order = ranked[name].group, ranked[name].order
        if width < group.width:
            indices = group.indices[order[group.width - width :]]
            kept[name] = tuple(sorted(indices.ravel().tolist()))
    return Plan(fingerprint(graph), kept)


class _Greedy:
    """Removes what matters least for what it costs, until a budget is met."""

    def __init__(
        self,
        graph: Graph,
        groups: Sequence[Group],
        ranked: Mapping[str, _Ranked],
        budget: Budget,
        options: PruneOptions,
    ) -> None:
        self._graph = graph
        self._model = CostModel(graph, options.precision)
        self._ranked = [ranked.get(group.name) for group in self._model.groups]
        self._multiple = options.round_to
        self._least = np.array(
            [
                width if one is None else min(width, self._multiple)
                for one, width in zip(self._ranked, self._model.widths.tolist(), strict=True)
            ]
        )
        self._budget = budget

    def widths(self) -> dict[str, int]:
        """The width of each group, in units."""
        expect_reachable(self._graph, self._model, self._least, self._budget)
        widths = self._model.widths
        at_once = 1 + int((widths - self._least).sum()) // 50
        while violated := self._violated(widths):
            fewer = self._fewer(widths, violated, at_once)
            if np.array_equal(fewer, widths):  # nothing at the bottleneck can shrink: move it
                fewer = self._fewer(widths, "", at_once)
            if at_once > 1 and not self._violated(fewer):
                at_once = 1 + at_once // 4 if at_once > 4 else 1  # the last steps are small
            else:
                widths = fewer
        return {
            one.group.name: width
            for one, width in zip(self._ranked, widths.tolist(), strict=True)
            if one is not None
        }

    def _violated(self, widths: Array) -> str:
        """The resource of which most is taken beyond its bound, in proportion; empty for none."""
        over = {
            name: cost / max(bound, 1)
            for name, bound, cost in _bounded(self._model, self._budget, widths)
            if cost > bound
        }
        return max(over, key=lambda name: over[name], default="")

    def _fewer(self, widths: Array, resource: str, count: int) -> Array:
        """Widths without the ``count`` units that matter least for what they take."""
        below = np.maximum((widths - 1) // self._multiple * self._multiple, self._least)
        gains = self._gains(widths, below, resource)
        blocks: list[tuple[float, int, int, int]] = []
        for at, one in enumerate(self._ranked):
            if one is None or gains[at] <= 0:
                continue
            blocks += self._blocks(
                one, at, int(widths[at]), gains[at] / (widths[at] - below[at]), count
            )
        fewer = widths.copy()
        for _, at, lower, units in sorted(blocks):
            if count <= 0:
                break
            fewer[at] = min(fewer[at], lower)
            count -= units
        return fewer

    def _blocks(
        self, one: _Ranked, at: int, width: int, gain: float, count: int
    ) -> Iterator[tuple[float, int, int, int]]:
        """What may go of a group: its price, the group, the width then left, and units.

        The price of a unit is the share that it has of the salience that is left in its group,
        so that the last ones are dear, for what it saves.
        """
        total, size = len(one.order), width
        left = float(one.saliences[total - width :].sum())
        while width > self._least[at] and size - width < count:
            lower = max((width - 1) // self._multiple * self._multiple, int(self._least[at]))
            lost = float(one.saliences[total - width : total - lower].sum())
            share = lost / left if left else 0.0
            yield share / ((width - lower) * gain), at, lower, width - lower
            width, left = lower, left - lost

    def _gains(self, widths: Array, below: Array, resource: str) -> Array:
        """(groups,), what is saved of the resource when one group alone falls to its next width.

        Without a resource each unit counts as one.
        """
        each = np.tile(widths, (len(widths), 1))
        np.fill_diagonal(each, below)
        model = self._model
        if not resource:
            return np.asarray(widths - below)
        if resource == "sram":
            together = model.bottleneck(widths)
            saved = model.memory(together, widths) - model.memory(together, each)
            return np.broadcast_to(saved, widths.shape)
        measure = model.macs if resource == "macs" else model.model_size
        return np.asarray(measure(widths) - measure(each))


def expect_reachable(graph: Graph, model: CostModel, least: Array, budget: Budget) -> None:
    """Raise UsageError where no widths meet a budget, with what each resource can fall to.

    Args:
        graph: the graph.
        model: its costs.
        least: (groups,), the least widths that are allowed.
        budget: what the deployed model may take.
    """
    short = [
        f"{name} can fall to {cost:,} at the least, not to {bound:,}"
        for name, bound, cost in _bounded(model, budget, least)
        if cost > bound
    ]
    if not short:
        return
    ignored = {g.name for g, width in zip(model.groups, least, strict=True) if width == g.width}
    stay = [
        f"'{group.name}' ({group.frozen or 'ignored'})"
        for group in channels(graph).groups
        if group.frozen or group.name in ignored
    ]
    more = f" and {len(stay) - 8} more" if len(stay) > 8 else ""
    raise UsageError(
        f"no widths meet the budget: {'; '.join(short)}",
        where=graph.name,
        hint=f"these stay whole: {', '.join(stay[:8])}{more}",
    )


def _bounded(model: CostModel, budget: Budget, widths: Array) -> Iterator[tuple[str, int, int]]:
    """Each resource that is bounded, its bound, and what these widths take of it."""
    for name, bound, measure in (
        ("sram", budget.sram, model.peak),
        ("flash", budget.flash, model.model_size),
        ("macs", budget.macs, model.macs),
    ):
        if bound is not None:
            yield name, bound, int(measure(widths))
