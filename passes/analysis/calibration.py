"""The range of every real activation over samples: what quantization takes its scales from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np

from irprune.ir import ops
from irprune.ir.errors import UsageError
from irprune.ir.evaluate import evaluate
from irprune.ir.graph import Graph, Node, Value, readers, values
from irprune.ir.types import Array, DType

BINS = 2048
"""Bars of a histogram, as many as in TensorRT's calibration (Migacz, GTC 2017)."""

MOMENTUM = 0.9
"""How much of a moving average stays at each sample."""

PERCENTILE = 99.99
"""Percent of the elements that a clipped range holds."""

SHARES = np.linspace(0.2, 1.0, 81)
"""Shares of the whole range among which the least squared error is looked for."""


class Method(Enum):
    """How samples make a range."""

    MINMAX = "minmax"
    """From the least to the greatest of all elements."""
    MOVING_AVERAGE = "moving-average"
    """From the moving average of each sample's least element to that of its greatest
    (Jacob et al., 2018, section 3.1)."""
    PERCENTILE = "percentile"
    """What holds all but one element of ten thousand."""
    MSE = "mse"
    """What makes the mean squared error of the integers least."""


@dataclass(frozen=True)
class Range:
    """From the least to the greatest real that is to be represented."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """What holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


NOTHING = Range(math.inf, -math.inf)
"""The range of no elements."""


def calibrate(
    graph: Graph,
    samples: Sequence[Sequence[Array]],
    method: Method = Method.MINMAX,
    dtype: DType = DType.I8,
) -> Mapping[Value, Range]:
    """The range of each float value that is no constant.

    Args:
        graph: the graph to run, on reals.
        samples: arrays for the graph's inputs, a sample at a time.
        method: how samples make a range.
        dtype: the integers that are to hold it.

    Raises:
        UsageError: there are no samples, or an activation is not finite on one of them.
    """
    if not samples:
        raise UsageError("there are no calibration samples", where=graph.name)
    bounds = _extremes(graph, samples)
    match method:
        case Method.MINMAX:
            pass
        case Method.MOVING_AVERAGE:
            return {value: _moving_average(found) for value, found in bounds.items()}
        case Method.PERCENTILE | Method.MSE:
            counts = _histograms(graph, samples, bounds)
            steps = 2 ** (8 * dtype.itemsize) - 1
            least_error = partial(_least_error, steps=steps)
            choose = _percentile if method is Method.PERCENTILE else least_error
            return {v: choose(counts[v], _whole(found)) for v, found in bounds.items()}
    return {value: _whole(found) for value, found in bounds.items()}


def real_activations(graph: Graph) -> tuple[Value, ...]:
    """The real values that are no constants."""
    return tuple(
        value
        for value in values(graph)
        if value.type.dtype.is_float and value not in graph.constants
    )


def activations(graph: Graph, sample: Sequence[Array]) -> Iterator[tuple[Value, Array]]:
    """Every input and intermediate value with its array, each forgotten after its last reader."""
    live = dict(graph.constants) | dict(zip(graph.inputs, sample, strict=True))
    waiting = {value: len(nodes) for value, nodes in readers(graph).items()}
    yield from zip(graph.inputs, sample, strict=True)
    for node in graph.nodes:
        made = dict(zip(node.outputs, evaluate(node, [live[v] for v in node.inputs]), strict=True))
        live |= made
        yield from made.items()
        for value in dict.fromkeys((*node.inputs, *node.outputs)):
            waiting[value] -= value in node.inputs
            if waiting[value] == 0:
                del live[value]


def _observed(
    graph: Graph, sample: Sequence[Array], makers: Mapping[Value, Node]
) -> Iterator[tuple[Value, Array]]:
    """Real activations; without padding that is infinite, which only never wins."""
    for value, array in activations(graph, sample):
        if not value.type.dtype.is_float:
            continue
        maker = makers.get(value)
        if maker is not None and isinstance(maker.op, ops.Pad) and math.isinf(maker.op.value):
            array = array[np.isfinite(array)]
        yield value, array


def _makers(graph: Graph) -> Mapping[Value, Node]:
    return {value: node for node in graph.nodes for value in node.outputs}


def _extremes(graph: Graph, samples: Sequence[Sequence[Array]]) -> dict[Value, list[Range]]:
    """The range of each value on each sample."""
    makers = _makers(graph)
    found: dict[Value, list[Range]] = {}
    for number, sample in enumerate(samples):
        for value, array in _observed(graph, sample, makers):
            least = float(array.min(initial=math.inf))
            most = float(array.max(initial=-math.inf))
            if array.size and not (math.isfinite(least) and math.isfinite(most)):
                raise UsageError(
                    f"'{value.name}' is not finite on calibration sample {number}",
                    where=graph.name,
                )
            found.setdefault(value, []).append(Range(least, most))
    return found


def _whole(ranges: Sequence[Range]) -> Range:
    whole = NOTHING
    for found in ranges:
        whole = whole.union(found)
    return whole


def _moving_average(ranges: Sequence[Range]) -> Range:
    low, high = ranges[0].low, ranges[0].high
    for found in ranges[1:]:
        low = MOMENTUM * low + (1 - MOMENTUM) * found.low
        high = MOMENTUM * high + (1 - MOMENTUM) * found.high
    return Range(low, high)


def _histograms(
    graph: Graph, samples: Sequence[Sequence[Array]], bounds: Mapping[Value, Sequence[Range]]
) -> dict[Value, Array]:
    """How many elements of each value lie in equal parts of its range."""
    makers = _makers(graph)
    whole = {value: _whole(found) for value, found in bounds.items()}
    counts = {value: np.zeros(BINS, np.int64) for value in bounds}
    for sample in samples:
        for value, array in _observed(graph, sample, makers):
            span = (whole[value].low, whole[value].high)
            if array.size and _is_divisible(*span):
                counts[value] += np.histogram(array.astype(np.float64), BINS, span)[0]
    return counts


def _is_divisible(low: float, high: float) -> bool:
    """Whether there are numbers enough between two for the edges of bars."""
    return high - low > 4 * BINS * max(math.ulp(low), math.ulp(high))


def _percentile(counts: Array, whole: Range) -> Range:
    """Without the outermost elements, half of them on either side."""
    total = counts.sum()
    if total == 0:
        return whole
    edges = np.linspace(whole.low, whole.high, BINS + 1)
    left_out = (100 - PERCENTILE) / 200 * total
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    first = int(np.searchsorted(below, left_out, side="right"))
    last = int(np.searchsorted(above, left_out, side="right"))
    return Range(float(edges[first]), float(edges[BINS - last]))


def _least_error(counts: Array, whole: Range, steps: int) -> Range:
    """Of shares of the range, each clipped and rounded to so many steps, that of least error."""
    if counts.sum() == 0:
        return whole
    edges = np.linspace(whole.low, whole.high, BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    best, least = whole, math.inf
    for share in SHARES:
        low, high = min(whole.low * share, 0.0), max(whole.high * share, 0.0)
        step = (high - low) / steps
        if step <= 0:
            continue
        rounded = np.rint(np.clip(centres, low, high) / step) * step
        error = float((counts * np.square(centres - rounded)).sum())
        if error < least:
            best, least = Range(low, high), error
    return best
