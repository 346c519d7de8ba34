"""Weights without their zeros: packing beside a bitwise twin, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from irprune.frontends.tflite import read_tflite
from irprune.frontends.tflite.compression import packed, unpacked
from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.types import Array, DType, Quant, TensorType, type_of
from tests.tflite_files import Micro, TFLiteFile

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, max_side=5)
FORMATS = {np.dtype(np.int8): "<b", np.dtype(np.float32): "<f"}


def packed_bit_by_bit(array: Array, zero_point: int) -> tuple[bytes, bytes]:
    """As the kernel reads it: element i is bit 7 - i % 8 of byte i // 8."""
    elements = array.ravel().tolist()
    bits, values = bytearray(-(-len(elements) // 8)), b""
    for i, element in enumerate(elements):
        if element != zero_point:
            bits[i // 8] |= 1 << (7 - i % 8)
            values += struct.pack(FORMATS[array.dtype], element)
    return bytes(bits), bytes([2, 1, 0, 0, 1]) + bytes(11) + values


integers = arrays.arrays(np.int8, SHAPES, elements=st.sampled_from([-128, -3, 0, 0, 5, 127]))
reals = arrays.arrays(np.float32, SHAPES, elements=st.sampled_from([-0.0, 0.0, 0.0, 1.5, -3.0]))


@given(integers, st.sampled_from([0, 5, -128]))
def test_integers(array: Array, zero_point: int) -> None:
    bits, rest = packed(array, zero_point)
    assert (bits.tobytes(), rest.tobytes()) == packed_bit_by_bit(array, zero_point)
    declared = type_of(array, Quant((0.5,), (zero_point,)))
    np.testing.assert_array_equal(unpacked(bits, rest, declared), array, strict=True)


@given(reals)
def test_reals(array: Array) -> None:
    bits, rest = packed(array)
    assert (bits.tobytes(), rest.tobytes()) == packed_bit_by_bit(array, 0)
    found = unpacked(bits, rest, type_of(array))
    np.testing.assert_array_equal(found, array, strict=True)
    assert not np.signbit(found[found == 0]).any()


def pair() -> tuple[Array, Array]:
    return packed(np.array([[0, 1, 0, 2], [3, 0, 0, 4], [0, 0, 5, 6]], np.int8))


def set_byte(at: int, value: int) -> Callable[[Array, Array], tuple[Array, Array]]:
    def change(bits: Array, rest: Array) -> tuple[Array, Array]:
        rest[at] = value
        return bits, rest

    return change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (set_byte(0, 0), UnsupportedOp, "a look-up table"),
        (set_byte(0, 1), UnsupportedOp, "a Huffman code"),
        (set_byte(0, 200), UnsupportedOp, "encoding 200"),
        (set_byte(1, 2), UnsupportedOp, "version 2"),
        (set_byte(4, 3), UnsupportedOp, "version 3"),
        (lambda bits, rest: (bits[:1], rest), InvalidModel, "8 bits for 12 elements"),
        (lambda bits, rest: (bits, rest[:-1]), InvalidModel, "5 bytes of elements"),
        (lambda bits, rest: (bits, rest[:15]), InvalidModel, "15 bytes of ancillary data"),
    ],
)
def test_what_is_damaged_or_unknown(
    change: Callable[[Array, Array], tuple[Array, Array]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        unpacked(*change(*pair()), TensorType((3, 4), DType.I8))


def test_halves_are_not_unpacked() -> None:
    with pytest.raises(UnsupportedOp, match="cannot unpack f16"):
        unpacked(*pair(), TensorType((3, 4), DType.F16))


def dense(pairs: int, zero_points: list[int], *, more: bool = False) -> bytes:
    """Dense layers whose weights one operator unpacks, channels with zero points of their own."""
    file = TFLiteFile()
    x = file.tensor((1, 4), np.int8, scale=0.5)
    bits, rest = (file.constant(part) for part in pair())
    scale = [0.25] * len(zero_points)
    made = [file.tensor((3, 4), np.int8, scale=scale, zero_point=zero_points) for _ in range(pairs)]
    operands = (bits, rest) * pairs + ((bits,) if more else ())
    file.operator("CUSTOM", operands, made)
    file.model.operatorCodes[-1].customCode = "TFLM_DECODE"
    outputs = []
    for weights in made:
        outputs.append(file.tensor((1, 3), np.int8, scale=1.0))
        file.operator(
            "FULLY_CONNECTED", (x, weights, -1), (outputs[-1],), "FullyConnectedOptions", version=4
        )
    return file.finish([x], outputs)


@pytest.mark.parametrize("zero_points", [[0], [7], [0, 0, 0], [1, 2, 3]])
def test_as_the_runtime_unpacks(zero_points: list[int]) -> None:
    """Zeros become zero points, of channels where they have their own: read from its memory."""
    data = dense(1, zero_points)
    micro = Micro(data)
    micro(np.ones((1, 4), np.int8))
    unpacked_at = 3
    graph = read_tflite(data)
    (weights,) = graph.constants.values()
    np.testing.assert_array_equal(weights, micro.tensor(unpacked_at), strict=True)
    assert sorted(set(weights.ravel().tolist()) & set(zero_points)) == sorted(set(zero_points))


def test_several_by_one_operator() -> None:
    graph = read_tflite(dense(2, [0]))
    one, other = graph.constants.values()
    np.testing.assert_array_equal(one, other)
    assert [value.name for value in graph.constants] == ["t3", "t4"]


def test_operands_without_a_partner() -> None:
    with pytest.raises(InvalidModel, match="makes 1 tensors of 3 operands"):
        read_tflite(dense(1, [0], more=True))


def test_other_custom_operators_are_still_named() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(dense(1, [0])))
    assert model.operatorCodes is not None
    model.operatorCodes[0].customCode = "SOMEBODY_ELSES"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(UnsupportedOp, match="no lowering for CUSTOM SOMEBODY_ELSES"):
        read_tflite(bytes(builder.Output()))
