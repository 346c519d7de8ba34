"""Memory models for tests: those of the shared cases, and random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from irprune.ir.types import Bytes
from irprune.passes.analysis.liveness import MemoryModel, Step


def memory_model_of(case: dict[str, Any]) -> tuple[MemoryModel, dict[int, int]]:
    """The case's graph as buffers and steps, and the step index of each of its node ids."""
    buffer: dict[tuple[int, int], int] = {}
    sizes: list[Bytes] = []
    inputs: set[int] = set()
    outputs: set[int] = set()
    steps: list[Step] = []
    step_of: dict[int, int] = {}
    for node in case["nodes"]:
        sources = dict.fromkeys(source for source, _ in node["inputs"])
        after = tuple(step_of[source] for source in sources if source in step_of)
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
        steps.append(Step(reads, tuple(made), after, bool(node["inplace"])))
    model = MemoryModel(tuple(sizes), frozenset(inputs), frozenset(outputs), tuple(steps))
    return model, step_of


@st.composite
def memory_models(draw: st.DrawFn, *, most: int = 9) -> MemoryModel:
    """Up to ``most`` steps that read any earlier values, some in place, some views.

    Sizes collide often, so that overwriting happens; some inputs and outputs are never read.
    """
    size = st.integers(1, 4).map(Bytes)
    # A value is a buffer and the step that made it or is a view of it; None for an input.
    values: list[tuple[int, int | None]] = [(b, None) for b in range(draw(st.integers(1, 2)))]
    sizes = [draw(size) for _ in values]
    inputs = frozenset(range(len(sizes)))
    steps: list[Step] = []
    for at in range(draw(st.integers(1, most))):
        recent = values[-draw(st.integers(1, 8)) :]
        operands = draw(st.lists(st.sampled_from(recent), min_size=1, max_size=3, unique=True))
        reads = tuple(dict.fromkeys(buffer for buffer, _ in operands))
        after = tuple(dict.fromkeys(maker for _, maker in operands if maker is not None))
        kind = draw(st.sampled_from(("one", "one", "one", "in place", "two", "view")))
        if kind == "view":
            steps.append(Step(reads[:1], (), after[:1] if operands[0][1] is not None else ()))
            values.append((reads[0], at))
            continue
        makes = tuple(range(len(sizes), len(sizes) + (2 if kind == "two" else 1)))
        steps.append(Step(reads, makes, after, kind == "in place"))
        sizes += [draw(size) for _ in makes]
        values += [(buffer, at) for buffer in makes]
    outputs = frozenset(draw(st.sets(st.integers(0, len(sizes) - 1), max_size=2)))
    return MemoryModel(tuple(sizes), inputs, outputs, tuple(steps))
