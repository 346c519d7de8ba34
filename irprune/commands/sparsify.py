"""irprune sparsify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irprune.commands.common import shapes
from irprune.ir.errors import UsageError
from irprune.options import MODEL, Json, Shapes


def sparsify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write: .onnx, or .tflite."),
    ],
    sparsity: Annotated[
        float | None, typer.Option(help="The share of each layer's weights that goes, e.g. 0.8.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="What it may take compressed, e.g. 'flash=64KB'.")
    ] = None,
    save_plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the masks as JSON, too.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let the output overwrite the model.")
    ] = False,
    shape: Shapes = None,
    json: Json = False,
) -> None:
    """Make weights zero: those of least magnitude, the same share in every layer.

    A sparse model is not smaller by itself: 'compile --compress prune' makes it so, and the encoder
    of an Ethos-U. A budget of flash is for the file that 'compile --compress prune' writes.
    """
    if (sparsity is None) == (budget is None):
        raise UsageError("wants one of --sparsity and --budget")
    from irprune.backends.pruned import expect_output, expect_plan, write_plan
    from irprune.backends.sparse import is_exact, packed_size, write_sparse
    from irprune.frontends.load import load
    from irprune.passes.analysis.entropy import Estimate, Exact
    from irprune.passes.one_shot_sparsity import plan_for_size, plan_for_sparsity
    from irprune.report.sparsified import print_sparsified, sparsified, sparsified_as_json
    from irprune.report.terminal import console, working

    expect_output(output, model, force=force)
    if save_plan is not None:
        expect_plan(save_plan, output, model)
    bound = None if budget is None else _flash(budget)
    flash = None
    with working(f"{model}: making weights sparse"):
        graph = load(model, shapes=shapes(shape))
        if bound is not None:
            size = packed_size(graph)
            plan = plan_for_size(graph, size, bound)
            flash = (Exact if is_exact(graph) else Estimate)(size(plan))
        else:
            assert sparsity is not None
            plan = plan_for_sparsity(graph, sparsity)
        found = sparsified(graph, plan, flash)
        if save_plan is not None:  # first, so that no model is written where the plan cannot be
            write_plan(plan, save_plan)
        write_sparse(graph, plan, output, model, force=force)
    if json:
        print(sparsified_as_json(found))
    else:
        print_sparsified(console(), found)


def _flash(text: str) -> int:
    """The bytes of flash of a budget, which may have nothing else."""
    from irprune.budget import Budget

    budget = Budget.parse(text)
    if budget.sram is not None or budget.macs is not None or budget.flash is None:
        raise UsageError(
            "sparsity saves flash alone: no SRAM, and no MACs on a microcontroller",
            hint="write --budget flash=64KB; for others remove channels (irprune prune)",
        )
    return budget.flash
