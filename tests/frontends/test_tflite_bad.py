"""What is no sound TFLite model is told in one line, and nothing else happens."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from irprune.frontends.tflite import read_tflite
from irprune.ir.errors import InvalidModel, IrpruneError, UnsupportedOp
from tests.int8 import ints
from tests.tflite_files import TFLiteFile, small_model


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.tflite", small_model())
    return buffer.getvalue()


NO_MODELS = {
    "empty": b"",
    "text": b"a text file that somebody called model.tflite\n" * 9,
    "zip": zipped(),
    "random": np.random.default_rng(3).bytes(4000),
    "identifier alone": b"\0\0\0\0TFL3",
    "random after the identifier": b"\x1c\0\0\0TFL3" + np.random.default_rng(4).bytes(4000),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(NO_MODELS[name])
    with pytest.raises(InvalidModel) as caught:
        read_tflite(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_every_truncation() -> None:
    whole = small_model()
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(InvalidModel):
            read_tflite(whole[:length])


def test_a_directory_and_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.tflite"):
        with pytest.raises(InvalidModel, match="cannot be read") as caught:
            read_tflite(path)
        assert caught.value.where == str(path)


def one_relu(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("RELU", (x,), (y,))
    return x, y


def cyclic(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    later = file.tensor((1, 4), name="later")
    file.operator("ADD", (x, later), (y,), "AddOptions")
    file.operator("RELU", (y,), (later,))
    return x, later


def made_twice(file: TFLiteFile) -> tuple[int, int]:
    x, y = one_relu(file)
    file.operator("RELU6", (x,), (y,))
    return x, y


def overwritten_input(file: TFLiteFile) -> tuple[int, int]:
    x, y = one_relu(file)
    file.operator("RELU6", (y,), (x,))
    return x, y


def output_of_nothing(file: TFLiteFile) -> tuple[int, int]:
    x, _ = one_relu(file)
    return x, file.tensor((1, 4))


def contradicting_shape(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 5))
    file.operator("RELU", (x,), (y,))
    return x, y


def contradicting_weights(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 6))
    w = file.constant(np.zeros((6, 4), np.float32))
    file.graph.tensors[w].shape = [6, 5]
    file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions")
    return x, y


def huge(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1000000, 1000000)), file.tensor((1, 4))
    file.operator("RELU", (x,), (y,))
    return x, y


def huge_intermediate(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1000000, 1000000))
    file.operator("BROADCAST_TO", (x, file.constant(ints(1000000, 1000000))), (y,))
    return x, y


def negative(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, -4)), file.tensor((1, 4))
    file.operator("RELU", (x,), (y,))
    return x, y


def open_size(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 1, 1, 3), signature=(-1, -1, -1, 3)), file.tensor((1, 1, 1, 3))
    file.operator("RELU", (x,), (y,))
    return x, y


def no_tensor(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("ADD", (x, 99), (y,), "AddOptions")
    return x, y


def no_buffer(file: TFLiteFile) -> tuple[int, int]:
    x, y = one_relu(file)
    file.graph.tensors[x].buffer = 77
    return x, y


def no_kind(file: TFLiteFile) -> tuple[int, int]:
    x, y = one_relu(file)
    file.graph.operators[0].opcodeIndex = 5
    return x, y


def no_options(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("SOFTMAX", (x,), (y,))
    return x, y


def other_options(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("SOFTMAX", (x,), (y,), "AddOptions")
    return x, y


def no_operand(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("FULLY_CONNECTED", (x,), (y,), "FullyConnectedOptions")
    return x, y


def constant_input(file: TFLiteFile) -> tuple[int, int]:
    y = file.tensor((1, 4))
    x = file.constant(np.zeros((1, 4), np.float32))
    file.operator("RELU", (x,), (y,))
    return x, y


def stride_zero(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4, 4, 1)), file.tensor((1, 4, 4, 1))
    file.operator("MAX_POOL_2D", (x,), (y,), "Pool2DOptions", filterHeight=1, filterWidth=1)
    return x, y


def too_many_scales(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4), np.int8, scale=[0.1] * 3, axis=1), file.tensor((1, 4), np.int8)
    file.operator("RELU", (x,), (y,))
    return x, y


def scales_along_no_axis(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4), np.int8, scale=[0.1] * 4, axis=-5), file.tensor((1, 4), np.int8)
    file.operator("RELU", (x,), (y,))
    return x, y


def scale_of_zero(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1, 4), np.int8, scale=0.0), file.tensor((1, 4), np.int8)
    file.operator("RELU", (x,), (y,))
    return x, y


def too_many_axes(file: TFLiteFile) -> tuple[int, int]:
    x, y = file.tensor((1,) * 9), file.tensor((1,) * 9)
    file.operator("RELU", (x,), (y,))
    return x, y


def other_version(file: TFLiteFile) -> tuple[int, int]:
    file.model.version = 2
    return one_relu(file)


def data_outside(file: TFLiteFile) -> tuple[int, int]:
    x, y = one_relu(file)
    file.graph.tensors[x].buffer = 1
    buffer = schema.BufferT()
    buffer.offset, buffer.size = 10**6, 16
    file.model.buffers.append(buffer)
    return x, y


INVALID: dict[Callable[[TFLiteFile], tuple[int, int]], str] = {
    cyclic: "node 'ADD#0': tensor 'later' is read before anything makes it",
    made_twice: "node 'RELU6#1': tensor 't1' is made twice",
    overwritten_input: "node 'RELU6#1': tensor 't0' is made twice",
    output_of_nothing: "tensor 't2' is read before anything makes it",
    contradicting_shape: "declares an output of 1x5, but its operands give 1x4",
    contradicting_weights: "tensor 't2' is f32[6,5] but has 96 bytes of data",
    huge: "1000000x1000000 has more than",
    huge_intermediate: "1000000x1000000 has more than",
    negative: "negative dimension",
    open_size: "input 't0' has dimensions without a size",
    no_tensor: "there is no tensor 99",
    no_buffer: "buffer 77, which is not there",
    no_kind: "number 5 of 1 kinds",
    no_options: "has no SoftmaxOptions",
    other_options: "has no SoftmaxOptions",
    no_operand: "has no operand 1",
    constant_input: "input 't1' is a constant",
    stride_zero: "stride and dilation must be positive",
    too_many_scales: "has 3 scales",
    scales_along_no_axis: "has 4 scales for axis -5",
    scale_of_zero: "scale is not a positive number",
    too_many_axes: "shape has 9 numbers, more than 8",
    other_version: "is of version 2, not 3",
    data_outside: "lie outside the file",
}


@pytest.mark.parametrize("build", INVALID, ids=lambda build: build.__name__)
def test_a_file_that_contradicts_itself(build: Callable[[TFLiteFile], tuple[int, int]]) -> None:
    file = TFLiteFile()
    x, y = build(file)
    with pytest.raises(IrpruneError) as caught:
        read_tflite(file.finish((x,), (y,)), "bad.tflite")
    assert not isinstance(caught.value, UnsupportedOp)
    assert str(caught.value).startswith("bad.tflite: ")
    assert INVALID[build] in str(caught.value)


def test_every_unsupported_operator_is_named_at_once() -> None:
    file = TFLiteFile()
    x, a, b, c = (file.tensor((1, 4)) for _ in range(4))
    file.operator("COS", (x,), (a,))
    file.operator("RELU", (a,), (b,))
    state = file.tensor((1, 4))
    file.graph.tensors[state].isVariable = True
    file.operator("ADD", (b, state), (c,), "AddOptions")
    text = file.tensor((1, 4))
    file.graph.tensors[text].type = schema.TensorType.STRING
    file.operator("CAST", (c,), (text,), "CastOptions")
    file.operator("RELU6", (text,), (y := file.tensor((1, 4)),))
    file.operator("CUSTOM", (y,), (z := file.tensor((1, 4)),))
    file.model.operatorCodes[-1].customCode = "Fancy"
    with pytest.raises(UnsupportedOp) as caught:
        read_tflite(file.finish((x,), (z,)), "model.tflite")
    assert str(caught.value) == (
        "model.tflite: node 'COS#0': no lowering for COS; "
        "node 'ADD#2': tensor 't4' keeps a state between runs; "
        "node 'CAST#3': element type STRING is not supported; "
        "node 'RELU6#4': element type STRING is not supported; "
        "node 'CUSTOM Fancy#5': no lowering for CUSTOM Fancy"
    )


def test_several_subgraphs_are_refused() -> None:
    file = TFLiteFile()
    x, y = one_relu(file)
    file.model.subgraphs = [file.graph, file.graph]
    with pytest.raises(UnsupportedOp, match="has 2 subgraphs"):
        read_tflite(file.finish((x,), (y,)))


def test_weights_alone_quantized_are_refused() -> None:
    file = TFLiteFile()
    x, y = file.tensor((1, 4)), file.tensor((1, 6))
    w = file.constant(np.zeros((6, 4), np.int8), scale=0.1)
    file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions")
    with pytest.raises(UnsupportedOp, match="dynamic range"):
        read_tflite(file.finish((x,), (y,)))
