from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from irprune.backends.reference import run, run_all
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidType, UsageError
from irprune.ir.graph import Graph, Source
from irprune.ir.ops import Add, Gelu, Relu, Split
from irprune.ir.types import DType, Quant


def chain(length: int, width: int) -> Graph:
    b = Builder("chain")
    y = b.input("x", (1, width))
    for _ in range(length):
        y = b.add(Relu(), y)
    return b.finish([y])


def test_outputs_come_in_order() -> None:
    b = Builder("two")
    x = b.input("x", (1, 4))
    first, second = b.add_node(Split(1, (1, 3)), [x])
    graph = b.finish([second, first, x])
    array = np.arange(4, dtype=np.float32)[None]
    found = run(graph, [array])
    np.testing.assert_array_equal(found[0], array[:, 1:])
    np.testing.assert_array_equal(found[1], array[:, :1])
    np.testing.assert_array_equal(found[2], array)


def test_every_value_can_be_had() -> None:
    b = Builder("values")
    x = b.input("x", (1, 2))
    w = b.constant("w", np.ones(2, np.float32))
    y = b.add(Add(), x, w)
    graph = b.finish([b.add(Relu(), y)])
    found = run_all(graph, [np.asarray([[-3, 1]], np.float32)])
    assert {value.name: array.tolist() for value, array in found.items()} == {
        "x": [[-3, 1]],
        "w": [1, 1],
        "add": [[-2, 2]],
        "relu": [[0, 2]],
    }


def test_values_are_freed_after_their_last_reader() -> None:
    width = 1_000_000
    graph, x = chain(20, width), np.ones((1, width), np.float32)
    tracemalloc.start()
    run(graph, [x])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 4 * width


def test_inputs_must_be_of_their_types() -> None:
    graph = chain(1, 3)
    with pytest.raises(UsageError, match="chain: takes 1 inputs, not 0"):
        run(graph, [])
    with pytest.raises(UsageError, match=r"input 'x' is f32\[1,3\], not float32 of 1x4"):
        run(graph, [np.zeros((1, 4), np.float32)])
    with pytest.raises(UsageError, match="float64"):
        run_all(graph, [np.zeros((1, 3))])


def test_an_error_names_the_node() -> None:
    quant = Quant((0.1,), (0,))
    b = Builder("int8")
    x = b.input("x", (1, 3), DType.I8, quant)
    y = b.add(Gelu(), x, source=Source("m.tflite", "GELU#7"), quant=quant)
    with pytest.raises(InvalidType, match=r"m\.tflite: node 'GELU#7'"):
        run(b.finish([y]), [np.zeros((1, 3), np.int8)])
