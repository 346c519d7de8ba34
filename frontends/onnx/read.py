"""From an ONNX file or message to a graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from irprune.frontends.onnx.check import check_model
from irprune.frontends.onnx.functions import inlined
from irprune.frontends.onnx.lower import lower_model
from irprune.frontends.onnx.tensors import TensorReader
from irprune.frontends.onnx.weights import cut_weights
from irprune.ir.errors import InvalidModel, IrpruneError
from irprune.ir.graph import Graph
from irprune.ir.types import Shape


def read_onnx(source: Path | ModelProto, shapes: Mapping[str, Shape] | None = None) -> Graph:
    """Read an ONNX model into a graph: its layout NCHW, constants folded, weights not copied.

    Args:
        source: a file, or a model in memory whose weights are inside.
        shapes: shapes by input name, for inputs with symbolic dimensions.

    Returns:
        The graph, in which values bear the names of their tensors, and nodes those of theirs.

    Raises:
        InvalidModel: the file is damaged, contradicts itself or refers to files it may not.
        UnsupportedOp: operators that have no lowering, all of them.
        InvalidType: operands that do not fit their operator.
        UsageError: dimensions are symbolic and ``shapes`` does not settle them.
    """
    if isinstance(source, ModelProto):
        return _read(source.graph.name or "model", source, TensorReader(None), {}, shapes)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(source)) from None
    return read_onnx_bytes(data, source, shapes)


def read_onnx_bytes(data: bytes, source: Path, shapes: Mapping[str, Shape] | None = None) -> Graph:
    """As ``read_onnx``, for the bytes that a file has or will have."""
    skeleton, payloads = cut_weights(data)
    del data
    try:
        model = ModelProto.FromString(skeleton)
    except DecodeError:
        raise InvalidModel(
            "is not an ONNX model, or is damaged", where=source.name, hint="export it again"
        ) from None
    del skeleton
    return _read(source.name, model, TensorReader(source.parent), payloads, shapes)


def _read(
    name: str,
    model: ModelProto,
    reader: TensorReader,
    payloads: Mapping[int, memoryview],
    shapes: Mapping[str, Shape] | None,
) -> Graph:
    """The graph of a model; errors are placed there unless they know better."""
    try:
        model = inlined(model)
        check_model(model)
        return lower_model(name, model, reader, payloads, shapes or {})
    except IrpruneError as error:
        raise error.at(name) from None
