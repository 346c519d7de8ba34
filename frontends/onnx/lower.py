"""Lowering a model node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import onnx_graphsurgeon as gs
from onnx import AttributeProto, ModelProto, NodeProto
from onnx_graphsurgeon.logger import G_LOGGER

from irprune.frontends.lowering import Unsupported
from irprune.frontends.onnx.call import Call
from irprune.frontends.onnx.check import in_order, label, opset_of
from irprune.frontends.onnx.claims import Claims
from irprune.frontends.onnx.inputs import settled_inputs
from irprune.frontends.onnx.quantization import with_stored_inputs
from irprune.frontends.onnx.schema import check_operands
from irprune.frontends.onnx.scope import Operand, Scope, Stored
from irprune.frontends.onnx.table import OF_CONSTANTS, SHAPES, lowering_of
from irprune.frontends.onnx.tensors import TensorReader, dtype_of
from irprune.ir.build import Builder
from irprune.ir.errors import IrpruneError, UnsupportedOp
from irprune.ir.graph import Graph, Source, Value
from irprune.ir.types import Array, Shape


def lower_model(
    name: str,
    model: ModelProto,
    reader: TensorReader,
    payloads: Mapping[int, memoryview],
    shapes: Mapping[str, Shape],
) -> Graph:
    """The graph of a model that has been checked.

    Args:
        name: what the graph, and the model in errors, is called.
        model: the model; its own functions are expanded.
        reader: reads its tensors.
        payloads: contents of initializers, by position, that were cut out of the message.
        shapes: shapes by input name, for symbolic dimensions.

    Raises:
        UnsupportedOp: operators without a lowering, all of them.
        IrpruneError: something does not fit; the error says at which node.
    """
    builder = Builder(name)
    scope = Scope(
        builder,
        {
            tensor.name: partial(reader.array, tensor, payloads.get(i))
            for i, tensor in enumerate(model.graph.initializer)
        },
    )
    claims = Claims(model.graph)
    for tensor in model.graph.initializer:
        claims.check(tensor.name, tuple(tensor.dims), dtype_of(tensor.data_type))
    for given in settled_inputs(model.graph, shapes):
        scope.define(given.name, builder.input(given.name, given.shape, given.dtype))
    lowering = _Lowering(name, model, reader, scope, claims)
    with G_LOGGER.suppress():  # it warns of tensors that nothing reads, too
        nodes = gs.import_onnx(model).nodes
    for i in in_order(model.graph):
        lowering.lower(nodes[i], model.graph.node[i])
    lowering.finish()
    outputs = [scope.placed(scope.operand(value.name)) for value in model.graph.output]
    return with_stored_inputs(builder.finish(outputs))


class _Lowering:
    """Lowers the nodes of one model into a scope, and collects what it cannot.

    Args:
        name: what the model is called in errors.
        model: the model.
        reader: reads its tensors.
        scope: where tensors become operands.
        claims: what the model says of its tensors.
    """

    def __init__(
        self, name: str, model: ModelProto, reader: TensorReader, scope: Scope, claims: Claims
    ) -> None:
        self._name = name
        self._opset = opset_of(model)
        self._reader = reader
        self._scope = scope
        self._claims = claims
        self._unsupported = Unsupported()
        # Tensors that could not be made, for want of a lowering somewhere before.
        self._lost: set[str] = set()
        # Those of them that are made of shapes alone.
        self._lost_shapes: set[str] = set()
        self._read = {name for node in model.graph.node for name in node.input}
        self._read |= {value.name for value in model.graph.output}

    def lower(self, node: Any, message: NodeProto) -> None:
        """Lower a node, given as graphsurgeon's object and as its message.

        Raises:
            IrpruneError: its operands do not fit.
        """
        source = Source(self._name, label(message))
        lowering = lowering_of(message.op_type, message.domain)
        if lowering is None:
            domain = f"{message.domain}." if message.domain else ""
            self._give_up(message, source, f"no lowering for {domain}{message.op_type}")
            return
        if not self._lost.isdisjoint(message.input):
            self._lose(message, source)
            return
        try:
            self._check_operands(message)
            call = Call(node, self._tensors(message), self._opset, self._scope, source)
            result = lowering(call)
            call.expect_all_read()
            self._define(message, [result] if isinstance(result, Value | Stored) else result)
        except UnsupportedOp as error:
            self._give_up(message, source, f"{message.op_type}: {error.what}")
        except IrpruneError as error:
            raise error.at(str(source)) from None

    def finish(self) -> None:
        """Raise UnsupportedOp with all that could not be lowered; nothing where all was."""
        self._unsupported.raise_if_any(self._name)

    def _lose(self, message: NodeProto, source: Source) -> None:
        """Pass over a node that reads lost tensors; it is to blame where it wants constants.

        What comes from nothing lost but shapes would be constant, so it is not.
        """
        lost = self._lost.intersection(message.input)
        if message.op_type in SHAPES or lost <= self._lost_shapes:
            self._lost_shapes |= set(message.output)
        elif message.op_type in OF_CONSTANTS:
            self._unsupported.add(source, f"{message.op_type}: its operands are not constant")
        self._lost |= set(message.output)

    def _give_up(self, message: NodeProto, source: Source, why: str) -> None:
        self._unsupported.add(source, why)
        self._lost |= set(message.output)

    def _check_operands(self, message: NodeProto) -> None:
        operands = [self._scope.operand(name) if name else None for name in message.input]
        domain = "" if message.domain == "ai.onnx" else message.domain
        check_operands(message.op_type, domain, self._opset, operands)

    def _tensors(self, message: NodeProto) -> dict[str, Array]:
        """The attributes that are tensors."""
        return {
            attribute.name: self._reader.array(attribute.t)
            for attribute in message.attribute
            if attribute.type == AttributeProto.TENSOR
        }

    def _define(self, message: NodeProto, made: Sequence[Operand]) -> None:
        """Let the node's outputs stand for what it has become."""
        for name in message.output[len(made) :]:
            if name in self._read:
                raise UnsupportedOp(f"output '{name}' is not supported")
        for name, operand in zip(message.output, made, strict=False):
            self._claims.check(name, operand.type.shape, operand.type.dtype)
            self._scope.define(name, operand)
