"""What every rewrite must keep: the interface, the invariants and the function of a graph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irprune.backends.reference import run
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from irprune.ir.verify import verify
from irprune.passes.pipeline import Pass

GOLDEN = Path(__file__).parent / "golden" / "rewrite"


def assert_keeps(rewrite: Pass, graph: Graph, tolerance: float) -> Graph:
    """The rewritten graph, after a look at whether it does what the graph did, to a tolerance.

    The tolerance is relative to the largest element of each output; where it is not 0, integers
    may be one apart. Rewriting again must change nothing.
    """
    after = rewrite(graph)
    verify(after)
    assert rewrite(after) is after
    assert interface(after) == interface(graph)
    if after is not graph:
        arrays = random_inputs(graph)
        results = zip(graph.outputs, run(graph, arrays), run(after, arrays), strict=True)
        for value, wanted, found in results:
            assert found.dtype == wanted.dtype
            found, wanted = found.astype(np.float64), wanted.astype(np.float64)
            largest = np.abs(wanted).max(initial=1.0) * tolerance
            bound = largest if value.type.dtype.is_float else float(tolerance > 0)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)
    return after


def interface(graph: Graph) -> list[tuple[str, object]]:
    """Names and types of inputs and outputs."""
    return [(value.name, value.type) for value in (*graph.inputs, *graph.outputs)]


def random_inputs(graph: Graph, seed: int = 0) -> list[Array]:
    """Seeded arrays: floats between -2 and 2, integers of all their range."""
    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for value in graph.inputs:
        t = value.type
        if t.dtype.is_float:
            arrays.append(rng.uniform(-2, 2, t.shape).astype(t.dtype.numpy))
        else:
            low, high = t.dtype.limits
            arrays.append(rng.integers(low, high, t.shape, t.dtype.numpy, endpoint=True))
    return arrays


def kinds(graph: Graph) -> list[str]:
    """The names of the operators, in order."""
    return [type(node.op).__name__ for node in graph.nodes]


@dataclass(frozen=True)
class Case:
    """A graph as text, and the graph that a rewrite makes of it; '' where it is the same object."""

    name: str
    before: str
    after: str


def golden(rewrite: str) -> Iterator[Case]:
    """The cases of a file: each a title after #, a graph, and after => what becomes of it."""
    text = (GOLDEN / f"{rewrite}.ir").read_text()
    for title, body in re.findall(r"^# (.*)\n((?:(?!# ).*\n)*)", text, re.MULTILINE):
        before, after = body.split("=>\n")
        yield Case(title, before.strip(), after.strip())
