"""ONNX files with their nodes in another order, all else byte for byte as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto

from irprune.backends.files import write_atomically
from irprune.backends.order import completed
from irprune.frontends.onnx import read_onnx_bytes
from irprune.frontends.onnx.weights import MODEL_GRAPH, cut_weights
from irprune.frontends.onnx.wire import LENGTH, Field, Malformed, fields
from irprune.ir.errors import InvalidModel, IrpruneError, UnsupportedOp, UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes, Shape
from irprune.passes.analysis.deployment import Precision
from irprune.passes.analysis.liveness import memory_model, timeline
from irprune.passes.pipeline import deployed

_GRAPH_NODE = 1


def write_reordered(
    source: Path,
    path: Path,
    graph: Graph,
    order: Sequence[int],
    precision: Precision,
    *,
    shapes: Mapping[str, Shape] | None = None,
    force: bool = False,
) -> None:
    """Write an ONNX file whose nodes run in the order of a schedule.

    A node of the deployed graph stands for those of the file that make its outputs; they run
    one after another where it does. The rest, such as what makes constants, runs where something
    needs it.

    Args:
        source: the file that the graph was read from.
        path: the file to write.
        graph: the graph in the form that would be deployed (``passes.pipeline.deployed``).
        order: positions of the graph's nodes, as they are to run.
        precision: how wide the numbers are whose peak is compared.
        shapes: the shapes by input name with which the source was read.
        force: whether the source may be overwritten.

    Raises:
        UsageError: the source would be overwritten, or has weights in other files and ``path`` is
            in another folder; or the file cannot be written.
        UnsupportedOp: the file cannot be ordered so that it needs as little memory as the graph.
        InvalidModel: the source cannot be read or is damaged.
    """
    data = _contents(source)
    _refuse_to_leave_weights(data, source, path)
    try:
        edited = reordered(data, node_order(data, graph, order))
        wanted = timeline(memory_model(graph, precision), order).peak
        found = _peak(read_onnx_bytes(edited, source, shapes), precision)
    except IrpruneError as error:
        raise error.at(str(source)) from None
    if found > wanted:
        raise UnsupportedOp(
            f"its nodes in that order need {found} bytes where the schedule needs {wanted}",
            where=str(source),
            hint="let an optimizer fold its constants and functions first",
        )
    write_atomically(path, edited, source=source, force=force)


def reordered(data: bytes, order: Sequence[int]) -> bytes:
    """A serialized model of the same length, in which the nodes alone have moved.

    Args:
        data: a serialized ``onnx.ModelProto``.
        order: positions of its nodes, in their new order.

    Raises:
        InvalidModel: the bytes are no model, or its graph is in pieces.
        UsageError: the order is none of these nodes.
    """
    nodes = _nodes(data)
    if sorted(order) != list(range(len(nodes))):
        raise UsageError(f"the order does not run each of {len(nodes)} nodes once")
    parts, end = [], 0
    for place, index in zip(nodes, order, strict=True):
        parts += [data[end : place.start], data[nodes[index].start : nodes[index].end]]
        end = place.end
    return b"".join([*parts, data[end:]])


def node_order(data: bytes, graph: Graph, order: Sequence[int]) -> tuple[int, ...]:
    """The order of a file's nodes for one of the deployed graph's.

    Args:
        data: a serialized ``onnx.ModelProto``.
        graph: the deployed form of its graph.
        order: positions of the graph's nodes, as they are to run.
    """
    nodes = _skeleton(data).graph.node
    maker = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    needs = [[maker[name] for name in node.input if name in maker] for node in nodes]
    made = (value.name for at in order for value in graph.nodes[at].outputs)
    return completed((maker[name] for name in made if name in maker), needs)


def _contents(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}", where=str(source)) from None


def _nodes(data: bytes) -> list[Field]:
    """The nodes of a model's graph, as they lie in the bytes."""
    view = memoryview(data)
    try:
        model = fields(view, 0, len(view))
        graphs = [f for f in model if (f.number, f.kind) == (MODEL_GRAPH, LENGTH)]
        if len(graphs) != 1:
            raise InvalidModel(f"has its graph in {len(graphs)} pieces")
        graph = fields(view, graphs[0].body, graphs[0].end)
        return [f for f in graph if (f.number, f.kind) == (_GRAPH_NODE, LENGTH)]
    except Malformed:
        raise InvalidModel("is not an ONNX model, or is damaged") from None


def _skeleton(data: bytes) -> ModelProto:
    """The model without its large weights."""
    try:
        model: ModelProto = ModelProto.FromString(cut_weights(data)[0])
    except DecodeError:
        raise InvalidModel("is not an ONNX model, or is damaged") from None
    return model


def _peak(graph: Graph, precision: Precision) -> Bytes:
    """The peak of the deployed form, in the order that it has."""
    return timeline(memory_model(deployed(graph), precision)).peak


def _refuse_to_leave_weights(data: bytes, source: Path, path: Path) -> None:
    """Weights in other files are found beside the model, so it has to stay beside them."""
    if path.resolve().parent == source.resolve().parent:
        return
    for tensor in _tensors(_skeleton(data)):
        if tensor.data_location == TensorProto.EXTERNAL:
            files = [entry.value for entry in tensor.external_data if entry.key == "location"]
            raise UsageError(
                f"its weights are in other files, such as '{''.join(files)}' beside the source",
                where=str(path),
                hint="write into the source's folder",
            )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model that has no graphs within its graph."""
    yield from model.graph.initializer
    nodes: list[NodeProto] = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
