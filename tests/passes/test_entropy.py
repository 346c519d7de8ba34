"""Sizes of coded weights: bounds and entropies against worked numbers, streams against a twin."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import irprune
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Graph
from irprune.ir.types import Array, DType, Quant
from irprune.passes.analysis.entropy import (
    Estimate,
    LowerBound,
    UpperBound,
    bits_per_weight,
    coded_weights,
    entropy,
    printed_bits_per_weight,
)
from irprune.passes.analysis.weight_coding import (
    reads_part_kernels,
    stream_size,
    weight_stream,
)
from irprune.passes.pipeline import deployed

Case = dict[str, Any]


def cases(shared: Path, name: str) -> list[Case]:
    found: list[Case] = json.loads((shared / "cases" / "formulas.json").read_text())[name]
    return found


def test_the_bounds_of_udc(shared: Path) -> None:
    for case in cases(shared, "udc_eq4_rhs_bits_per_weight"):
        s, b = case["s"], case["b"]
        assert printed_bits_per_weight(b, s) == pytest.approx(case["rhs_printed"], abs=1e-6)
        assert bits_per_weight(b, s) == pytest.approx(case["rhs_value_plus_mask"], abs=1e-6)


def quantized(theta: Array, bits: int, limit: float) -> Array:
    """UDC's Eq. 3: the nearest of the reals that bits tell apart from -limit to limit."""
    if bits == 1:
        return np.sign(theta)
    step = limit / (2 ** (bits - 1) - 1)
    magnitudes = np.minimum(np.abs(theta), limit)
    nearest: Array = np.sign(theta) * np.floor(magnitudes / step + 0.5) * step
    return nearest


def test_the_grid_of_udc(shared: Path) -> None:
    """Its cases are of few bits, and hold the twin that the 8-bit weights are then held to."""
    for case in cases(shared, "udc_eq3"):
        found = quantized(np.array(case["theta"]), case["b"], case["r"])
        assert found.tolist() == pytest.approx(case["Q"], rel=1e-6)
    for case in cases(shared, "udc_qhat"):
        theta = np.array(case["theta"])
        beta = np.sign(theta) * case["beta"]
        found = quantized(theta - beta, case["b"], case["r"]) + beta
        assert found.tolist() == pytest.approx(case["Qhat"], rel=1e-6)
    array = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    limit = np.abs(array).max()
    (weights,) = coded_weights(dense(array))
    steps = weights.integers.reshape(array.shape) * limit / 127
    np.testing.assert_allclose(steps, quantized(array, 8, limit), rtol=1e-6)


def quantiles(distribution: str, n: int) -> Array:
    p = (np.arange(n) + 0.5) / n
    if distribution == "normal":
        return np.array([NormalDist().inv_cdf(x) for x in p])
    return np.where(p < 0.5, np.log(2 * p), -np.log(2 * (1 - p)))


def test_entropies_of_udc(shared: Path) -> None:
    for case in cases(shared, "udc_eq4_synthetic"):
        theta = quantiles(case["dist"], case["n"])
        weights = quantized(theta, case["b"], case["r"])
        weights[np.argsort(-np.abs(theta), kind="stable")[case["kept"] :]] = 0
        bits = entropy(weights)
        assert bits == pytest.approx(case["entropy_bits"], abs=1e-6)
        assert bits <= bits_per_weight(case["b"], case["s"]) + 1e-9
        assert bits_per_weight(case["b"], case["s"]) <= printed_bits_per_weight(
            case["b"], case["s"]
        )


def walked(weights: Array, depthwise: bool, bits: int) -> list[int]:
    """The NPU's order, one weight after another."""
    outputs, height, width, inputs = weights.shape
    parts = not depthwise and reads_part_kernels(weights, bits)
    depth = inputs if depthwise else 16 if parts or bits == 16 else 32
    step = 4 if depthwise or (parts and bits == 8) else 2 if parts else 1
    side = 1 if depthwise else 8
    found = []

    def at(o: int, e: int, i: int, y: int, x: int) -> int:
        rows, columns = min(8, height - y), min(8, width - x)
        inside = o < outputs and i < inputs and e < rows * columns
        return int(weights[o, y + e // columns, x + e % columns, i]) if inside else 0

    for start, y, x in product(range(0, inputs, depth), range(0, height, 8), range(0, width, 8)):
        elements = range(-(-min(8, height - y) * min(8, width - x) // step) * step)
        read = min(depth, inputs - start) if parts else depth
        groups, slots = range(0, outputs, 8), range(start, start + read, side)
        if parts:
            order = [(o, e, i) for i, o, e in product(slots, groups, elements)]
        else:
            order = list(product(groups, elements, slots))
        for o, e, i in order:
            found += [at(o + a, e, i + b, y, x) for a, b in product(range(8), range(side))]
    return found


@given(
    st.tuples(*(st.integers(1, n) for n in (20, 10, 10, 40))),
    st.booleans(),
    st.sampled_from([8, 16]),
    st.integers(0, 9),
)
def test_the_order_of_a_stream(
    shape: tuple[int, ...], depthwise: bool, bits: int, seed: int
) -> None:
    shape = (*shape[:3], 1) if depthwise else shape
    weights = np.random.default_rng(seed).integers(-127, 128, shape)
    found = weight_stream(weights, depthwise=depthwise, bits=bits).tolist()
    assert found == walked(weights, depthwise, bits)


def test_a_stream_of_one_weight_takes_a_bit_each() -> None:
    """Header, one entry of the palette, and the shortest code there is."""
    weights = np.full((64, 1, 1, 64), 5)
    assert 4096 // 8 <= stream_size(weight_stream(weights, depthwise=False)) <= 4096 // 8 + 16


def test_zeros_beside_one_weight_take_almost_nothing() -> None:
    weights = np.zeros(65536, np.int64)
    weights[1] = 5
    assert stream_size(weights) <= 65536 / 8 / 4


def test_runs_are_coded_below_the_entropy_and_headers_above_its_bounds() -> None:
    """Which bound codes of weights one by one alone."""
    runs = np.zeros((64, 64), np.float32)
    runs[:8] = np.random.default_rng(0).normal(size=(8, 64))
    few = np.ones((1, 1), np.float32)
    (below,), (above,) = (coded_weights(dense(array)) for array in (runs, few))
    assert below.estimated is not None
    assert above.estimated is not None
    assert below.estimated.bytes < below.entropy.bytes < below.mask_and_values.bytes
    assert above.estimated.bytes > above.printed.bytes


def dense(array: Array, quant: Quant | None = None) -> Graph:
    builder = Builder("net")
    x = builder.input("x", (1, array.shape[1]), DType.F32)
    w = builder.constant("w", array, quant)
    return builder.finish([builder.add(ops.Dense(), x, w)])


def test_float_weights_are_counted_as_they_would_be_quantized() -> None:
    array = np.array([[-1.0, 0.0, 0.5], [1.0, 0.001, 0.0]], np.float32)
    (found,) = coded_weights(dense(array))
    assert found.integers.reshape(2, 3).tolist() == [[-127, 0, 64], [127, 0, 0]]
    assert (found.raw, found.density, found.bits) == (6, 0.5, 8)
    assert found.printed == UpperBound(6 * (8 + 1) / 8)
    assert found.mask_and_values == UpperBound(6 * (4 + 1) / 8)
    assert found.entropy.bytes == pytest.approx((6 * np.log2(6) - 3 * np.log2(3)) / 8)


def test_weights_that_are_all_zero() -> None:
    (found,) = coded_weights(dense(np.zeros((4, 9), np.float32)))
    assert (found.density, found.entropy.bytes, found.mask_and_values.bytes) == (0, 0, 0)
    assert found.estimated is not None


def test_weights_that_are_not_finite() -> None:
    with pytest.raises(InvalidType, match="is not finite"):
        coded_weights(dense(np.array([[np.inf, 1.0]], np.float32)))


def test_the_zero_point_is_zero() -> None:
    array = np.array([[7, 7, 9, 5]], np.int8)
    builder = Builder("net")
    x = builder.input("x", (1, 4), DType.I8, Quant((0.1,), (0,)))
    w = builder.constant("w", array, Quant((0.1,), (7,)))
    made = builder.add(ops.Dense(), x, w, quant=Quant((0.1,), (0,)))
    (found,) = coded_weights(builder.finish([made]))
    assert found.integers.tolist() == [[[[0, 0, 2, -2]]]]
    assert found.density == 0.5


def test_kws_grows_when_it_is_encoded(shared: Path) -> None:
    """Its depthwise layers are filled up, and its weights are almost noise."""
    graph = deployed(irprune.load(shared / "models" / "kws_ref_model.tflite"))
    found = coded_weights(graph)
    encoded = Estimate.total(c.estimated for c in found if c.estimated is not None)
    raw = sum(c.raw for c in found)
    assert raw == 22016
    assert encoded.bytes > raw > LowerBound.total(c.entropy for c in found).bytes
