"""irprune groups, irprune prune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irprune.commands.common import precision, say_unpacked, shapes
from irprune.ir.errors import UsageError
from irprune.options import MODEL, As, Json, Over, Salience, Shapes

if TYPE_CHECKING:
    from irprune.ir.graph import Graph
    from irprune.ir.plan import Plan
    from irprune.passes.one_shot import PruneOptions


def groups(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    shape: Shapes = None,
    json: Json = False,
    dot: Annotated[
        bool, typer.Option("--dot", help="Print a graph of layers and groups for Graphviz.")
    ] = False,
) -> None:
    """List the channel groups of a model: what can be removed together, and what stays and why."""
    if json and dot:
        raise UsageError("--json and --dot exclude each other")
    from irprune.frontends.load import load
    from irprune.report.groups import groups_as_dot, groups_as_json, print_groups
    from irprune.report.terminal import console, working

    with working(model):
        graph = load(model, shapes=shapes(shape))
    if json or dot:
        print(groups_as_json(graph) if json else groups_as_dot(graph))
    else:
        print_groups(console(), graph)


def prune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write: .onnx, or .tflite."),
    ],
    ratio: Annotated[
        float | None, typer.Option(help="The share of each group's channels that goes, e.g. 0.5.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="What it may take, e.g. 'sram=64KB flash=128KB macs=3M'.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="A plan that was saved.")] = None,
    save_plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the plan as JSON, too.")
    ] = None,
    salience: Annotated[
        Salience, typer.Option(help="What stands for the importance of a channel.")
    ] = Salience.l2,
    over: Annotated[
        Over, typer.Option(help="How saliences of channels that are tied become one.")
    ] = Over.max,
    round_to: Annotated[
        int, typer.Option(min=1, help="Leave multiples of this, where a group is that wide.")
    ] = 1,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER", help="A layer or group that stays whole; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random saliences.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Let the output overwrite the model.")
    ] = False,
    shape: Shapes = None,
    as_: As = None,
    json: Json = False,
) -> None:
    """Remove channels from a model: a share of each group, what a budget wants, or by a plan.

    The weights that stay are those of the model: train it again to make up for what is gone.
    """
    if sum(given is not None for given in (ratio, budget, plan)) != 1:
        raise UsageError("wants one of --ratio, --budget and --plan")
    from irprune.backends.pruned import expect_output, expect_plan, write_plan, write_pruned
    from irprune.backends.sparse import write_sparse
    from irprune.frontends.load import load, load_packed
    from irprune.passes.analysis import salience as saliences
    from irprune.passes.one_shot import PruneOptions
    from irprune.passes.rewrite.apply_sparsity import apply_sparsity
    from irprune.passes.rewrite.apply_widths import apply_widths
    from irprune.report.pruned import comparison, comparison_as_json, print_comparison
    from irprune.report.terminal import console, working

    expect_output(output, model, force=force)
    chosen = (salience, over, round_to, seed, ignore)
    if plan is not None and chosen != (Salience.l2, Over.max, 1, 0, None):
        raise UsageError("a plan says what stays: drop --ignore, --salience and the like")
    if save_plan is not None:
        expect_plan(save_plan, output, model)
    options = PruneOptions(
        salience=saliences.Salience(salience),
        over=saliences.Over(over),
        round_to=round_to,
        ignored=ignore or (),
        seed=seed,
        precision=precision(as_),
    )
    with working(f"{model}: pruning"):
        graph = load(model, shapes=shapes(shape))
        packed = load_packed(model) is not None
        decided = _decided(graph, ratio, budget, plan, options)
        smaller = apply_widths(apply_sparsity(graph, decided), decided)
        found = comparison(graph, smaller, decided, options.precision)
        if save_plan is not None:  # first, so that no model is written where the plan cannot be
            write_plan(decided, save_plan)
        if decided.kept:
            write_pruned(smaller, output, model, force=force)
        else:
            write_sparse(graph, decided, output, model, force=force)
    if packed:
        say_unpacked(model, output)
    if json:
        print(comparison_as_json(found))
    else:
        print_comparison(console(), found)


def _decided(
    graph: Graph, ratio: float | None, budget: str | None, path: Path | None, options: PruneOptions
) -> Plan:
    from irprune.backends.pruned import read_plan
    from irprune.budget import Budget
    from irprune.passes.one_shot import plan_for_budget, plan_for_ratio

    if path is not None:
        return read_plan(path)
    if budget is not None:
        return plan_for_budget(graph, Budget.parse(budget), options)
    assert ratio is not None
    return plan_for_ratio(graph, ratio, options)
