"""Files with packed weights, beside the same files without, in TFLite-Micro."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irprune.backends.c_array import c_array
from irprune.backends.compile import CompileOptions, Compression, Numbers, compile_tflite
from irprune.backends.tflite import scheduled, write_tflite, writer
from irprune.backends.tflite.compression import (
    Step,
    packable,
    packed_tensors,
    smallest,
    unpacking,
)
from irprune.backends.tflite.footprint import footprint
from irprune.budget import Budget
from irprune.frontends.tflite import read_tflite, read_tflite_file
from irprune.frontends.tflite.file import ModelFile, Operator
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Array, Bytes
from irprune.passes.one_shot_sparsity import plan_for_sparsity
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.report.compiled import compiled_as_json
from tests.rewrites import random_inputs
from tests.tflite_files import TFLiteFile
from tests.tflm import tflm

DECODE = "CUSTOM TFLM_DECODE"


def zeroed(rng: np.random.Generator, *shape: int, sparsity: float = 0.8) -> Array:
    found = rng.normal(size=shape) * (rng.random(shape) >= sparsity)
    return found.astype(np.float32)


def net(seed: int, sparsity: float = 0.8) -> Graph:
    """Layers of every kind whose weights can be packed, with a branch and weights read twice."""
    rng, b = np.random.default_rng(seed), Builder("net")

    def weights(*shape: int) -> Value:
        return b.constant("w", zeroed(rng, *shape, sparsity=sparsity))

    x = b.input("x", (1, 8, 8, 8))
    shared = weights(24, 3, 3, 8)
    same = ((1, 1), (1, 1))
    one = b.add(ops.Conv2d(padding=same, layout="NHWC", activation=ops.Relu()), x, shared)
    two = b.add(ops.Conv2d(padding=same, layout="NHWC"), x, shared, weights(24))
    y = b.add(ops.Add(), one, two)
    deep = weights(24 * int(rng.integers(4, 9)), 3, 3, 1)
    y = b.add(ops.Conv2d(stride=(2, 2), groups=24, layout="NHWC"), y, deep)
    y = b.add(ops.ConvTranspose2d(stride=(2, 2), layout="NHWC"), y, weights(12, 2, 2, len_of(y)))
    y = b.add(ops.ReduceMean((1, 2)), y)
    y = b.add(ops.Dense(), y, weights(150, 12))
    return b.finish([y, two])


def len_of(value: Value) -> int:
    return value.type.shape[-1]


def compiled_pair(graph: Graph, numbers: Numbers, *, plan: bool = False) -> tuple[bytes, bytes]:
    """The file with packed weights, and the one without."""
    options = CompileOptions(numbers, plan=plan, compress=Compression.PRUNE)
    samples = [] if numbers is Numbers.FLOAT else [random_inputs(graph)]
    compiled = compile_tflite(graph, samples, options)
    assert compiled.plain is not None
    without = compile_tflite(graph, samples, CompileOptions(numbers, plan=plan))
    assert compiled.plain == without.data
    return compiled.data, compiled.plain


def assert_same_but_smaller(data: bytes, without: bytes, *, plan: bool = False) -> None:
    """Bit-equal outputs; constants, head and tail as they are said to be."""
    assert len(data) <= len(without)
    inputs = random_inputs(read_tflite(without))
    found, wanted = tflm(data, inputs), tflm(without, inputs)
    for one, other in zip(found.outputs, wanted.outputs, strict=True):
        assert one.tobytes() == other.tobytes()
    taken = footprint(data)
    assert (taken.head, taken.tail) == (found.head, found.tail)
    assert operands(read_tflite(data)) == operands(read_tflite(without))
    if plan:
        model = read_tflite_file(data)
        assert model.plan is not None
        assert all(model.plan[tensor] >= 0 for tensor in model.unpacked)


def operands(graph: Graph) -> list[list[tuple[str, bytes]]]:
    """The constants that each node reads, in any order of the nodes; -0.0 as 0.0."""
    return sorted(
        [
            (str(v.type) + str(v.type.quant), (graph.constants[v] + 0).tobytes())
            for v in node.inputs
            if v in graph.constants
        ]
        for node in graph.nodes
    )


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize("numbers", list(Numbers))
def test_every_layer(numbers: Numbers, plan: bool) -> None:
    data, without = compiled_pair(net(int(plan)), numbers, plan=plan)
    kinds = {operator.kind for operator in readers_of_packed(data)}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"} == kinds
    assert len(data) < 0.8 * len(without)
    assert_same_but_smaller(data, without, plan=plan)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 0.99])
def test_only_where_it_is_smaller(sparsity: float) -> None:
    data, without = compiled_pair(net(2, sparsity), Numbers.INT8)
    assert_same_but_smaller(data, without)
    packed = packed_tensors(data)
    assert all(one.after < one.before for one in packed)
    assert bool(packed) == (sparsity >= 0.15)  # a bit for each weight, and what else it takes
    assert (data == without) == (not packed)


def layers(*tensors: tuple[int, float]) -> Graph:
    """Dense layers with so many outputs of 8 inputs each, and the share of weights that are 0."""
    b, rng = Builder("layers"), np.random.default_rng(0)
    y = b.input("x", (1, 8))
    for outputs, sparsity in tensors:
        w = b.constant("w", zeroed(rng, outputs, 8, sparsity=sparsity))
        y = b.add(ops.Slice((1,), (0,), (8,), (1,)), b.add(ops.Dense(), y, w))
    return b.finish([y])


TENSORS = st.tuples(st.integers(8, 40), st.sampled_from([0.0, 0.2, 0.4, 0.8]))


@settings(max_examples=20)
@given(st.lists(TENSORS, min_size=1, max_size=4))
def test_no_other_choice_is_smaller(tensors: list[tuple[int, float]]) -> None:
    """Beside the files of every choice of tensors."""
    graph, sizes = layers(*tensors), []

    def every(
        graph: Graph, steps: Sequence[Step], write: Callable[[Sequence[Step]], bytes]
    ) -> bytes:
        pairs = list(packable(graph, steps))
        for count in range(len(pairs) + 1):
            for chosen in combinations(pairs, count):
                sizes.append(len(write(unpacking(steps, dict(chosen)))))
        return smallest(graph, steps, write)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "smallest", every)
        assert len(write_tflite(graph, pack=True)) == min(sizes)


def readers_of_packed(data: bytes) -> Sequence[Operator]:
    """The operators behind those that unpack, each of which reads what was unpacked."""
    operators = ModelFile(data).operators
    found = []
    for at, operator in enumerate(operators):
        if operator.kind == DECODE:
            assert set(operator.outputs) & set(operators[at + 1].inputs)
            found.append(operators[at + 1])
    return found


def test_each_layer_is_right_behind_what_it_needs() -> None:
    """In the best order, and in any that the file is put in later."""
    data, _ = compiled_pair(net(0), Numbers.INT8)
    model = read_tflite_file(data)
    count = len(readers_of_packed(data))
    other = [1, 0, *range(2, len(model.graph.nodes))]
    assert [model.graph.nodes[at].op.linear for at in other[:2]] == [True, True]
    moved = scheduled(data, model, other)
    assert moved != data
    assert len(readers_of_packed(moved)) == count == 5


def test_what_is_reported_is_what_the_file_has() -> None:
    rng, b = np.random.default_rng(0), Builder("one")
    weights = zeroed(rng, 32, 64)
    y = b.add(ops.Dense(), b.input("x", (1, 64)), b.constant("weights", weights))
    data = write_tflite(b.finish([y]), pack=True)
    (packed,) = packed_tensors(data)
    present = int(np.count_nonzero(weights))
    assert (packed.name, packed.elements, packed.zeros) == ("weights", 2048, 2048 - present)
    assert (packed.before, packed.after) == (8192, 256 + 16 + 4 * present)


def test_weights_that_are_read_twice_are_stored_once() -> None:
    graph = net(0)
    options = CompileOptions(Numbers.FLOAT, compress=Compression.PRUNE)
    compiled = compile_tflite(graph, (), options)
    assert compiled.plain is not None
    assert len(compiled.packed) == 4
    assert len(readers_of_packed(compiled.data)) == 5
    whole = sum(array.nbytes for array in read_tflite(compiled.plain).constants.values())
    saved = sum(packed.before - packed.after for packed in compiled.packed)
    assert json.loads(compiled_as_json(compiled, None))["constants"] == whole - saved


def test_weights_that_others_read_too_stay() -> None:
    """An output is a constant of the file, and a sum would need it unpacked as well."""
    rng, b = np.random.default_rng(0), Builder("shared")
    x = b.input("x", (1, 64))
    one, two = (b.constant(name, zeroed(rng, 64, 64)) for name in ("one", "two"))
    y = b.add(ops.Dense(), x, one)
    z = b.add(ops.Add(), b.add(ops.Dense(), y, two), two)
    graph = b.finish([z, one])
    assert write_tflite(graph, pack=True) == write_tflite(graph)


@pytest.mark.parametrize(
    ("zero_points", "packs"), [([5], True), ([0] * 64, True), ([5] * 64, False)]
)
def test_zero_points(zero_points: list[int], packs: bool) -> None:
    """One of a tensor is left out like zero; channels that have others stay as they are."""
    rng, file = np.random.default_rng(0), TFLiteFile()
    stays = rng.random((64, 64)) < 0.2
    array = np.where(stays, rng.integers(-128, 128, (64, 64)), zero_points[0]).astype(np.int8)
    scale = [0.01] * len(zero_points)
    x, y = file.tensor((1, 64), np.int8, scale=0.5), file.tensor((1, 64), np.int8, scale=1.0)
    w = file.constant(array, scale=scale, zero_point=zero_points)
    file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions", version=4)
    graph = read_tflite(file.finish([x], [y]))
    data, without = write_tflite(graph, pack=True), write_tflite(graph)
    assert bool(packed_tensors(data)) == packs
    assert_same_but_smaller(data, without)


def test_the_sources_register_what_unpacks() -> None:
    data, _ = compiled_pair(net(0), Numbers.INT8)
    assert "resolver.AddDecode()" in c_array(data, 1)["model.h"]


MODELS = {"ad01_int8": 0.6, "kws_ref_model": 0.3, "pretrainedResnet": 0.7, "vww_96_int8": 0.6}


@pytest.mark.parametrize(("name", "less"), [("pretrainedResnet_quant", 0.4), *MODELS.items()])
def test_shared_models_at_80_percent(shared: Path, name: str, less: float) -> None:
    """What is asked of the ResNet, and what a bit and a fifth of a byte a weight promise others."""
    dense = read_tflite(shared / f"models/{name}.tflite")
    graph = apply_sparsity(dense, plan_for_sparsity(dense, 0.8))
    kind = None if graph.inputs[0].type.quant else Numbers.FLOAT
    compiled = compile_tflite(graph, (), CompileOptions(kind, compress=Compression.PRUNE))
    assert compiled.plain is not None
    assert len(compiled.data) <= (1 - less) * len(compiled.plain)
    assert_same_but_smaller(compiled.data, compiled.plain)


@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "kws_ref_model"])
def test_plans_place_what_is_unpacked(shared: Path, name: str) -> None:
    """The arena that is found with unpacked weights in it is what the runtime takes."""
    dense = read_tflite(shared / f"models/{name}.tflite")
    graph = apply_sparsity(dense, plan_for_sparsity(dense, 0.8))
    options = CompileOptions(plan=True, compress=Compression.PRUNE)
    compiled = compile_tflite(graph, (), options)
    run = tflm(compiled.data, random_inputs(graph))
    assert run.head == compiled.memory.arena.size == compiled.footprint.head
    assert compiled.memory.arena.proven


def test_a_budget_of_sram_says_what_compression_costs() -> None:
    rng, b = np.random.default_rng(0), Builder("wide")
    y = b.add(ops.Dense(), b.input("x", (1, 256)), b.constant("w", zeroed(rng, 64, 256)))
    options = CompileOptions(Numbers.FLOAT, compress=Compression.PRUNE)
    compiled = compile_tflite(b.finish([y]), (), options)
    head = 4 * (256 + 64)
    assert compiled.excess(Budget(sram=Bytes(40_000))) == (
        f"needs {head + 4 * 256 * 64:,} bytes of SRAM ({head:,} without compression), "
        "there are 40,000"
    )
    assert compiled.excess(Budget(sram=Bytes(80_000))) == ""
