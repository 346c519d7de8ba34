"""Each lowering, as a model of one operator in float32, against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite import BuiltinOperator

from irprune.backends.reference import run
from irprune.frontends.tflite import read_tflite
from irprune.frontends.tflite.table import LOWERINGS
from irprune.ir.ops import Add, Conv2d
from tests.int8 import ints
from tests.tflite_cases import CASES, ELSEWHERE, Case, build, real
from tests.tflite_files import TFLiteFile, litert


@pytest.mark.parametrize("each", CASES, ids=lambda c: c[0])
def test_a_lowering_computes_what_litert_does(each: Case) -> None:
    model, inputs = build(*each)
    found = run(read_tflite(model), inputs)
    for ours, theirs in zip(found, litert(model)(*inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_every_lowering_has_a_case() -> None:
    shown = {getattr(BuiltinOperator, c[0]) for c in CASES}
    shown |= {getattr(BuiltinOperator, kind) for kind in ELSEWHERE}
    assert set(LOWERINGS) == shown


def test_a_batch_left_open_flattens_by_shape_arithmetic() -> None:
    """What the converter writes for a flatten with an open batch: SHAPE, STRIDED_SLICE, PACK."""
    file = TFLiteFile()
    x = file.tensor((1, 2, 3), signature=(-1, 2, 3))
    shape, batch = file.tensor((3,), np.int32), file.tensor((), np.int32)
    file.operator("SHAPE", (x,), (shape,), "ShapeOptions", outType=schema.TensorType.INT32)
    bounds = [file.constant(ints(n)) for n in (0, 1, 1)]
    file.operator(
        "STRIDED_SLICE", (shape, *bounds), (batch,), "StridedSliceOptions", shrinkAxisMask=1
    )
    flat, target = file.tensor((1, 6), signature=(-1, 6)), file.tensor((2,), np.int32)
    six = file.constant(np.array(6, np.int32))
    file.operator("PACK", (batch, six), (target,), "PackOptions", axis=0, valuesCount=2)
    file.operator("RESHAPE", (x, target), (flat,))
    graph = read_tflite(file.finish((x,), (flat,)))
    assert [type(node.op).__name__ for node in graph.nodes] == ["Reshape"]
    assert graph.outputs[0].type.shape == (1, 6)


def test_weights_in_half_precision_become_single_at_once() -> None:
    file = TFLiteFile()
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    half = file.constant(real(1, 4).astype(np.float16))
    single = file.tensor((1, 4), name="weights")
    file.operator("DEQUANTIZE", (half,), (single,), "DequantizeOptions")
    file.operator("ADD", (x, single), (y,), "AddOptions")
    model = file.finish((x,), (y,))
    graph = read_tflite(model)
    assert [type(node.op) for node in graph.nodes] == [Add]
    array = real(1, 4)
    np.testing.assert_array_equal(run(graph, [array])[0], litert(model)(array)[0])


def test_depthwise_weights_are_a_view_with_their_axis_moved() -> None:
    file = TFLiteFile()
    x = file.tensor((1, 4, 4, 2), np.int8, scale=0.1, zero_point=3)
    w = file.constant(np.arange(18, dtype=np.int8).reshape(1, 3, 3, 2), scale=[0.5, 0.25], axis=3)
    y = file.tensor((1, 4, 4, 2), np.int8, scale=0.2)
    file.operator(
        "DEPTHWISE_CONV_2D",
        (x, w, -1),
        (y,),
        "DepthwiseConv2DOptions",
        strideH=1,
        strideW=1,
        depthMultiplier=1,
    )
    data = file.finish((x,), (y,))
    (node,) = (graph := read_tflite(data)).nodes
    weights = node.inputs[1]
    quant = weights.type.quant
    assert isinstance(node.op, Conv2d)
    assert node.op.groups == 2
    assert weights.type.shape == (2, 3, 3, 1)
    assert quant is not None
    assert (quant.axis, quant.scale) == (0, (0.5, 0.25))
    assert graph.constants[weights].base is not None
    assert not graph.constants[weights].flags.writeable
