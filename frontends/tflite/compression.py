"""Weights that TFLite-Micro's DECODE operator unpacks when they are needed.

The custom operator ``TFLM_DECODE`` takes pairs of constants, an encoded tensor and its ancillary
data, and makes one tensor of each pair. Ancillary data start with 16 bytes of which the first is
the kind of encoding and the second the version. Of pruned tensors the encoded tensor has a bit for
each element, the first in the highest bit of a byte, which is set where the element is not zero;
and the elements that are not zero follow those 16 bytes
(tensorflow/lite/micro/kernels/decode_state.h and decode_state_prune.cc of tflite-micro).
"""

from __future__ import annotations

import math

import numpy as np

from irprune.ir.errors import InvalidModel, UnsupportedOp
from irprune.ir.types import Array, DType, TensorType

DECODE = "TFLM_DECODE"
"""The operator's custom code."""

HEADER = 16
"""Bytes of ancillary data before the elements."""

KINDS = {0: "a look-up table", 1: "a Huffman code", 2: "the places of zeros"}
PRUNED = 2
"""The kind of encoding that is read and written here."""

_VERSION = 1
_VERSION_AT = (1, 4)
"""Where versions stand: that of the operator, and that which the decoder of zeros looks at."""

DTYPES = frozenset({DType.F32, DType.I8, DType.I16, DType.I32, DType.I64, DType.BOOL})
"""What is unpacked."""


def packed(array: Array, zero_point: int = 0) -> tuple[Array, Array]:
    """An array as the bits that tell where it is not zero, and ancillary data with the rest.

    Args:
        array: the elements, in the order in which the file has them.
        zero_point: the integer that stands for zero.

    Returns:
        Two arrays of bytes. Reals that are -0.0, as products with masks are, come back as 0.0:
        sums of products, which begin at 0.0, are the same with either.
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    present = flat != zero_point
    header = np.zeros(HEADER, np.uint8)
    header[0] = PRUNED
    header[list(_VERSION_AT)] = _VERSION
    values = np.ascontiguousarray(flat[present]).view(np.uint8)
    return np.packbits(present), np.concatenate([header, values])


def unpacked(encoded: Array, ancillary: Array, declared: TensorType) -> Array:
    """The array that a pair of an encoded tensor and ancillary data stands for.

    Args:
        encoded: any array; its bytes count.
        ancillary: the same.
        declared: the type of what the operator makes.

    Raises:
        UnsupportedOp: it is another encoding, or another version of it.
        InvalidModel: the data do not fit the type.
    """
    bits, rest = (
        np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in (encoded, ancillary)
    )
    _check_header(rest)
    if declared.dtype not in DTYPES:
        raise UnsupportedOp(f"cannot unpack {declared.dtype.value}")
    if bits.size < math.ceil(declared.elements / 8):
        raise InvalidModel(f"has {8 * bits.size} bits for {declared.elements} elements")
    present = np.unpackbits(bits, count=declared.elements).astype(bool)
    values = rest[HEADER:]
    needed = int(present.sum()) * declared.dtype.itemsize
    if values.size < needed:
        raise InvalidModel(f"has {values.size} bytes of elements, its bits tell of {needed}")
    found = np.zeros(declared.shape, declared.dtype.numpy)
    if declared.quant is not None:
        found += declared.quant.along(declared.rank)[1].astype(found.dtype)
    found.reshape(-1)[present] = values[:needed].view(found.dtype)
    return found


def _check_header(ancillary: Array) -> None:
    if ancillary.size < HEADER:
        raise InvalidModel(f"has {ancillary.size} bytes of ancillary data, not even {HEADER}")
    kind = int(ancillary[0])
    if kind != PRUNED:
        what = KINDS.get(kind, f"encoding {kind}")
        raise UnsupportedOp(
            f"no lowering for weights compressed by {what}", hint="read the model as it was before"
        )
    versions = {int(ancillary[at]) for at in _VERSION_AT}
    if versions != {_VERSION}:
        raise UnsupportedOp(f"no lowering for version {max(versions)} of compressed weights")
