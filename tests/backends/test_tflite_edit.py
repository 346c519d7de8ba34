import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from hypothesis import given
from hypothesis import strategies as st

from irprune.backends.tflite import reordered, scheduled, with_plan
from irprune.frontends.tflite import read_tflite, read_tflite_file
from irprune.ir.errors import InvalidModel, InvalidPlan, IrpruneError, UnsupportedOp, UsageError
from irprune.ir.types import Bytes
from irprune.passes.analysis.arena import arena
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.offline_plan import check_plan, fill_plan
from tests import tflite_nets as nets
from tests.tflite_files import TFLiteFile, litert, small_model
from tests.tflm import tflm

NAME = "OfflineMemoryAllocation"


def count_of(data: bytes) -> int:
    return int(schema.Model.GetRootAs(data).Subgraphs(0).TensorsLength())


def decoded(data: bytes) -> Any:
    """The file as LiteRT's object API reads it, as plain data."""
    return plain(schema.ModelT.InitFromPackedBuf(data))


def plain(item: Any) -> Any:
    match item:
        case np.ndarray():
            return item.tolist()
        case list():
            return [plain(part) for part in item]
        case _ if hasattr(item, "__dict__"):
            return {name: plain(part) for name, part in vars(item).items()}
        case _:
            return item


def plan_in(data: bytes) -> list[int]:
    """The numbers of the plan, read with LiteRT's schema."""
    model = schema.ModelT.InitFromPackedBuf(data)
    (entry,) = (entry for entry in model.metadata if entry.name == NAME.encode())
    return list(np.frombuffer(bytes(model.buffers[entry.buffer].data), np.int32).tolist())


def full_model() -> TFLiteFile:
    """A file with everything that a model can have beside its graph."""
    file = TFLiteFile()
    x = file.tensor((1, 8), np.int8, scale=0.1, name="x")
    w = file.constant(np.eye(8, dtype=np.int8), scale=0.1)
    y = file.tensor((1, 8), np.int8, scale=0.1, name="y")
    file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions")
    file.model.description = "a model"
    file.model.metadataBuffer = [2]
    metadata, buffer = schema.MetadataT(), schema.BufferT()
    metadata.name, metadata.buffer = "min_runtime_version", len(file.model.buffers)
    buffer.data = np.frombuffer(b"1.5.0".ljust(16, b"\0"), np.uint8)
    file.model.metadata = [metadata]
    file.model.buffers.append(buffer)
    signature, given, made = schema.SignatureDefT(), schema.TensorMapT(), schema.TensorMapT()
    given.name, given.tensorIndex = "x", x
    made.name, made.tensorIndex = "y", y
    signature.inputs, signature.outputs = [given], [made]
    signature.signatureKey = "serving_default"
    file.model.signatureDefs = [signature]
    file.graph.inputs, file.graph.outputs = [x], [y]
    return file


def full() -> bytes:
    return full_model().finish((0,), (2,))


def test_operators_alone_move() -> None:
    data = nets.random_net(4)
    (graph,) = decoded(data)["subgraphs"]
    order = other_order(data, 1)
    edited = reordered(data, order)
    assert order != list(range(len(order)))
    wanted = decoded(data)
    wanted["subgraphs"][0]["operators"] = [graph["operators"][at] for at in order]
    assert decoded(edited) == wanted
    changed = [at for at, (a, b) in enumerate(zip(data, edited, strict=True)) if a != b]
    assert max(changed) - min(changed) < 4 * len(order)
    assert reordered(edited, np.argsort(order).tolist()) == data


def other_order(data: bytes, seed: int) -> list[int]:
    """A random order of the operators, each after what it reads."""
    chance, (graph,) = random.Random(seed), decoded(data)["subgraphs"]
    operators = graph["operators"]
    left, order = set(range(len(operators))), list[int]()
    missing = {tensor for operator in operators for tensor in operator["outputs"]}
    while left:
        ready = [at for at in sorted(left) if missing.isdisjoint(operators[at]["inputs"])]
        order.append(chance.choice(ready))
        left.remove(order[-1])
        missing -= set(operators[order[-1]]["outputs"])
    return order


@pytest.mark.parametrize("seed", range(8))
def test_a_reordered_file_gives_the_same(seed: int) -> None:
    data = nets.random_net(seed)
    inputs = [
        np.full(v.type.shape, 7 * i + 1, np.int8) for i, v in enumerate(read_tflite(data).inputs)
    ]
    edited = reordered(data, other_order(data, seed))
    for one, other in zip(tflm(data, inputs).outputs, tflm(edited, inputs).outputs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ((0, 1, 2, 3, 4), "does not run each of 6 operators once"),
        ((0, 1, 2, 3, 4, 4), "does not run each of 6 operators once"),
        ((0, 1, 2, 3, 4, 6), "does not run each of 6 operators once"),
        ((0, 2, 1, 3, 4, 5), "runs AVERAGE_POOL_2D#2 before 'sum' is made"),
    ],
)
def test_orders_that_cannot_run_are_refused(order: Sequence[int], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        reordered(small_model(), order)


@pytest.mark.parametrize("make", [small_model, full, nets.branchy])
def test_a_plan_is_put_before_the_file(make: Callable[[], bytes]) -> None:
    data = make()
    offsets = [16 * at for at in range(count_of(data))]
    edited = with_plan(data, offsets)
    assert edited.endswith(data)
    # What moves stays aligned to cache lines.
    assert (len(edited) - len(data)) % 64 == 0
    assert plan_in(edited) == [1, 1, len(offsets), *offsets]
    assert with_plan(data, offsets) == edited


@pytest.mark.parametrize("make", [small_model, full, nets.branchy])
def test_all_else_of_a_model_stays(make: Callable[[], bytes]) -> None:
    data = make()
    before, after = decoded(data), decoded(with_plan(data, [-1] * count_of(data)))
    entry, content = after["metadata"].pop(), after["buffers"].pop()
    assert (entry["name"], entry["buffer"]) == (NAME.encode(), len(after["buffers"]))
    assert len(content["data"]) == 4 * (3 + count_of(data))
    assert after == before | {"metadata": before["metadata"] or []}


def test_signatures_run() -> None:
    edited = with_plan(full(), [0, -1, 16])
    from ai_edge_litert import interpreter as lite

    runner = lite.Interpreter(model_content=edited).get_signature_runner("serving_default")
    x = np.arange(8, dtype=np.int8).reshape(1, 8)
    np.testing.assert_array_equal(runner(x=x)["y"], litert(full())(x)[0])


def test_a_plan_of_the_same_length_is_written_over() -> None:
    data = with_plan(full(), [0, -1, 16])
    edited = with_plan(data, [16, -1, 0])
    assert plan_in(edited) == [1, 1, 3, 16, -1, 0]
    changed = [at for at, (a, b) in enumerate(zip(data, edited, strict=True)) if a != b]
    assert len(changed) == 2


def with_metadata(content: bytes, names: Sequence[str] = (NAME,)) -> TFLiteFile:
    file = full_model()
    for name in names:
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = name, len(file.model.buffers)
        file.model.metadata.append(metadata)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    file.model.buffers.append(buffer)
    return file


def numbers(*values: int) -> bytes:
    return np.array(values, np.int32).tobytes()


def test_a_plan_for_another_model_is_replaced() -> None:
    data = with_metadata(numbers(1, 1, 2, 0, 16)).finish((0,), (2,))
    x = np.arange(8, dtype=np.int8).reshape(1, 8)
    with pytest.raises(RuntimeError, match="allocate"):
        tflm(data, [x])
    found = read_tflite_file(data)
    assert found.plan == (0, 16)
    with pytest.raises(InvalidPlan, match="for another model: it has 2 tensors, not 3"):
        check_plan(found.runtime, found.plan)
    edited = with_plan(data, [0, -1, 16])
    assert edited.endswith(data)
    assert plan_in(edited) == [1, 1, 3, 0, -1, 16]
    np.testing.assert_array_equal(tflm(edited, [x]).outputs[0], tflm(full(), [x]).outputs[0])


def test_of_two_plans_none_stays() -> None:
    data = with_metadata(numbers(1, 1, 3, 0, -1, 16), (NAME, NAME)).finish((0,), (2,))
    assert plan_in(with_plan(data, [16, -1, 0])) == [1, 1, 3, 16, -1, 0]


def test_weights_that_serve_as_a_plan_are_not_written_over() -> None:
    file = full_model()
    content = numbers(1, 1, 4, 0, -1, 16, -1)
    file.constant(np.frombuffer(content, np.int8).reshape(7, 4), scale=0.1)
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = NAME, file.graph.tensors[-1].buffer
    file.model.metadata.append(metadata)
    data = file.finish((0,), (2,))
    assert plan_in(data) == [1, 1, 4, 0, -1, 16, -1]
    assert with_plan(data, [16, -1, 0, -1]).endswith(data)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1\0\0\0",
        numbers(1, 1),
        numbers(1, 1, 3, 0, 16),
        numbers(1, 1, 2**31 - 1, 0),
        numbers(1, 1, 1, 0) + b"\0",
    ],
)
def test_a_damaged_plan_is_refused_by_name(content: bytes) -> None:
    data = with_metadata(content).finish((0,), (2,))
    with pytest.raises(InvalidPlan, match="model: its memory plan is damaged"):
        read_tflite_file(data)
    read_tflite(data)


def test_a_plan_for_other_tensors_is_not_written() -> None:
    with pytest.raises(InvalidPlan, match="has 2 tensors, the file 3"):
        with_plan(full(), [0, 16])


def test_data_behind_the_flatbuffer_are_not_moved() -> None:
    file = full_model()
    file.model.buffers[1].data = None
    file.model.buffers[1].offset, file.model.buffers[1].size = 4096, 64
    data = file.finish((0,), (2,)).ljust(4096, b"\0") + np.eye(8, dtype=np.int8).tobytes()
    assert read_tflite(data).constants
    with pytest.raises(UnsupportedOp, match="data behind the flatbuffer"):
        with_plan(data, [0, -1, 16])


def test_fields_of_a_newer_schema_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(builder: Builder) -> None:
        builder.StartObject(11)
        builder.PrependUint32Slot(10, 7, 0)

    monkeypatch.setattr(schema, "ModelStart", start)
    with pytest.raises(UnsupportedOp, match="newer schema"):
        with_plan(full(), [0, -1, 16])


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_damaged_files_are_refused_or_edited(at: int, by: bytes) -> None:
    data = with_plan(small_model(), [-1] * count_of(small_model()))
    at %= len(data)
    damaged = data[:at] + by + data[at + len(by) :]
    for edit in (
        lambda: check(damaged),
        lambda: plan_again(damaged),
        lambda: with_plan(damaged, range(0, 16 * count_of(data), 16)),
        lambda: reordered(damaged, range(6)),
    ):
        with suppress(IrpruneError):
            edit()


def plan_again(data: bytes) -> None:
    model = read_tflite_file(data)
    order = tuple(range(len(model.graph.nodes)))
    scheduled(data, model, order, arena(model.graph, order, precision=Precision.MODEL).offsets)


def check(data: bytes) -> None:
    model = read_tflite_file(data)
    if model.plan is not None:
        check_plan(model.runtime, model.plan, size=Bytes(4096))


@given(st.data())
def test_a_damaged_plan_is_refused_or_harmless(data: st.DataObject) -> None:
    """Whatever bytes change in a plan: what passes the check computes the same."""
    model = read_tflite_file(small_model()).runtime
    offsets = fill_plan(model, {}, range(len(model.operations)))
    file = bytearray(with_plan(small_model(), offsets))
    start = file.index(numbers(1, 1, len(offsets), *offsets))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, 4 * (3 + len(offsets)) - 1))
        file[start + place] = data.draw(st.sampled_from((0, 1, 2, 16, 32, 64, 128, 255)))
    try:
        check(bytes(file))
    except InvalidPlan:
        return
    x = [np.arange(108, dtype=np.int8).reshape(1, 6, 6, 3)]
    np.testing.assert_array_equal(
        tflm(bytes(file), x).outputs[0], tflm(small_model(), x).outputs[0]
    )


def test_offsets_far_beyond_the_file_are_refused() -> None:
    data = bytearray(full())
    table = schema.Model.GetRootAs(bytes(data))._tab
    at = table.Pos + table.Offset(18)  # the signatures, which no graph needs
    data[at : at + 4] = numbers(-1)
    assert read_tflite(bytes(data)).outputs
    with pytest.raises(InvalidModel, match="an offset in it leaves the file"):
        with_plan(bytes(data), [0, -1, 16])


def test_operands_beyond_those_of_the_operator_are_seen() -> None:
    """A fourth operand of a convolution, which only a later operator makes."""
    net = nets.Net()
    x = net.image(4)
    total = net.add(net.conv(x, 4), x)
    net.file.graph.operators[0].inputs += (total,)
    data = net.finish(total)
    assert read_tflite(data).nodes
    with pytest.raises(InvalidModel, match=r"CONV_2D#0: tensor 't\d' is read before anything"):
        read_tflite_file(data)


def test_outputs_beyond_those_of_the_operator_are_seen() -> None:
    """A second output of an operator that was computed on reading."""
    data = schema.ModelT.InitFromPackedBuf(nets.shape_arithmetic())
    (graph,) = data.subgraphs
    graph.operators[0].outputs = [*graph.operators[0].outputs, graph.operators[3].outputs[0]]
    builder = Builder(1024)
    builder.Finish(data.Pack(builder), b"TFL3")
    assert read_tflite(bytes(builder.Output())).nodes
    with pytest.raises(InvalidModel, match=r"RESHAPE#3: tensor 't\d+' is made twice"):
        read_tflite_file(bytes(builder.Output()))


def test_an_operator_table_within_the_vector_is_refused() -> None:
    data = bytearray(small_model())
    order = [0, 1, 2, 3, 4, 5]
    model = schema.Model.GetRootAs(bytes(data)).Subgraphs(0)
    places = model._tab.Vector(model._tab.Offset(10))
    data[places : places + 4] = numbers(4)
    with pytest.raises(InvalidModel):
        reordered(bytes(data), order)
