"""Reports as JSON and CSV, for other programs. Sizes are in bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from irprune.devices import DEVICES, Device
from irprune.passes.analysis.memory import Memory
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
    found = head | {key: int(getattr(costs, key)) for key in TOTALS}
    memory = report.memory
    return found | {"peak_sram_given_order": memory.given_peak, "arena_size": memory.arena.size}


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
    reports: Sequence[Report],
    verdicts: Sequence[tuple[Verdict, ...]],
    board: Device | None,
    weights: Sequence[dict[str, object]] = (),
) -> str:
    """One JSON object for one report, a list of them for several.

    Args:
        reports: the reports.
        verdicts: of each, whether it fits.
        board: the board that is meant.
        weights: of each, the sizes of its coded weights, if they are wanted.
    """
    objects = [_object(r, v, board) for r, v in zip(reports, verdicts, strict=True)]
    if weights:
        pairs = zip(objects, weights, strict=True)
        objects = [found | {"compressed": sizes} for found, sizes in pairs]
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=2)


def as_csv(
    reports: Sequence[Report], verdicts: Sequence[tuple[Verdict, ...]], *, per_layer: bool
) -> str:
    """A header, then a row a model, or with ``per_layer`` a row a node with its model's name.

    A model's row ends with what is available of each resource, and whether the model fits.
    """
    if per_layer:
        rows = [{"model": r.name, **row} for r in reports for row in layers(r)]
        header = ["model", *(layers(reports[0])[0] if layers(reports[0]) else ())]
    else:
        rows = [totals(r) | _fits(v) for r, v in zip(reports, verdicts, strict=True)]
        header = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def devices_as_json() -> str:
    """The catalog of boards as a list of objects."""
    return json.dumps([asdict(board) for board in DEVICES], indent=2)


def _fits(verdicts: tuple[Verdict, ...]) -> Row:
    found: Row = {}
    for v in verdicts:
        found |= {f"{v.resource}_available": v.available, f"{v.resource}_fits": str(v.fits).lower()}
    return found


def memory_as_json(memory: Memory, planned: int | None) -> str:
    """Peaks, arena, steps and buffers; sizes in bytes, lifetimes in steps, ends included.

    Args:
        memory: the schedule and its arena.
        planned: bytes that the memory plan in the file takes; None where it has none.
    """
    found = {
        "name": memory.graph.name,
        "counted_as": memory.precision.value,
        "peak_sram": memory.schedule.peak,
        "peak_sram_given_order": memory.given_peak,
        "lower_bound": memory.schedule.lower_bound,
        "proven": memory.schedule.proven,
        "advice": memory.schedule.advice,
        "arena": _arena(memory),
        "plan_in_file": planned,
        "order": list(memory.schedule.order),
        "steps": [
            {
                "name": node.name,
                "op": type(node.op).__name__,
                "source": str(node.source),
                "memory": used,
                "live": sorted(memory.names[buffer] for buffer in live),
            }
            for node, used, live in zip(
                memory.nodes, memory.timeline.usage, memory.timeline.live, strict=True
            )
        ],
        "buffers": [
            {"name": name, "bytes": size, "first": first, "last": last, "offset": offset}
            for name, size, (first, last), offset in zip(
                memory.names,
                memory.model.sizes,
                memory.lifetimes,
                memory.arena.offsets,
                strict=True,
            )
        ],
    }
    return json.dumps(found, indent=2)


def _object(
    report: Report, verdicts: tuple[Verdict, ...], board: Device | None
) -> dict[str, object]:
    found: dict[str, object] = {
        **totals(report),
        "arena": _arena(report.memory),
        "peak_sram_lower_bound": report.memory.schedule.lower_bound,
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


def _arena(memory: Memory) -> dict[str, int | bool]:
    """The arena's size and what is known of it."""
    arena = memory.arena
    return {
        "size": arena.size,
        "lower_bound": arena.lower_bound,
        "proven": arena.proven,
        "alignment": arena.alignment,
    }
