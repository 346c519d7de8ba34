"""From a graph to an ONNX model."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from irprune.backends.files import expect_writable, write_atomically
from irprune.backends.onnx.emit import Emitter
from irprune.backends.onnx.quantization import NUMBERS
from irprune.backends.onnx.table import versions
from irprune.frontends.lowering import Unsupported
from irprune.frontends.onnx.weights import cut_weights
from irprune.ir.errors import InvalidModel, UnsupportedOp, UsageError
from irprune.ir.graph import Graph, Source, Value
from irprune.ir.types import Bytes
from irprune.ir.verify import verify

MOST_BYTES = Bytes(2**31 - 1)
"""What a protocol buffer may be long."""

_ROOM = 2**20
"""Bytes left for all that is no weight."""


def to_onnx(graph: Graph, *, like: ModelProto | None = None) -> ModelProto:
    """An ONNX model of the graph, whose values, constants and nodes bear the graph's names.

    Integers that stand for reals are written as QuantizeLinear and DequantizeLinear around
    operators on reals. ONNX rounds halves to even there, so where a graph rounds them otherwise,
    or computes in integers alone, results may be one step apart.

    Args:
        graph: the graph.
        like: the model that the graph comes from: its metadata, version and documentation are
            taken over.

    Raises:
        UnsupportedOp: ONNX cannot say what the nodes do; all of them are named.
        UsageError: the weights are too many for one file.
        InvalidGraph: the graph breaks an invariant of the IR.
    """
    verify(graph)
    weights = sum(array.nbytes for array in graph.constants.values())
    if weights > MOST_BYTES - _ROOM:
        raise UsageError(
            f"has {weights} bytes of weights, and an ONNX file holds {MOST_BYTES} at most",
            where=graph.name,
        )
    opset, ir_version = versions(graph)
    model = ModelProto(
        ir_version=ir_version,
        opset_import=[helper.make_opsetid("", opset)],
        producer_name="irprune",
        producer_version=importlib.metadata.version("irprune"),
    )
    model.graph.name = graph.name
    model.graph.input.extend(map(_port, graph.inputs))
    model.graph.output.extend(map(_port, graph.outputs))
    _emit(graph, model.graph)
    if like is not None:
        _document(model, like)
    return model


def write_onnx(
    graph: Graph,
    path: Path,
    *,
    like: ModelProto | Path | None = None,
    force: bool = False,
    source: Path | None = None,
) -> None:
    """Write the graph as an ONNX file; the same graph gives the same bytes.

    Args:
        graph: the graph.
        path: the file to write.
        like: the model, or its file, that the graph comes from, as ``to_onnx`` takes it.
        force: whether the source may be overwritten.
        source: the file that the graph was read from; ``like`` where that is a file.

    Raises:
        UsageError: the source would be overwritten, the file cannot be written, or the model is
            too large for one file.
        UnsupportedOp: ONNX cannot say what the nodes do; all of them are named.
        InvalidModel: the file that ``like`` names cannot be read.
    """
    if isinstance(like, Path):
        source = source or like
    expect_writable(path, source=source, force=force)
    model = to_onnx(graph, like=_read_skeleton(like) if isinstance(like, Path) else like)
    data = model.SerializeToString(deterministic=True)
    write_atomically(path, data, source=source, force=force)


def _emit(graph: Graph, message: GraphProto) -> None:
    emitter, unsupported = Emitter(graph, message), Unsupported()
    for value in graph.outputs:
        if value in graph.constants:
            emitter.constant(value)
    for node in graph.nodes:
        try:
            emitter.write(node)
        except UnsupportedOp as error:
            unsupported.add(Source(name=node.name), f"{type(node.op).__name__}: {error.what}")
    unsupported.raise_if_any(graph.name)


def _port(value: Value) -> ValueInfoProto:
    return helper.make_tensor_value_info(value.name, NUMBERS[value.type.dtype], value.type.shape)


def _document(model: ModelProto, like: ModelProto) -> None:
    """Take over what a model says of itself, but not who wrote the file."""
    model.domain, model.model_version = like.domain, like.model_version
    model.doc_string = like.doc_string
    model.metadata_props.extend(like.metadata_props)
    model.graph.name = like.graph.name or model.graph.name
    model.graph.doc_string = like.graph.doc_string
    _document_ports(model.graph.input, like.graph.input)
    _document_ports(model.graph.output, like.graph.output)


def _document_ports(ports: Sequence[ValueInfoProto], like: Sequence[ValueInfoProto]) -> None:
    said = {port.name: port.doc_string for port in like}
    for port in ports:
        port.doc_string = said.get(port.name, "")


def _read_skeleton(path: Path) -> ModelProto | None:
    """An ONNX file without its weights; None for a file of another kind."""
    if path.suffix != ".onnx":
        return None
    try:
        model: ModelProto = ModelProto.FromString(cut_weights(path.read_bytes())[0])
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(path)) from None
    except DecodeError:
        raise InvalidModel("is not an ONNX model, or is damaged", where=str(path)) from None
    return model
