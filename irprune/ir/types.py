"""Tensor types: shape, element type, quantization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NewType

import numpy as np
import numpy.typing as npt

from irprune.ir.errors import InvalidType

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Bytes = NewType("Bytes", int)
Macs = NewType("Macs", int)

MAX_ELEMENTS = 2**31 - 1
"""A 32-bit microcontroller indexes no larger tensor, and TFLite counts elements in an int32."""


class DType(Enum):
    """Element types, named as the text form prints them."""

    F16 = "f16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype of one element."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """Whether elements are floating-point numbers."""
        return self.numpy.kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether elements are signed or unsigned integers."""
        return self.numpy.kind in "iu"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value of an integer type."""
        info = np.iinfo(self.numpy)
        return int(info.min), int(info.max)

    @staticmethod
    def of(dtype: npt.DTypeLike) -> DType:
        """The DType of a numpy dtype; InvalidType where there is none."""
        found = _BY_NUMPY.get(np.dtype(dtype))
        if found is None:
            raise InvalidType(f"element type {np.dtype(dtype)} is not supported")
        return found


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F16: np.dtype(np.float16),
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.U8: np.dtype(np.uint8),
    DType.U16: np.dtype(np.uint16),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.BOOL: np.dtype(np.bool_),
}
_BY_NUMPY = {numpy: dtype for dtype, numpy in _NUMPY.items()}


@dataclass(frozen=True, slots=True)
class Quant:
    """Affine quantization: real = scale * (stored - zero_point).

    Attributes:
        scale: one scale for the tensor, or one per index of ``axis``.
        zero_point: as many zero points as scales.
        axis: the quantized axis; None for one scale a tensor.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise InvalidType(
                f"quantization has {len(self.scale)} scales and {len(self.zero_point)} zero points"
            )
        if self.axis is None and len(self.scale) != 1:
            raise InvalidType("several quantization scales need an axis")
        if not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise InvalidType("a quantization scale is not a positive number")

    def kept(self, axes: Sequence[Array]) -> Quant:
        """Of a tensor of which, along each axis, only the indices marked with True are left."""
        if self.axis is None or len(self.scale) == 1:
            return self
        stays = axes[self.axis].tolist()
        return Quant(
            tuple(s for s, stay in zip(self.scale, stays, strict=True) if stay),
            tuple(z for z, stay in zip(self.zero_point, stays, strict=True) if stay),
            self.axis,
        )

    def along(self, rank: int) -> tuple[Array, Array]:
        """Scale (float64) and zero point (int64), shaped to broadcast over a tensor of ``rank``."""
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = len(self.scale)
        scale = np.asarray(self.scale, np.float64).reshape(shape)
        return scale, np.asarray(self.zero_point, np.int64).reshape(shape)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Concrete shape, element type and, for integers that stand for reals, the quantization."""

    shape: Shape
    dtype: DType
    quant: Quant | None = None

    def __post_init__(self) -> None:
        if any(d < 0 for d in self.shape):
            raise InvalidType(f"shape {dims(self.shape)} has a negative dimension")
        if max(math.prod(self.shape), *self.shape, 0) > MAX_ELEMENTS:
            raise InvalidType(
                f"a tensor of shape {dims(self.shape)} has more than {MAX_ELEMENTS} elements"
            )
        axis = self.quant.axis if self.quant is not None else None
        if self.quant is not None and axis is not None:
            if not 0 <= axis < len(self.shape):
                raise InvalidType(f"quantized axis {axis} is not in shape {dims(self.shape)}")
            if len(self.quant.scale) not in (1, self.shape[axis]):
                raise InvalidType(
                    f"{len(self.quant.scale)} scales for axis {axis} of shape {dims(self.shape)}"
                )

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the tensor in its own element type."""
        return Bytes(self.elements * self.dtype.itemsize)

    def __str__(self) -> str:
        return f"{self.dtype.value}[{','.join(map(str, self.shape))}]"


def dims(shape: Sequence[int]) -> str:
    """A shape as people write it: ``1x3x224x224``; ``scalar`` for rank 0."""
    return "x".join(map(str, shape)) or "scalar"


def type_of(array: Array, quant: Quant | None = None) -> TensorType:
    """The type of a numpy array."""
    return TensorType(tuple(array.shape), DType.of(array.dtype), quant)
