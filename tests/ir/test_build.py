from __future__ import annotations

import numpy as np
import pytest

from irprune.ir.build import Builder, Edit
from irprune.ir.errors import InvalidGraph, InvalidType
from irprune.ir.graph import Graph, Source
from irprune.ir.ops import Add, Dense, Relu, Split
from irprune.ir.types import MAX_ELEMENTS, DType, Quant, TensorType
from irprune.ir.verify import verify


def two_layers() -> Graph:
    b = Builder("two")
    x = b.input("x", (1, 4))
    w = b.constant("w", np.ones((4, 4), np.float32))
    y = b.add(Dense(), x, w, name="dense")
    return b.finish([b.add(Relu(), y, name="relu")])


def test_names_are_made_unique() -> None:
    b = Builder("names")
    x = b.input("x", (1, 4))
    first, second = b.add(Relu(), x, name="x"), b.add(Relu(), x, name="x")
    parts = b.add_node(Split(1, (1, 3)), [x], name="parts", names=("x", "rest"))
    names = [x.name, first.name, second.name, *(part.name for part in parts)]
    assert len(set(names)) == len(names)
    assert names[-1] == "rest"
    verify(b.finish([first, second, *parts]))


def test_constants_are_read_only_and_kept_only_where_read() -> None:
    b = Builder("constants")
    x = b.input("x", (1, 4))
    array = np.ones((1, 4), np.float32)
    read, _ = b.constant("read", array), b.constant("unread", np.zeros(3))
    graph = b.finish([b.add(Add(), x, read)])
    assert list(graph.constants) == [read]
    assert graph.constants[read] is array
    assert not array.flags.writeable


def test_an_error_says_at_which_node() -> None:
    b = Builder("bad")
    x = b.input("x", (1, 4))
    w = b.constant("w", np.ones((3, 5), np.float32))
    with pytest.raises(InvalidType, match=r"m\.onnx: node 'fc': weights 3x5 do not fit input 1x4"):
        b.add(Dense(), x, w, source=Source("m.onnx", "fc"))


@pytest.mark.parametrize("shape", [(-1, 3), (MAX_ELEMENTS, 2)])
def test_shapes_without_sense_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidType):
        TensorType(shape, DType.F32)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis"),
    [((), (), None), ((1.0,), (0, 0), None), ((1.0, 2.0), (0, 0), None), ((0.0,), (0,), None)],
)
def test_quantizations_without_sense_are_refused(
    scale: tuple[float, ...], zero_point: tuple[int, ...], axis: int | None
) -> None:
    with pytest.raises(InvalidType):
        Quant(scale, zero_point, axis)


def test_a_scale_for_each_channel_fits_the_channels() -> None:
    with pytest.raises(InvalidType, match="2 scales for axis 1"):
        TensorType((4, 3), DType.I8, Quant((1.0, 2.0), (0, 0), 1))


def test_an_edit_without_changes_is_the_same_graph() -> None:
    graph = two_layers()
    assert Edit(graph).finish() is graph


def test_removing_a_node_and_redirecting_its_readers() -> None:
    graph = two_layers()
    dense, relu = graph.nodes
    edit = Edit(graph)
    edit.replace(relu)
    edit.redirect(relu.output, dense.output)
    after = edit.finish()
    verify(after)
    assert after.nodes == (dense,)
    assert after.outputs == (dense.output,)
    assert graph.nodes == (dense, relu)  # never changed


def test_unread_constants_go() -> None:
    graph = two_layers()
    dense, relu = graph.nodes
    edit = Edit(graph)
    edit.replace(dense)
    edit.redirect(dense.output, graph.inputs[0])
    after = edit.finish()
    verify(after)
    assert not after.constants
    assert [node.op for node in after.nodes] == [relu.op]


def test_a_circle_of_redirections_is_refused() -> None:
    graph = two_layers()
    dense, relu = graph.nodes
    edit = Edit(graph)
    edit.redirect(dense.output, relu.output)
    edit.redirect(relu.output, dense.output)
    with pytest.raises(InvalidGraph, match="circle"):
        edit.finish()
