"""Whether two models compute the same, each in its own runtime, layout and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from irprune.backends.layouts import has_channels_last, layout_of
from irprune.backends.runtimes import Kind, Micro, Runtime, open_runtime
from irprune.backends.tflite.footprint import Footprint, footprint
from irprune.frontends.samples import read_samples
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.ops.conv import Layout
from irprune.ir.ops.quant import as_reals, as_stored
from irprune.ir.types import Array, Shape, dims
from irprune.passes.rewrite.placing import last_channels

SEED = 0
"""Of the samples where none are given."""


@dataclass(frozen=True)
class Difference:
    """How far an output of the second model is from that of the first, over all samples.

    Attributes:
        name: the output, in the first model.
        largest: the largest absolute difference of reals; infinite where one alone is NaN or
            infinite, or both are NaN.
        mean: the mean absolute difference.
        sqnr: signal to noise ratio in dB, the first model taken for the signal; infinite where
            they are equal.
        agreement: the share of samples whose largest element is the same; None for outputs of one.
    """

    name: str
    largest: float
    mean: float
    sqnr: float
    agreement: float | None


@dataclass(frozen=True)
class MicroArena:
    """What TFLite-Micro takes for a model, as predicted and as it was.

    Attributes:
        model: the file.
        predicted: ``footprint``.
        taken: what the runtime says.
    """

    model: str
    predicted: Footprint
    taken: Footprint


@dataclass(frozen=True)
class Comparison:
    """Two models side by side.

    Attributes:
        models: their names.
        runtimes: what each ran in.
        samples: how many samples they ran on.
        data: where these are from.
        moved: whether arrays were brought from one layout to another.
        outputs: the difference of each output.
        arenas: of the models that ran in TFLite-Micro.
    """

    models: tuple[str, str]
    runtimes: tuple[Kind, Kind]
    samples: int
    data: str
    moved: bool
    outputs: tuple[Difference, ...]
    arenas: tuple[MicroArena, ...]

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max((output.largest for output in self.outputs), default=0.0)


def compare(
    first: str,
    second: str,
    *,
    data: Path | None = None,
    count: int = 8,
    runtime: Kind | None = None,
    shapes: Mapping[str, Shape] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Comparison:
    """Run two models on the same samples.

    Where one has its channels last and the other not, arrays are transposed; where one takes or
    gives integers, they stand for reals.

    Args:
        first: the model that is taken for right, as ``frontends.load.load`` takes it.
        second: the other.
        data: samples for the first model (``frontends.samples``); standard normal where absent.
        count: the most samples.
        runtime: what to run a model in, where it can.
        shapes: the shapes of inputs.
        mean: subtracted from the channels of images.
        std: what they are divided by.

    Raises:
        UsageError: the models' inputs or outputs do not match, or the data does not fit.
    """
    one, other = (open_runtime(model, runtime, shapes) for model in (first, second))
    given = _matched(one.graph, other.graph, "inputs", second)
    made = _matched(one.graph, other.graph, "outputs", second)
    samples = _samples(one.graph, data, count, mean, std)
    results = []
    for sample in samples:
        moved = [match.moved(array) for match, array in zip(given, sample, strict=True)]
        found = _reals_of(other, moved)
        back = [match.back(array) for match, array in zip(made, found, strict=True)]
        results.append((_reals_of(one, sample), back))
    outputs = tuple(
        _difference(value, [(a[i], b[i]) for a, b in results])
        for i, value in enumerate(one.graph.outputs)
    )
    return Comparison(
        models=(first, second),
        runtimes=(one.kind, other.kind),
        samples=len(samples),
        data=str(data) if data is not None else "standard normal, seed 0",
        moved=any(match.one != match.other for match in (*given, *made)),
        outputs=outputs,
        arenas=tuple(
            MicroArena(model, footprint(Path(model).read_bytes()), found.arena)
            for model, found in ((first, one), (second, other))
            if isinstance(found, Micro)
        ),
    )


@dataclass(frozen=True)
class _Match:
    """The same tensor in two models: the order of axes that makes the other's of the first's."""

    one: Shape
    other: Shape
    order: tuple[int, ...]

    def moved(self, array: Array) -> Array:
        """The first model's array as the other has it."""
        return np.ascontiguousarray(array.transpose(self.order)).reshape(self.other)

    def back(self, array: Array) -> Array:
        """The other's array as the first model has it."""
        placed = array.reshape([self.one[axis] for axis in self.order])
        return np.ascontiguousarray(placed.transpose(np.argsort(self.order)))


def _matched(one: Graph, other: Graph, what: str, second: str) -> list[_Match]:
    """How the inputs, or the outputs, of two models match."""
    ours, theirs = (g.inputs if what == "inputs" else g.outputs for g in (one, other))
    if len(ours) != len(theirs):
        raise UsageError(f"has {len(theirs)} {what}, and the first model {len(ours)}", where=second)
    found = []
    for a, b in zip(ours, theirs, strict=True):
        order = _order(a.type.shape, b.type.shape, layout_of(one, a), layout_of(other, b))
        if order is None:
            raise UsageError(
                f"'{b.name}' is {dims(b.type.shape)}, and '{a.name}' of the first model "
                f"{dims(a.type.shape)}",
                where=second,
            )
        found.append(_Match(a.type.shape, b.type.shape, order))
    return found


def _order(
    shape: Shape, other: Shape, layout: Layout | None, other_layout: Layout | None
) -> tuple[int, ...] | None:
    """The order of axes that makes one shape of another; None where no layout does.

    Where several do, as for cubes, the layouts of the models decide.
    """
    own, last = tuple(range(len(shape))), last_channels(len(shape))
    first = tuple(last.index(axis) for axis in own)
    orders = [own, last, first]
    if layout is not None and other_layout is not None and layout != other_layout:
        orders = [last, first, own] if layout == "NCHW" else [first, last, own]
    for order in orders:
        if tuple(shape[axis] for axis in order) == other:
            return order
    same = [size for size in shape if size != 1] == [size for size in other if size != 1]
    return own if same else None


def _samples(
    graph: Graph,
    data: Path | None,
    count: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> list[list[Array]]:
    inputs = [(value.name, value.type.shape) for value in graph.inputs]
    if data is not None:
        is_last = any(has_channels_last(graph, value) for value in graph.inputs)
        return read_samples(data, inputs, channels_last=is_last, mean=mean, std=std, limit=count)
    rng = np.random.default_rng(SEED)
    return [[rng.normal(size=s).astype(np.float32) for _, s in inputs] for _ in range(count)]


def _reals_of(runtime: Runtime, sample: Sequence[Array]) -> list[Array]:
    """The outputs of a model as reals, for inputs that are reals in its layout."""
    given = [
        as_stored(array, v.type) for array, v in zip(sample, runtime.graph.inputs, strict=True)
    ]
    return [
        as_reals(array, v.type)
        for array, v in zip(runtime(given), runtime.graph.outputs, strict=True)
    ]


def _difference(value: Value, pairs: Sequence[tuple[Array, Array]]) -> Difference:
    wanted, found = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    with np.errstate(invalid="ignore"):  # of infinities, whose difference is no number
        error = np.where(wanted == found, 0.0, np.abs(wanted - found))
    error[np.isnan(error)] = np.inf
    noise, signal = float(np.square(error).sum()), float(np.square(wanted).sum())
    tops = [array.reshape(len(array), -1).argmax(1) for array in (wanted, found)]
    return Difference(
        name=value.name,
        largest=float(error.max(initial=0.0)),
        mean=float(error.mean()) if error.size else 0.0,
        sqnr=_ratio(signal, noise),
        agreement=float((tops[0] == tops[1]).mean()) if value.type.elements > 1 else None,
    )


def _ratio(signal: float, noise: float) -> float:
    """Decibels between two powers: infinite without noise, and 0 where that is all there is."""
    if noise == 0:
        return math.inf
    if math.isfinite(noise) and 0 < signal < math.inf:
        return 10 * math.log10(signal / noise)
    return 0.0
