"""A model whose weights were made sparse, in a terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from irprune.ir.graph import Graph, Value
from irprune.ir.ops.quant import as_reals
from irprune.ir.plan import Plan
from irprune.passes.analysis.entropy import Estimate, Size
from irprune.passes.one_shot_sparsity import left_whole, prunable
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.report.terminal import plain, print_titled

ADVICE = (
    "A .tflite file with zeros in it is as large as without. It shrinks with irprune compile "
    "--compress prune, which TFLite-Micro unpacks, or --target ethos-u..., whose encoder codes "
    "zeros away."
)


@dataclass(frozen=True)
class Sparse:
    """A tensor of weights before and after.

    Attributes:
        name: the constant.
        layers: what reads it.
        elements: how many weights it has.
        before: how many are zero in the model.
        after: how many are zero under the plan.
        left: why it is left as it was; empty where it is not.
    """

    name: str
    layers: tuple[str, ...]
    elements: int
    before: int
    after: int
    left: str


@dataclass(frozen=True)
class Sparsified:
    """What making weights zero has changed.

    Attributes:
        name: the model's name.
        tensors: the weights.
        flash: the model's compiled, compressed file; None where nobody asked. An estimate for a
            float model: its int8 form, with scales that other samples would make others.
    """

    name: str
    tensors: tuple[Sparse, ...]
    flash: Size | None

    @property
    def sparsity(self) -> float:
        """The share of all these weights that is zero."""
        return sum(t.after for t in self.tensors) / sum(t.elements for t in self.tensors)


def sparsified(graph: Graph, plan: Plan, flash: Size | None) -> Sparsified:
    """What a plan makes of a graph's weights."""
    after, left = apply_sparsity(graph, plan), left_whole(graph)
    tensors = tuple(
        Sparse(
            value.name,
            tuple(node.name for node in nodes),
            value.type.elements,
            _zeros(graph, value),
            _zeros(after, value),
            left.get(value, ""),
        )
        for value, nodes in prunable(graph).items()
    )
    return Sparsified(graph.name, tensors, flash)


def _zeros(graph: Graph, value: Value) -> int:
    return int(np.sum(as_reals(graph.constants[value], value.type) == 0))


def sparsified_as_json(found: Sparsified) -> str:
    """Counts of weights and of zeros among them; sizes in bytes."""
    document: Mapping[str, object] = {
        "name": found.name,
        "sparsity": found.sparsity,
        "flash": None
        if found.flash is None
        else {"bytes": found.flash.bytes, "kind": found.flash.kind},
        "tensors": [
            {
                "name": tensor.name,
                "layers": tensor.layers,
                "elements": tensor.elements,
                "zeros": {"before": tensor.before, "after": tensor.after},
                "left": tensor.left or None,
            }
            for tensor in found.tensors
        ],
        "note": ADVICE,
    }
    return json.dumps(document, indent=2)


def print_sparsified(out: Console, found: Sparsified) -> None:
    """Each tensor of weights, all of them, and what makes a device profit."""
    table = Table()
    table.add_column("weights", overflow="fold")
    for heading in ("number", "zeros before", "after"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("left as they were", overflow="fold")
    for tensor in found.tensors:
        shares = (_percent(n / tensor.elements) for n in (tensor.before, tensor.after))
        table.add_row(plain(tensor.name), f"{tensor.elements:,}", *shares, tensor.left)
    print_titled(out, found.name, table)
    out.print(f"{_percent(found.sparsity)} of these weights are zero.")
    if found.flash is not None:
        size = f"{found.flash.bytes:,} bytes"
        if isinstance(found.flash, Estimate):
            size = f"about {size} as int8, depending on the samples it is calibrated with"
        out.print(f"Compiled with --compress prune, the model takes {size}.")
    out.print(ADVICE)


def _percent(share: float) -> str:
    """A share in per cent, of which 100 is all and nothing less."""
    return f"{100 * share if share == 1 else min(100 * share, 99.9):.1f} %"
