"""From NCHW to NHWC: the same function, and nothing moved that need not be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import irprune
from irprune import zoo
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import OPS
from irprune.ir.types import Array
from irprune.passes.pipeline import deployed
from irprune.passes.rewrite.channels_last import channels_last
from irprune.passes.rewrite.placing import last_channels
from irprune.passes.rewrite.storage import Storage
from tests.onnx_light import LIGHT
from tests.rewrites import assert_keeps, interface, kinds, random_inputs
from tests.strategies import STAIRCASES, graphs

MOVES = {"Transpose", "Gather", "Reshape"}

keeping = partial(channels_last, keep_io_layout=True)


def shuffled(x: Array, shape: tuple[int, ...]) -> Array:
    """An array in the layout that a shape is of."""
    if x.shape == shape:
        return x
    return np.ascontiguousarray(x.transpose(last_channels(x.ndim))).reshape(shape)


def assert_agrees(before: Graph, after: Graph, tolerance: float) -> None:
    """Hold a converted graph to what it was made of, its inputs and outputs in their layouts."""
    arrays = random_inputs(before)
    placed = [shuffled(x, v.type.shape) for x, v in zip(arrays, after.inputs, strict=True)]
    results = zip(irprune.run(before, arrays), irprune.run(after, placed), strict=True)
    for wanted, found in results:
        atol = tolerance * np.abs(wanted).max(initial=1.0)
        np.testing.assert_allclose(found, shuffled(wanted, found.shape), rtol=0, atol=atol)


@settings(max_examples=300)
@given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=12))
def test_random_graphs(graph: Graph) -> None:
    after = assert_keeps(keeping, deployed(graph), 1e-4)
    assert "NCHW" not in {getattr(node.op, "layout", "") for node in after.nodes}


@given(
    graphs(
        kinds={"Conv2d", "Reshape", "Transpose", "Flatten", "Dense", "Add", "Concat", "Relu"},
        min_nodes=4,
        max_nodes=16,
    )
)
def test_random_views_and_transposes(graph: Graph) -> None:
    assert_keeps(keeping, graph, 1e-4)


@given(st.data())
def test_storage(data: st.DataObject) -> None:
    """Views and transposes of a permuted tensor, beside numpy's."""
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    array = np.arange(np.prod(shape)).reshape(shape)
    memory, storage = array.transpose(order).ravel(), Storage.of(shape, order)
    for _ in range(4):
        if data.draw(st.booleans()):
            perm = tuple(data.draw(st.permutations(range(array.ndim))))
            array, storage = array.transpose(perm), storage.permuted(perm)
        else:
            sizes = [n for n in range(1, array.size + 1) if array.size % n == 0]
            rows = data.draw(st.sampled_from(sizes))
            wanted = (rows, array.size // rows)
            viewed = storage.viewed(wanted)
            if viewed is None:
                continue
            array, storage = array.reshape(wanted), viewed
        assert storage.shape == array.shape
        grid, perm = storage.grid()
        np.testing.assert_array_equal(
            memory.reshape(grid).transpose(perm).reshape(array.shape), array
        )


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_moves_nothing(name: str) -> None:
    """One view stays, before the classifier; images come in with their channels last."""
    graph = deployed(irprune.load(f"zoo:{name}"))
    after = channels_last(graph)
    assert [kind for kind in kinds(after) if kind in MOVES] in ([], ["Reshape"])
    for old, new in zip(graph.inputs, after.inputs, strict=True):
        n, *size = old.type.shape
        wanted = (n, *size[1:], size[0]) if len(size) == 3 else (n, *size)
        assert new.type.shape == wanted
    assert_agrees(graph, after, 1e-5)


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_light_models_are_not_transposed(path: Path) -> None:
    """A channel shuffle is the only movement, and none where a convolution can take it up."""
    after = channels_last(deployed(irprune.load(path)))
    assert "Transpose" not in kinds(after)
    assert ("Gather" in kinds(after)) == (path.stem == "light_shufflenet")


def images(builder: Builder, channels: int = 6) -> Value:
    return builder.input("x", (1, channels, 4, 5))


def weights(builder: Builder, *shape: int) -> Value:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return builder.constant("w", array)


def shuffle(builder: Builder, x: Value) -> Value:
    """ShuffleNet's: the channels of three groups, interleaved."""
    n, c, h, w = x.type.shape
    split = builder.add(ops.Reshape((n, 3, c // 3, h, w)), x)
    return builder.add(
        ops.Reshape((n, c, h, w)), builder.add(ops.Transpose((0, 2, 1, 3, 4)), split)
    )


@pytest.mark.parametrize("multiplier", [1, 2])
def test_convolutions_take_up_a_shuffle(multiplier: int) -> None:
    """A depthwise convolution hands the order on; a dense one ends it."""
    b = Builder("shuffled")
    x = b.add(ops.Relu(), images(b))
    depthwise = ops.Conv2d(groups=6)
    y = b.add(depthwise, shuffle(b, x), weights(b, 6 * multiplier, 1, 2, 2))
    graph = b.finish([b.add(ops.Conv2d(), y, weights(b, 4, 6 * multiplier, 1, 1))])
    after = channels_last(graph)
    assert kinds(after) == ["Relu", "Conv2d", "Conv2d"]
    assert_agrees(graph, after, 1e-6)


def test_grouped_convolutions_gather_a_shuffle() -> None:
    b = Builder("shuffled")
    grouped = ops.Conv2d(groups=2)
    graph = b.finish([b.add(grouped, shuffle(b, images(b)), weights(b, 4, 3, 1, 1))])
    after = channels_last(graph)
    assert kinds(after) == ["Gather", "Conv2d"]
    assert_agrees(graph, after, 1e-6)


def test_what_is_flattened_goes_into_the_weights() -> None:
    b = Builder("classifier")
    y = b.add(ops.MaxPool2d((2, 2)), images(b))
    flat = b.add(ops.Relu(), b.add(ops.Flatten(), y))
    graph = b.finish([b.add(ops.Dense(), flat, weights(b, 3, 6 * 3 * 4))])
    after = channels_last(graph)
    assert kinds(after) == ["MaxPool2d", "Relu", "Reshape", "Dense"]
    assert_agrees(graph, after, 1e-6)


def test_the_layout_of_the_interface_can_stay() -> None:
    b = Builder("kept")
    graph = b.finish([b.add(ops.MaxPool2d((2, 2)), images(b))])
    assert kinds(keeping(graph)) == ["Transpose", "MaxPool2d", "Transpose"]
    assert interface(keeping(graph)) == interface(graph)
    assert kinds(channels_last(graph)) == ["MaxPool2d"]
    assert channels_last(graph).outputs[0].type.shape == (1, 3, 4, 6)


def test_graphs_without_images_are_left_alone() -> None:
    b = Builder("matrix")
    x = b.input("x", (2, 3))
    graph = b.finish([b.add(ops.Transpose((1, 0)), x)])
    assert channels_last(graph) is graph
