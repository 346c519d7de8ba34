"""Orders and memory plans in TFLite files, held to what TFLite-Micro does with them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from irprune.backends.tflite import memory_plan, operator_order, reordered, scheduled, with_plan
from irprune.frontends.tflite import read_tflite_file
from irprune.ir.errors import InvalidModel, InvalidPlan
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from irprune.passes.analysis.arena import arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.offline_plan import check_plan, fill_plan, plan_size
from irprune.passes.analysis.schedule import schedule
from tests import tflite_nets as nets
from tests.tflite_files import litert, small_model
from tests.tflm import Run, tflm

MODELS = (
    "ad01_int8",
    "kws_ref_model",
    "pretrainedResnet",
    "pretrainedResnet_quant",
    "vww_96_float",
    "vww_96_int8",
)


class Planned(NamedTuple):
    """A file in the best order, the same with its plan, the sizes of the arena and of the plan."""

    ordered: bytes
    file: bytes
    arena: int
    plan: int


def planned(data: bytes) -> Planned:
    model = read_tflite_file(data)
    order = schedule(model.graph, Precision.MODEL).order
    place = arena(model.graph, order, precision=Precision.MODEL)
    operators = operator_order(model, order)
    plan = memory_plan(model, operators, place.offsets)
    file = scheduled(data, model, order, place.offsets)
    return Planned(reordered(data, operators), file, place.size, plan_size(model.runtime, plan))


def inputs_of(graph: Graph) -> list[Array]:
    rng = np.random.default_rng(2)
    return [
        rng.normal(0, 1, v.type.shape).astype(np.float32)
        if v.type.dtype.is_float
        else rng.integers(-128, 128, v.type.shape).astype(v.type.dtype.numpy)
        for v in graph.inputs
    ]


def runs(*files: bytes) -> list[Run]:
    """Files on the same inputs, after a look at whether they give the same."""
    inputs = inputs_of(read_tflite_file(files[0]).graph)
    found = [tflm(file, inputs) for file in files]
    for run in found:
        for one, other in zip(found[0].outputs, run.outputs, strict=True):
            np.testing.assert_array_equal(one, other)
    return found


def heads(data: bytes, result: Planned) -> tuple[int, int]:
    """The head of a file before and after, the rest being as it must be.

    What the runtime keeps for good is padded here and there, which depends on the order of the
    operators but not on the plan.
    """
    before, ordered, after = runs(data, result.ordered, result.file)
    assert after.tail == ordered.tail
    assert after.total == after.head + after.tail
    return before.head, after.head


@pytest.mark.parametrize("name", MODELS)
def test_shared_models_take_what_the_arena_says(shared: Path, name: str) -> None:
    data = (shared / "models" / f"{name}.tflite").read_bytes()
    result = planned(data)
    before, after = heads(data, result)
    assert after == result.arena == result.plan <= before


def test_the_person_detector_fits_into_three_quarters(shared: Path) -> None:
    """The figures of docs/design.md §6, measured with the runtime's own planner and with ours."""
    data = (shared / "models" / "vww_96_int8.tflite").read_bytes()
    assert heads(data, planned(data)) == (73_728, 55_296)


@pytest.mark.parametrize("net", [small_model, *nets.NETS])
def test_synthetic_nets_take_what_the_plan_says(net: Callable[[], bytes]) -> None:
    data = net()
    result = planned(data)
    before, after = heads(data, result)
    assert after == result.plan <= before
    if net not in nets.BEYOND_THE_GRAPH:
        assert result.plan == result.arena


@pytest.mark.parametrize("seed", range(60))
def test_random_nets_take_what_the_arena_says(seed: int) -> None:
    data = nets.random_net(seed)
    result = planned(data)
    before, after = heads(data, result)
    assert after == result.arena == result.plan <= before


def test_order_plan_and_sums_in_place_save_a_third_together() -> None:
    data = nets.branchy()
    result = planned(data)
    model = read_tflite_file(result.ordered)
    operators = range(len(model.runtime.operations))
    apart = with_plan(result.ordered, fill_plan(model.runtime, {}, operators))
    own, ordered, copied, in_place = runs(data, result.ordered, apart, result.file)
    assert own.head > ordered.head >= copied.head > in_place.head
    assert in_place.head <= own.head * 2 / 3


@pytest.mark.parametrize("net", [small_model, *nets.NETS])
def test_litert_runs_the_edited_file(net: Callable[[], bytes]) -> None:
    data = net()
    inputs = inputs_of(read_tflite_file(data).graph)
    for one, other in zip(litert(data)(*inputs), litert(planned(data).file)(*inputs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("net", [small_model, *nets.NETS])
def test_the_frontend_reads_the_plan_back(net: Callable[[], bytes]) -> None:
    data = net()
    assert read_tflite_file(data).plan is None
    result = planned(data)
    again = read_tflite_file(result.file)
    assert again.plan is not None
    assert plan_size(again.runtime, again.plan) == result.plan
    check_plan(again.runtime, again.plan)
    assert planned(result.file).file == result.file


def test_a_plan_that_does_not_hold_in_the_new_order_is_not_kept() -> None:
    data = nets.branchy()
    model = read_tflite_file(data)
    given = range(len(model.graph.nodes))
    place = arena(model.graph, tuple(given), precision=Precision.MODEL)
    file = scheduled(data, model, given, place.offsets)
    found = read_tflite_file(file)
    order = schedule(model.graph, Precision.MODEL).order
    with pytest.raises(InvalidPlan, match=r"in this order, the plan puts tensors '\w+' at \d+ and"):
        scheduled(file, found, order)
    assert scheduled(file, found, given) == file


def test_offsets_for_another_order_are_refused() -> None:
    data = nets.branchy()
    model = read_tflite_file(data)
    order = schedule(model.graph, Precision.MODEL).order
    place = arena(model.graph, order, precision=Precision.MODEL)
    with pytest.raises(InvalidPlan, match="overlap while both are needed"):
        scheduled(data, model, range(len(order)), place.offsets)


def test_an_output_without_a_shape_is_refused() -> None:
    """The graph infers the shape; the runtime would take it for a single number."""
    net = nets.Net()
    y = net.conv(net.image(4), 4)
    net.file.graph.tensors[y].shape, net.file.graph.tensors[y].hasRank = [], False
    with pytest.raises(InvalidModel, match=r"declares 1 bytes for tensor 't\d', which has 256"):
        read_tflite_file(net.finish(y))


def test_scratch_memory_of_kernels_is_placed_around_the_plan() -> None:
    """A mean takes a 32-bit sum a channel and two small vectors, which no file tells of."""
    net = nets.Net()
    x = net.image(16)
    y, axes = net.activation(1, 1, 1, 16), net.file.constant(np.array([1, 2], np.int32))
    net.file.operator("MEAN", (x, axes), (y,), "ReducerOptions", keepDims=True)
    data = net.finish(net.dense(y, 4))
    result = planned(data)
    assert result.arena == 8 * 8 * 16 + 16
    assert heads(data, result)[1] == result.arena + 4 * 16 + 16 + 16
