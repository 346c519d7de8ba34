"""Damaged ONNX models: only irprune's own errors come out, in bounded time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from contextlib import suppress
from functools import cache
from pathlib import Path

import onnx
import pytest

import irprune
from tests.onnx_cases import bound, cases
from tests.onnx_light import LIGHT
from tests.onnx_mutations import mutated

LONGEST = 5.0
"""Seconds of the processor; a sound model of these takes a few hundredths."""

SMALL_LIGHT = [path for path in LIGHT if path.stat().st_size < 40_000]


@cache
def sound() -> dict[str, list[onnx.ModelProto]]:
    """The cases that are read, by operator: their parameters inside, their outputs of any type."""
    found: dict[str, list[onnx.ModelProto]] = {}
    for case in cases().values():
        model, _, _ = bound(case)
        for port in model.graph.output:
            port.ClearField("type")
        with suppress(irprune.IrpruneError):
            irprune.load(model)
            found.setdefault(model.graph.node[0].op_type, []).append(model)
    return found


def survives(source: onnx.ModelProto | Path) -> bool:
    """Whether it is read; if not, the error is one line, and either is known soon."""
    start = time.process_time()
    found = ""
    try:
        graph = irprune.load(source)
        irprune.verify(graph)
        irprune.analyze(graph)
    except irprune.IrpruneError as error:
        found = str(error)
    assert time.process_time() - start < LONGEST
    assert "\n" not in found
    return not found


def survives_changed_bytes(content: bytes, path: Path, rng: random.Random) -> None:
    """Change, remove or insert some bytes and read the file."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed))
        removed, inserted = rng.choice(((1, 1), (1, 1), (1, 1), (rng.randint(1, 8), 0), (0, 3)))
        changed[at : at + removed] = rng.randbytes(inserted)
    path.write_bytes(changed)
    survives(path)


@pytest.mark.parametrize(
    "operator", sorted({case.model.graph.node[0].op_type for case in cases().values()})
)
def test_cases_of_an_operator(operator: str, tmp_path: Path) -> None:
    rng = random.Random(operator)
    operators, models = sorted(sound()), sound()[operator]
    read = [survives(mutated(rng.choice(models), rng, operators)) for _ in range(300)]
    assert 5 < sum(read) < len(read)  # not all damage is found at the door
    for _ in range(100):
        content = rng.choice(models).SerializeToString()
        survives_changed_bytes(content, tmp_path / "m.onnx", rng)


@pytest.mark.parametrize("path", SMALL_LIGHT, ids=lambda path: path.stem)
def test_bytes_of_a_light_model(path: Path, tmp_path: Path) -> None:
    assert survives(path)
    rng = random.Random(path.stem)
    for _ in range(300):
        survives_changed_bytes(path.read_bytes(), tmp_path / "m.onnx", rng)


def test_memory_stays_bounded() -> None:
    """A case takes kilobytes; folding what it computes from constants may take 256 MiB."""
    rng = random.Random(0)
    operators = sorted(sound())
    tracemalloc.start()
    try:
        for _ in range(1000):
            survives(mutated(rng.choice(sound()[rng.choice(operators)]), rng, operators))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**30
