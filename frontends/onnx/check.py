"""What must hold of an ONNX model before it is taken apart: names, order, types, attributes."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from irprune.frontends.onnx.tensors import dtype_of
from irprune.ir.errors import InvalidModel, UnsupportedOp

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""Versions of the standard operators whose meaning the lowerings know."""

_STANDARD = ("", "ai.onnx")
_ATTRIBUTES = {
    AttributeProto.FLOAT,
    AttributeProto.INT,
    AttributeProto.STRING,
    AttributeProto.TENSOR,
    AttributeProto.GRAPH,
    AttributeProto.FLOATS,
    AttributeProto.INTS,
    AttributeProto.STRINGS,
}


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators that the model uses.

    Raises:
        InvalidModel: the model does not say.
        UnsupportedOp: it is older or newer than those that are known.
    """
    versions = {int(entry.version) for entry in model.opset_import if entry.domain in _STANDARD}
    if len(versions) != 1:
        raise InvalidModel("does not say which opset it uses" if not versions else "has two opsets")
    (opset,) = versions
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnsupportedOp(
            f"opset {opset} is not one of {OLDEST_OPSET} to {NEWEST_OPSET}",
            hint="convert the model with onnx.version_converter",
        )
    return opset


def check_model(model: ModelProto) -> None:
    """Raise unless the model is a graph whose every tensor has one name and one origin.

    Raises:
        InvalidModel: there is no graph, names are missing, ambiguous or circular, or attributes
            are damaged.
        UnsupportedOp: tensors are sparse or of element types without a counterpart in the IR.
    """
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise InvalidModel("is not an ONNX model", hint="check that it was exported to the end")
    graph = model.graph
    if not graph.output:
        raise InvalidModel("its graph has no outputs")
    _check_names(graph)
    _check_content(graph)


def in_order(graph: GraphProto) -> list[int]:
    """Positions of the nodes in an order in which they can run: their own wherever it can be.

    Raises:
        InvalidModel: there is none, for some of them form a cycle.
    """
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{producer[n] for n in node.input if n in producer} for node in graph.node]
    if all(earlier < i for i, wanted in enumerate(needs) for earlier in wanted):
        return list(range(len(needs)))
    try:
        return list(TopologicalSorter(dict(enumerate(needs))).static_order())
    except CycleError as error:
        names = [f"'{label(graph.node[i])}'" for i in error.args[1][:4]]
        more = ", ..." if len(error.args[1]) > 4 else ""
        raise InvalidModel(f"nodes {', '.join(names)}{more} form a cycle") from None


def label(node: NodeProto) -> str:
    """A node's name; where it has none, that of its first output."""
    return node.name or next(iter(node.output), "") or node.op_type


def _check_names(graph: GraphProto) -> None:
    """Every tensor is made once, and every tensor that is read is made."""
    constants = [tensor.name for tensor in graph.initializer]
    inputs = [value.name for value in graph.input]
    made = [name for node in graph.node for name in node.output if name]
    _expect_distinct(constants, "initializers")
    _expect_distinct(inputs, "inputs")
    # Until IR version 4 every initializer had to be an input as well.
    _expect_distinct([*made, *{*constants, *inputs}], "tensors")
    known = {*constants, *inputs, *made}
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise InvalidModel(f"node '{label(node)}' reads '{name}', which nothing makes")
    for value in graph.output:
        if value.name not in known:
            raise InvalidModel(f"output '{value.name}' is made by nothing")
    if "" in (*constants, *inputs):
        raise InvalidModel("an input or initializer has no name")


def _expect_distinct(names: Iterable[str], kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidModel(f"two {kind} are named '{name}'")
        seen.add(name)


def _check_content(graph: GraphProto) -> None:
    """Element types and attributes of a graph and of those within it."""
    if graph.sparse_initializer:
        raise UnsupportedOp("sparse initializers are not supported")
    for tensor in graph.initializer:
        _check_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_value(value)
    for node in graph.node:
        for attribute in node.attribute:
            _check_attribute(attribute, label(node))
        _expect_distinct((a.name for a in node.attribute), f"attributes of node '{label(node)}'")


def _check_tensor(tensor: TensorProto) -> None:
    try:
        dtype_of(tensor.data_type)
    except UnsupportedOp as error:
        raise UnsupportedOp(f"tensor '{tensor.name}': {error.what}") from None


def _check_value(value: ValueInfoProto) -> None:
    kind = value.type.WhichOneof("value")
    if kind is None:  # its type is left to inference
        return
    if kind != "tensor_type":
        raise UnsupportedOp(f"'{value.name}' is no tensor but a {kind.removesuffix('_type')}")
    if value.type.tensor_type.elem_type:
        try:
            dtype_of(value.type.tensor_type.elem_type)
        except UnsupportedOp as error:
            raise UnsupportedOp(f"tensor '{value.name}': {error.what}") from None


def _check_attribute(attribute: AttributeProto, node: str) -> None:
    place = f"attribute '{attribute.name}' of node '{node}'"
    if attribute.ref_attr_name:
        raise InvalidModel(f"{place} refers to a function's, outside of one")
    if attribute.type not in _ATTRIBUTES:
        raise UnsupportedOp(f"{place} is of a kind that is not supported")
    for text in (attribute.s, *attribute.strings):
        try:
            text.decode()
        except UnicodeDecodeError:
            raise InvalidModel(f"{place} is no text") from None
    if attribute.type == AttributeProto.TENSOR:
        _check_tensor(attribute.t)
    if attribute.type == AttributeProto.GRAPH:
        _check_content(attribute.g)
