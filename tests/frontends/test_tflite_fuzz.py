"""Damaged TFLite files: only irprune's own errors come out, in bounded time and memory."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from hypothesis import given, settings
from hypothesis import strategies as st

from irprune.frontends.tflite import read_tflite
from irprune.ir.errors import InvalidModel, IrpruneError
from irprune.ir.verify import verify
from tests.tflite_cases import CASES, build
from tests.tflite_files import small_model

MODELS = [
    "ad01_int8",
    "kws_ref_model",
    "pretrainedResnet",
    "pretrainedResnet_quant",
    "vww_96_float",
    "vww_96_int8",
]
LONGEST = 5.0
"""Seconds; a sound file takes a few hundredths."""


def structure(data: bytes) -> list[int]:
    """The positions of words outside the weights: what they change, the reader sees."""
    free = np.ones(len(data), bool)
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    for array in read_tflite(data).constants.values():
        at = array.__array_interface__["data"][0] - start
        if array.nbytes > 64:
            free[at : at + array.nbytes] = False
    return [int(i) for i in np.flatnonzero(free) if i % 4 == 0 and i < len(data) - 4]


words = st.one_of(
    st.sampled_from([0, 1, 2, 4, 127, 255, 2**16, 2**30, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
)


@st.composite
def mutations(draw: st.DrawFn, data: bytes, places: list[int]) -> bytes:
    """The file with some words of its structure overwritten."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.sampled_from(places))
        if draw(st.booleans()):
            struct.pack_into("<I", changed, at, draw(words))
        else:
            changed[at + draw(st.integers(0, 3))] = draw(st.integers(0, 255))
    return bytes(changed)


def survives(data: bytes) -> None:
    """Read the file: a sound graph or an error of irprune's own, and soon."""
    start = time.process_time()
    with contextlib.suppress(IrpruneError):
        verify(read_tflite(data))
    assert time.process_time() - start < LONGEST


SMALL = small_model()
PLACES = structure(SMALL)


@settings(max_examples=400)
@given(mutations(SMALL, PLACES))
def test_mutations_of_a_small_model(data: bytes) -> None:
    survives(data)


OPERATORS = [build(*case)[0] for case in CASES]


@settings(max_examples=600)
@given(st.sampled_from(OPERATORS).flatmap(lambda file: mutations(file, structure(file))))
def test_mutations_of_every_operator(data: bytes) -> None:
    survives(data)


@pytest.mark.parametrize("name", MODELS)
def test_mutations_of_real_models(shared: Path, name: str) -> None:
    data = (shared / "models" / f"{name}.tflite").read_bytes()

    @given(mutations(data, structure(data)))
    def check(mutated: bytes) -> None:
        survives(mutated)

    check()


@settings(max_examples=50)
@given(mutations(SMALL, PLACES))
def test_memory_stays_within_the_size_of_the_file(data: bytes) -> None:
    tracemalloc.start()
    survives(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 + 100 * len(data)


@settings(max_examples=50)
@given(st.binary(max_size=2000))
def test_random_bytes_after_the_identifier(tail: bytes) -> None:
    survives(b"\x1c\0\0\0TFL3" + tail)


def overlapping(count: int) -> bytes:
    """A file whose inputs, ``count`` of them, share one quantization of ``count`` scales."""
    builder = flatbuffers.Builder(0)

    def vector(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    scales = builder.CreateNumpyVector(np.ones(count, np.float32))
    tflite.QuantizationParametersStart(builder)
    tflite.QuantizationParametersAddScale(builder, scales)
    quantization = tflite.QuantizationParametersEnd(builder)
    shape = builder.CreateNumpyVector(np.array([count], np.int32))
    offsets = []
    for _ in range(count):
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, tflite.TensorType.INT8)
        tflite.TensorAddQuantization(builder, quantization)
        offsets.append(tflite.TensorEnd(builder))
    tensors = vector(offsets)
    inputs = builder.CreateNumpyVector(np.arange(count, dtype=np.int32))
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    graphs = vector([tflite.SubGraphEnd(builder)])
    tflite.BufferStart(builder)
    buffers = vector([tflite.BufferEnd(builder)])
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_vectors_that_overlap_cannot_blow_a_file_up() -> None:
    """Three thousand tensors that share three thousand scales are nine million numbers."""
    assert len(read_tflite(overlapping(4)).inputs) == 4
    start = time.process_time()
    with pytest.raises(InvalidModel, match="longer than the file"):
        read_tflite(overlapping(3000))
    assert time.process_time() - start < LONGEST
