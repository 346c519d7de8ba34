"""Reports as JSON and CSV, for other programs. Sizes are in bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from irprune.devices import DEVICES, Device
from irprune.report.report import Report, Verdict

Row = dict[str, str | int]
TOTALS = (
    "parameters",
    "model_size",
    "macs",
    "macs_weights",
    "peak_sram",
    "peak_sram_imprecise",
    "peak_sram_imprecise_in_place",
    "working_memory_5",
    "working_memory_6",
)


def totals(report: Report) -> Row:
    """A model's name, precision, node count and total costs."""
    costs = report.costs
    head: Row = {
        "name": report.name,
        "counted_as": costs.precision.value,
        "nodes": len(costs.nodes),
    }
    return head | {key: int(getattr(costs, key)) for key in TOTALS}


def layers(report: Report) -> list[Row]:
    """One row a node, in execution order."""
    return [
        {
            "name": cost.node.name,
            "op": type(cost.node.op).__name__,
            "source": str(cost.node.source),
            "output": " ".join("x".join(map(str, v.type.shape)) for v in cost.node.outputs),
            "macs": cost.macs,
            "macs_weights": cost.macs_weights,
            "parameters": cost.parameters,
            "model_size": cost.model_size,
            "memory": cost.memory,
            "imprecise": cost.imprecise,
            "working_memory_5": cost.working_memory_5,
            "working_memory_6": cost.working_memory_6,
        }
        for cost in report.costs.nodes
    ]


def as_json(
    reports: Sequence[Report], verdicts: Sequence[tuple[Verdict, ...]], board: Device | None
) -> str:
    """One JSON object for one report, a list of them for several."""
    objects = [_object(r, v, board) for r, v in zip(reports, verdicts, strict=True)]
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=2)


def as_csv(reports: Sequence[Report], *, per_layer: bool) -> str:
    """A header, then a row a model, or with ``per_layer`` a row a node with its model's name."""
    if per_layer:
        rows = [{"model": r.name, **row} for r in reports for row in layers(r)]
        header = ["model", *(layers(reports[0])[0] if layers(reports[0]) else ())]
    else:
        rows = [totals(r) for r in reports]
        header = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def devices_as_json() -> str:
    """The catalog of boards as a list of objects."""
    return json.dumps([asdict(board) for board in DEVICES], indent=2)


def _object(
    report: Report, verdicts: tuple[Verdict, ...], board: Device | None
) -> dict[str, object]:
    found: dict[str, object] = {
        **totals(report),
        "inputs": [asdict(port) for port in report.inputs],
        "outputs": [asdict(port) for port in report.outputs],
    }
    if verdicts:
        found["fits"] = all(v.fits for v in verdicts)
        found["verdicts"] = [{**asdict(v), "fits": v.fits} for v in verdicts]
    estimate = report.estimate(board) if board is not None else None
    if board is not None:
        found["device"] = board.name
    if estimate is not None:
        found["estimate"] = asdict(estimate)
    return found | {"layers": layers(report)}
