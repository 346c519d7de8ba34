"""The table that tells which layers quantization hurts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph
from irprune.ir.types import DType, Quant
from irprune.passes.analysis.calibration import calibrate
from irprune.passes.analysis.quantization_error import quantization_error
from irprune.passes.rewrite.quantize import quantize


def layers() -> Graph:
    b = Builder("layers")
    x = b.input("x", (1, 400))
    rng = np.random.default_rng(0)
    w = b.constant("w", rng.normal(size=(30, 400)).astype(np.float32))
    hidden = b.add(ops.Dense(ops.Relu()), x, w, name="hidden")
    return b.finish([b.add(ops.Abs(), hidden, name="out")])


def test_the_noise_of_rounding() -> None:
    """An even spread over 256 steps has 20 log10(256) = 48.2 dB (Bennett, 1948)."""
    graph = layers()
    rng = np.random.default_rng(1)
    samples = [[rng.uniform(-1, 1, (1, 400)).astype(np.float32)] for _ in range(20)]
    for float_io in (True, False):
        after = quantize(graph, calibrate(graph, samples), float_io=float_io)
        rows = {row.name: row for row in quantization_error(graph, after, samples)}
        if not float_io:
            assert rows["x"].kind == "Input"
            assert rows["x"].sqnr == pytest.approx(48.2, abs=0.3)
            assert rows["x"].largest == pytest.approx(1 / 255, rel=0.02)
        assert rows["hidden"].kind == "Dense"
        assert 30 < rows["hidden"].sqnr < 48
        assert list(rows)[-1] == "out"


def test_no_error() -> None:
    b = Builder("exact")
    x = b.input("x", (1, 4))
    graph = b.finish([b.add(ops.Relu(), x, name="y")])
    (row,) = quantization_error(graph, graph, [[np.ones((1, 4), np.float32)]])[1:]
    assert (row.name, row.sqnr, row.largest) == ("y", math.inf, 0.0)


def test_an_activation_that_is_lost() -> None:
    """Half of one step is rounded to nothing: as much noise as signal, 0 dB."""
    b, q = Builder("reals"), Builder("integers")
    x = b.input("x", (1, 4))
    graph = b.finish([b.add(ops.Abs(), x, name="y")])
    quant = Quant((1.0,), (0,))
    after = q.finish(
        [q.add(ops.Abs(), q.input("x", (1, 4), DType.I8, quant), name="y", quant=quant)]
    )
    sample = [np.full((1, 4), 0.25, np.float32)]
    assert [row.sqnr for row in quantization_error(graph, after, [sample])] == [0.0, 0.0]
