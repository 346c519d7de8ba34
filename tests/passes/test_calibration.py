"""Ranges of activations over samples."""

from __future__ import annotations

import numpy as np
import pytest

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Array, DType
from irprune.passes.analysis.calibration import Method, Range, calibrate


def doubling(size: int) -> Graph:
    b = Builder("doubling")
    x = b.input("x", (size,))
    return b.finish([b.add(ops.Mul(), x, b.constant("two", np.array(2, np.float32)))])


def ranges_of(graph: Graph, samples: list[Array], method: Method) -> dict[str, Range]:
    found = calibrate(graph, [(sample,) for sample in samples], method)
    return {value.name: range_ for value, range_ in found.items()}


def singles(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def test_minmax() -> None:
    found = ranges_of(doubling(2), [singles(-1, 2), singles(-3, 1)], Method.MINMAX)
    assert found == {"x": Range(-3, 2), "mul": Range(-6, 4)}


def test_moving_average() -> None:
    """Each sample moves the bounds by a tenth of the way."""
    found = ranges_of(doubling(2), [singles(-1, 2), singles(-3, 1)], Method.MOVING_AVERAGE)
    assert found["x"].low == pytest.approx(-1.2)
    assert found["x"].high == pytest.approx(1.9)


def test_percentile_leaves_out_the_rarest() -> None:
    """Of a million elements, one at 1000 and one at -1000 are not in what holds 99.99 %."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 1_000_000).astype(np.float32)
    x[:2] = -1000, 1000
    found = ranges_of(doubling(x.size), [x], Method.PERCENTILE)["x"]
    assert -2 < found.low < -0.9
    assert 0.9 < found.high < 2


def test_percentile_of_an_even_spread() -> None:
    """The bounds are those of numpy, to a bar of the histogram."""
    x = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    found = ranges_of(doubling(x.size), [x[:100_000], x[100_000:]][:1], Method.PERCENTILE)["x"]
    low, high = np.percentile(x[:100_000], [0.005, 99.995])
    bar = float(np.ptp(x[:100_000])) / 2048
    assert found.low == pytest.approx(low, abs=2 * bar)
    assert found.high == pytest.approx(high, abs=2 * bar)


def test_least_squared_error_clips_what_is_rare() -> None:
    """Its error in 256 steps is no more than that of the whole range or of nine tenths of it."""
    x = np.random.default_rng(2).laplace(size=100_000).astype(np.float32)
    found = ranges_of(doubling(x.size), [x], Method.MSE)["x"]

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        rounded = np.rint(np.clip(x, low, high) / step) * step
        return float(np.square(x - rounded).mean())

    whole = (float(x.min()), float(x.max()))
    chosen = error(found.low, found.high)
    assert chosen < 0.9 * error(*whole)
    assert chosen < 1.02 * min(error(whole[0] * s, whole[1] * s) for s in np.linspace(0.2, 1, 33))


def test_infinite_padding_has_no_part_in_it() -> None:
    b = Builder("padded")
    x = b.input("x", (2,))
    graph = b.finish([b.add(ops.Relu(), b.add(ops.Pad(((1, 1),), value=-np.inf), x))])
    found = ranges_of(graph, [singles(-1, 2)], Method.MINMAX)
    assert found["pad"] == Range(-1, 2)


@pytest.mark.parametrize("method", list(Method))
def test_values_that_do_not_vary(method: Method) -> None:
    found = ranges_of(doubling(2), [singles(0, 0)], method)
    assert found["x"] == Range(0, 0)


@pytest.mark.parametrize("method", list(Method))
def test_values_that_hardly_vary(method: Method) -> None:
    """Between neighbours of single precision there is no room for the edges of bars."""
    near = float(np.nextafter(np.float32(1), np.float32(2)))
    found = ranges_of(doubling(2), [singles(1, near)], method)
    assert found["x"].high == near


def test_wider_integers_are_clipped_less() -> None:
    """Their steps are so fine that what is rare costs more to leave out than to hold."""
    rare = np.random.default_rng(0).laplace(size=200_000).astype(np.float32)
    graph = doubling(200_000)
    eight, sixteen = (
        calibrate(graph, [[rare]], Method.MSE, dtype)[graph.inputs[0]]
        for dtype in (DType.I8, DType.I16)
    )
    whole = rare.max() - rare.min()
    assert eight.high - eight.low < 0.9 * whole
    assert sixteen.high - sixteen.low > 0.98 * whole


def test_what_cannot_be_calibrated() -> None:
    graph = doubling(2)
    with pytest.raises(UsageError, match="no calibration samples"):
        calibrate(graph, [])
    with pytest.raises(UsageError, match="'x' is not finite on calibration sample 1"):
        ranges_of(graph, [singles(0, 1), singles(0, np.nan)], Method.MINMAX)
    with pytest.raises(UsageError, match="'mul' is not finite on calibration sample 0"):
        ranges_of(graph, [singles(3e38, 0)], Method.MINMAX)


def test_values_of_other_types_have_no_range() -> None:
    b = Builder("indices")
    x: Value = b.input("x", (2,))
    indices = b.constant("i", np.array([1, 2]))
    graph = b.finish([x, b.add(ops.Identity(), indices)])
    assert set(ranges_of(graph, [singles(0, 1)], Method.MINMAX)) == {"x"}
