"""Peaks as functions of sizes, against schedules of networks that have those sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import irprune
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.ops import Add, Conv2d
from irprune.ir.types import Array, Bytes
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import memory_model
from irprune.passes.analysis.peak_model import PeakModel
from irprune.passes.analysis.schedule import schedule
from tests.oracles import least_peak_by_enumeration
from tests.strategies import graphs


def zoo(name: str) -> Graph:
    return irprune.deployed(irprune.load(f"zoo:{name}"))


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("ds_cnn?widths=64-64-64", ["ds_cnn?widths=64-32-48", "ds_cnn?widths=8-100-300"]),
        (
            "mobilenet_v2?classes=2&input=3x50x50",
            ["mobilenet_v2?classes=2&input=3x50x50&width=0.5"],
        ),
        ("res8", ["res8?channels=9", "res8?channels=80"]),
    ],
)
def test_other_widths_of_an_architecture(name: str, others: list[str]) -> None:
    peaks = PeakModel(zoo(name))
    assert peaks.peak(peaks.sizes) == schedule(zoo(name)).peak
    for other in others:
        assert peaks.peak(PeakModel(zoo(other)).sizes) == schedule(zoo(other)).peak


@settings(max_examples=150, deadline=None)
@given(graphs(), st.data())
def test_no_order_is_better_at_any_sizes(graph: Graph, data: st.DataObject) -> None:
    graph = replace(graph, nodes=graph.nodes)  # a graph of its own, as analyses are cached
    peaks = PeakModel(graph, Precision.INT8)
    model = memory_model(graph, Precision.INT8)
    for _ in range(3):
        count = len(peaks.sizes)
        drawn = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
        sizes = tuple(Bytes(int(n)) for n in peaks.sizes * drawn)
        least = least_peak_by_enumeration(replace(model, sizes=sizes))
        assert peaks.peak(np.asarray(sizes)) == least


def branches() -> Graph:
    """Two branches, of which the order decides, and a sum."""
    b = Builder("branches")
    x = b.input("x", (1, 3, 8, 8))

    def conv(value: irprune.Value, channels: int, stride: int = 1) -> irprune.Value:
        weights = np.zeros((channels, value.type.shape[1], 1, 1), np.float32)
        return b.add(Conv2d((stride, stride)), value, b.constant("w", weights))

    wide = conv(conv(x, 40), 5, 2)
    thin = conv(conv(x, 7), 5, 2)
    return b.finish([b.add(Add(), wide, thin)])


def perturbed(sizes: Array, at: int, by: float) -> Array:
    other = sizes.astype(float)
    other[at] += by
    return other


def test_gradients_are_slopes() -> None:
    peaks = PeakModel(branches())
    here, gradient = peaks.peak(peaks.sizes), peaks.gradient(peaks.sizes)
    assert np.count_nonzero(gradient) == 3
    smooth = 0
    for at in range(len(peaks.sizes)):
        up, down = (peaks.peak(perturbed(peaks.sizes, at, by)) for by in (1.0, -1.0))
        if up - here == here - down:  # else another order or step takes over: a kink
            assert up - here == gradient[at]
            smooth += 1
    assert smooth == 4


def test_torch_widths_carry_the_gradient() -> None:
    peaks = PeakModel(branches())
    sizes = torch.tensor(peaks.sizes, dtype=torch.float64, requires_grad=True)
    peak = peaks.peak(0.9 * sizes)
    peak.backward()
    assert sizes.grad is not None
    np.testing.assert_allclose(sizes.grad.numpy(), 0.9 * peaks.gradient(0.9 * sizes))
    whole = torch.round(0.9 * sizes).detach().numpy()
    assert peaks.bottleneck(0.9 * sizes) == peaks.bottleneck(whole)
    assert peak.item() == pytest.approx(float(peaks.peak(0.9 * peaks.sizes)))


@pytest.mark.parametrize("wrong", [[1, 2], [-1.0] * 6])
def test_wrong_sizes_are_refused(wrong: list[int]) -> None:
    with pytest.raises(UsageError, match="6 sizes"):
        PeakModel(branches()).peak(np.asarray(wrong))
