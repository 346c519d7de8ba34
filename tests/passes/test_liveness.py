"""Liveness against the shared cases, whose peaks were proven independently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from irprune.ir.types import Bytes
from irprune.passes.analysis.liveness import MemoryModel, Step, imprecise_peak, timeline

CASES = Path(__file__).parents[3] / "shared" / "cases" / "peak_memory.json"


def load_cases() -> list[dict[str, Any]]:
    if not CASES.exists():
        return []
    found: list[dict[str, Any]] = json.loads(CASES.read_text())["cases"]
    return found


def memory_model_of(case: dict[str, Any]) -> tuple[MemoryModel, dict[int, int]]:
    """The case's graph as buffers and steps, and the step index of each of its node ids."""
    buffer: dict[tuple[int, int], int] = {}
    sizes: list[Bytes] = []
    inputs, outputs, steps = set(), set(), []
    step_of: dict[int, int] = {}
    for node in case["nodes"]:
        reads = tuple(dict.fromkeys(buffer[source, port] for source, port in node["inputs"]))
        made = []
        for port, size in enumerate(node["out"]):
            if node["view"]:
                buffer[node["id"], port] = reads[0]
                continue
            buffer[node["id"], port] = len(sizes)
            made.append(len(sizes))
            sizes.append(Bytes(size))
        if node["output"]:
            outputs.update(buffer[node["id"], port] for port in range(len(node["out"])))
        if node["input"]:
            inputs.update(made)
            continue
        step_of[node["id"]] = len(steps)
        steps.append(Step(reads, tuple(made), bool(node["inplace"])))
    model = MemoryModel(tuple(sizes), frozenset(inputs), frozenset(outputs), tuple(steps))
    return model, step_of


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: str(case["name"]))
def test_peaks_of_shared_cases(case: dict[str, Any]) -> None:
    model, step_of = memory_model_of(case)
    assert timeline(model).peak == case["peak_given_order"]
    if case["order"]:
        assert timeline(model, [step_of[i] for i in case["order"]]).peak == case["peak"]
    assert imprecise_peak(model) == case["imprecise_add_both"]
    assert imprecise_peak(model, in_place=True) == case["imprecise_add_inplace"]
