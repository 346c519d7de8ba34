"""The arena that a file takes, beside what TFLite-Micro says it has taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tflite_micro.python.tflite_micro import runtime

import irprune
from irprune.backends.c_array import c_array
from irprune.backends.compile import CompileOptions, Numbers, compile_tflite
from irprune.backends.tflite.footprint import footprint
from irprune.frontends.tflite import read_tflite
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph
from irprune.ir.op import Op
from irprune.ir.types import Array
from tests.rewrites import random_inputs
from tests.tflite_nets import random_net
from tests.tflm import tflm

SHARED = ["ad01_int8", "kws_ref_model", "pretrainedResnet", "pretrainedResnet_quant"]
SHARED += ["vww_96_float", "vww_96_int8"]


def assert_predicted(data: bytes) -> None:
    """Head and tail to the byte, in an arena that is large and in the one that is asked for."""
    found, run = footprint(data), tflm(data, random_inputs(read_tflite(data)))
    assert (found.head, found.tail) == (run.head, run.tail)
    assert found.total % 16 == 0
    assert runs_in(data, found.total)


def runs_in(data: bytes, arena: int) -> bool:
    """Whether TFLite-Micro sets a file up in so many bytes of arena."""
    try:
        runtime.Interpreter.from_bytes(data, arena_size=arena)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("name", SHARED)
def test_shared_models(shared: Path, name: str) -> None:
    data = (shared / f"models/{name}.tflite").read_bytes()
    assert_predicted(data)
    found = footprint(data)
    assert not runs_in(data, found.total - 1024)
    header = c_array(data, found.total)["model.h"]
    assert f"kModelArenaSize = {found.total};" in header


@pytest.mark.parametrize("name", ["autoencoder", "resnet8", "etinynet", "mobilenet_v2", "res15"])
@pytest.mark.parametrize("numbers", [Numbers.FLOAT, Numbers.INT8])
def test_the_zoo(name: str, numbers: Numbers) -> None:
    torch.manual_seed(0)
    graph = irprune.load(f"zoo:{name}")
    for plan in (True, False):
        options = CompileOptions(numbers, plan=plan)
        compiled = compile_tflite(graph, [random_inputs(graph)], options)
        assert_predicted(compiled.data)
        if plan:
            assert footprint(compiled.data).head == compiled.memory.arena.size


@pytest.mark.parametrize("seed", range(20))
def test_random_nets(seed: int) -> None:
    assert_predicted(random_net(seed))


def weights(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def several(op: Op, *constants: Array) -> Graph:
    """An operator four times, between others that differ from it."""
    b = Builder("several")
    x = b.input("x", (1, 8, 8, 4))
    for i in range(4):
        y = b.add(ops.Abs(), x)
        x = b.add(op, y, *(b.constant(f"c{i}", array) for array in constants))
        if x.type.shape != (1, 8, 8, 4):
            x = b.add(ops.Expand((1, 8, 8, 4)), x)
    return b.finish([x])


@pytest.mark.parametrize(
    ("op", "constants"),
    [
        (ops.Relu(), []),
        (ops.Sigmoid(), []),
        (ops.Tanh(), []),
        (ops.HardSwish(), []),
        (ops.LeakyRelu(), []),
        (ops.Elu(), []),
        (ops.Softmax(), []),
        (ops.LogSoftmax(), []),
        (ops.Mul(), [weights(1, 1, 1, 4)]),
        (ops.Sub(), [weights(1, 1, 1, 4)]),
        (ops.Maximum(), [weights(1, 1, 1, 4)]),
        (ops.PRelu(), [weights(4)]),
        (ops.ReduceMean((1, 2)), []),
        (ops.ReduceSum((1, 2)), []),
        (ops.ReduceMean((3,)), []),
        (ops.ReduceMax((1, 2)), []),
        (ops.MaxPool2d((1, 1), layout="NHWC"), []),
        (ops.Conv2d(layout="NHWC"), [weights(4, 1, 1, 4), weights(4)]),
        (ops.Conv2d(groups=4, layout="NHWC"), [weights(4, 1, 1, 1), weights(4)]),
        (ops.ConvTranspose2d(layout="NHWC"), [weights(4, 1, 1, 4), weights(4)]),
        (ops.Dense(), [weights(4, 4), weights(4)]),
        (ops.Transpose((0, 2, 1, 3)), []),
        (ops.Gather((3, 2, 1, 0), (4,), 3), []),
        (ops.Slice((1,), (7,), (8,), (-1,)), []),
        (ops.MatMul(), [weights(1, 1, 4, 4)]),
        (ops.Resize((1, 2), (8, 8), (1.0, 1.0), "linear"), []),
        (ops.Resize((1, 2), (8, 8), (1.0, 1.0)), []),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Op) else "",
)
@pytest.mark.parametrize("numbers", list(Numbers))
def test_operators(op: Op, constants: list[Array], numbers: Numbers) -> None:
    graph = several(op, *constants)
    compiled = compile_tflite(graph, [random_inputs(graph)], CompileOptions(numbers))
    assert_predicted(compiled.data)


@pytest.mark.parametrize("numbers", list(Numbers))
def test_operators_that_change_shapes(numbers: Numbers) -> None:
    b = Builder("shapes")
    x = b.input("x", (1, 8, 8, 4))
    y = b.add(ops.Pad(((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"), x)
    y = b.add(ops.Pad(((0, 0), (1, 1), (1, 1), (0, 0))), y)
    y = b.add(ops.SpaceToDepth(2, layout="NHWC"), y)
    one, two = b.add_node(ops.Split(3, (4, 12)), [y])
    square = b.add(ops.MatMul(transpose_b=True), one, one)
    y = b.add(ops.DepthToSpace(2, layout="NHWC"), b.add(ops.Concat(3), two, one))
    graph = b.finish([y, square])
    compiled = compile_tflite(graph, [random_inputs(graph)], CompileOptions(numbers))
    assert_predicted(compiled.data)


@pytest.mark.parametrize("channels", [64, 1024])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_needed_only_while_an_operator_is_prepared(channels: int, transposed: bool) -> None:
    """Scales of many channels are more than a single pixel of them."""
    b = Builder("wide")
    x = b.input("x", (1, 1, 1, 1))
    op = ops.ConvTranspose2d(layout="NHWC") if transposed else ops.Conv2d(layout="NHWC")
    shape = (channels, 1, 1, 1)
    y = b.add(op, x, b.constant("w", weights(*shape)), b.constant("b", weights(channels)))
    graph = b.finish([y])
    data = compile_tflite(graph, [random_inputs(graph)]).data
    assert_predicted(data)
    found = footprint(data)
    assert found.total > found.head + found.tail
