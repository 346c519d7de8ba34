"""Tensors of an ONNX file as arrays, from the message or from files beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from onnx import TensorProto

from irprune.ir.errors import InvalidModel, UnsupportedOp, UsageError
from irprune.ir.types import Array, DType, dims

DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: DType.F32,
    TensorProto.UINT8: DType.U8,
    TensorProto.INT8: DType.I8,
    TensorProto.UINT16: DType.U16,
    TensorProto.INT16: DType.I16,
    TensorProto.INT32: DType.I32,
    TensorProto.INT64: DType.I64,
    TensorProto.BOOL: DType.BOOL,
    TensorProto.FLOAT16: DType.F16,
    TensorProto.DOUBLE: DType.F64,
    TensorProto.UINT32: DType.U32,
    TensorProto.UINT64: DType.U64,
}
"""ONNX's element types that the IR has."""


def dtype_of(data_type: int) -> DType:
    """The IR's name of an ONNX element type; UnsupportedOp where it has none."""
    found = DTYPES.get(data_type)
    if found is None:
        known = data_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(data_type) if known else str(data_type)
        raise UnsupportedOp(f"element type {name} is not supported")
    return found


class TensorReader:
    """Reads the tensors of one model.

    Args:
        folder: where the model's external data may lie; None for a model that is in no file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._read: dict[tuple[Path, int, int], bytes] = {}
        self._left: dict[Path, int] = {}

    def array(self, tensor: TensorProto, payload: memoryview | None = None) -> Array:
        """The elements of a tensor, read-only; a view of its bytes wherever it can be.

        Args:
            tensor: the message.
            payload: its elements, little-endian, where they were cut out of the message.

        Raises:
            InvalidModel: it has not as many elements as its shape says, or its external data may
                not be read.
            UnsupportedOp: its element type has no counterpart in the IR.
        """
        dtype = dtype_of(tensor.data_type).numpy
        shape = tuple(tensor.dims)
        if any(size < 0 for size in shape):
            raise InvalidModel(f"tensor '{tensor.name}' has the shape {dims(shape)}")
        wanted = math.prod(shape) * dtype.itemsize
        if tensor.data_location == TensorProto.EXTERNAL:
            payload = memoryview(self._external(tensor, wanted))
        elif payload is None and tensor.HasField("raw_data"):
            payload = memoryview(tensor.raw_data)
        if payload is None:
            return _from_fields(tensor, dtype, shape)
        if len(payload) != wanted:
            raise _wrong_size(tensor, len(payload), wanted)
        if dtype == np.bool_:
            return np.not_equal(np.frombuffer(payload, np.uint8), 0).reshape(shape)
        return np.frombuffer(payload, dtype.newbyteorder("<")).reshape(shape)

    def _external(self, tensor: TensorProto, wanted: int) -> bytes:
        """The bytes of a tensor that lies in another file, each stretch of it read once."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = self._beside(entries.get("location", ""))
        offset = _count(tensor, entries, "offset", 0)
        length = _count(tensor, entries, "length", wanted)
        if length != wanted:
            raise _wrong_size(tensor, length, wanted)
        key = (path, offset, length)
        if key not in self._read:
            self._read[key] = self._stretch(tensor, *key)
        return self._read[key]

    def _stretch(self, tensor: TensorProto, path: Path, offset: int, length: int) -> bytes:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if offset + length > size:
                    raise InvalidModel(
                        f"tensor '{tensor.name}' ends at byte {offset + length} of "
                        f"'{path.name}', which has {size}"
                    )
                # Stretches may be shared but hardly overlap; a few bytes must not become many.
                self._left[path] = self._left.get(path, size) - length
                if self._left[path] < 0:
                    raise InvalidModel(f"tensors overlap in '{path.name}'")
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise InvalidModel(
                f"its external data '{path.name}' cannot be read: {error.strerror}"
            ) from None

    def _beside(self, location: str) -> Path:
        """A file in the model's own folder."""
        if self._folder is None:
            raise UsageError(
                f"its weights are in another file, '{location}'",
                hint="give the path of the model instead of the object",
            )
        windows = PureWindowsPath(location)
        absolute = PurePosixPath(location).is_absolute() or windows.anchor
        if not location.isprintable() or absolute or ".." in windows.parts:
            raise _leaves(location)
        try:
            folder = self._folder.resolve()
            path = (folder / location).resolve()
            if not path.is_relative_to(folder):
                raise _leaves(location)
            if not path.is_file():
                raise InvalidModel(
                    f"its external data '{location}' is missing",
                    hint="put the file beside the model",
                )
        except (OSError, RuntimeError) as error:  # a name too long, or links in a circle
            raise InvalidModel(f"its external data '{location}' cannot be found: {error}") from None
        return path


def _from_fields(tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Elements that are stored as a list of numbers."""
    numbers, wide = _numbers(tensor)
    count = math.prod(shape)
    if len(numbers) != count:
        raise _wrong_size(tensor, len(numbers) * dtype.itemsize, count * dtype.itemsize)
    listed: Array = np.fromiter(numbers, wide, count=count)
    if dtype == np.float16:  # stored as the integers that have the same bits
        return listed.astype(np.uint16).view(np.float16).reshape(shape)
    array = listed.astype(dtype, copy=False).reshape(shape)
    if dtype.kind in "iub" and not np.array_equal(listed, array.ravel()):
        raise InvalidModel(f"tensor '{tensor.name}' has elements outside of its type {dtype}")
    return array


def _numbers(tensor: TensorProto) -> tuple[Sequence[float], type[np.generic]]:
    """The list that holds a tensor's elements, and the type of its items."""
    match tensor.data_type:
        case TensorProto.FLOAT:
            return tensor.float_data, np.float32
        case TensorProto.DOUBLE:
            return tensor.double_data, np.float64
        case TensorProto.INT64:
            return tensor.int64_data, np.int64
        case TensorProto.UINT32 | TensorProto.UINT64:
            return tensor.uint64_data, np.uint64
        case _:
            return tensor.int32_data, np.int32


def _count(tensor: TensorProto, entries: Mapping[str, str], key: str, default: int) -> int:
    """A number of bytes from the description of external data."""
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidModel(f"tensor '{tensor.name}' has the {key} '{text}' in its external data")
    return int(text)


def _wrong_size(tensor: TensorProto, found: int, wanted: int) -> InvalidModel:
    shape = dims(tuple(tensor.dims))
    return InvalidModel(f"tensor '{tensor.name}' of {shape} has {found} bytes, not {wanted}")


def _leaves(location: str) -> InvalidModel:
    return InvalidModel(
        f"its external data {location!r} is outside of the model's folder",
        hint="keep the file beside the model",
    )
