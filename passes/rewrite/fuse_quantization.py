from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from irprune.ir import ops
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import Op
from irprune.ir.ops.shape import View
from irprune.ir.types import Array, DType, Quant, TensorType
from irprune.passes.rewrite.affine import axis_after
from irprune.passes.rewrite.integer_forms import integer_bias, integer_output
from irprune.passes.rewrite.patterns import activation_of

Stored = tuple[DType, Quant]
"""How integers stand for reals."""


def fuse_quantization(graph: Graph) -> Graph:
    """The graph with operators between Dequantize and Quantize running on the integers themselves.

    What only moves or compares elements runs on whatever integers there are, before a Quantize or
    after a Dequantize; that is exact. Other operators need all operands dequantized (a float bias
    is quantized) and the output quantized, and are exact but for rounding: one step of the output.
    What has no integer arithmetic stays as it was. Dequantize nodes that nobody reads any more
    are left for ``drop_dead``.
    """
    sweep = _Sweep(graph)
    for node in graph.nodes:
        sweep.visit(node)
    return sweep.edit.finish()


class _Sweep:
    """One pass over the nodes, in order.

    Attributes:
        edit: the changes.
        stored: the integers that a float value was dequantized from, or would be.
        wanted: how the readers of a float value quantize it, where all do it alike.
    """

    def __init__(self, graph: Graph) -> None:
        self.edit = Edit(graph)
        self.stored: dict[Value, Value] = {}
        self.wanted = _wanted(graph)
        self._graph = graph
        self._fixed = {*graph.inputs, *graph.constants, *graph.outputs}
        self._fixed.update(value for node in graph.nodes for value in node.outputs)

    def visit(self, node: Node) -> None:
        """Let the node run on integers, where it can."""
        match node.op:
            case ops.Dequantize():
                self.stored[node.output] = node.inputs[0]
            case ops.Quantize() if node.inputs[0] in self.stored:
                self._requantize(node)
            case op if all(value.type.dtype.is_float for value in node.outputs):
                if _moves(op):
                    self._move(node)
                elif len(node.outputs) == 1 and node.output in self.wanted:
                    self._compute(node, self.wanted[node.output])

    def _requantize(self, node: Node) -> None:
        """A Quantize of what was dequantized: nothing, or a change of quantization."""
        stored, output = self.edit.resolve(self.stored[node.inputs[0]]), node.output
        same = stored.type == output.type
        if same and stored not in self._fixed:
            self.edit.replace(node)
            self.edit.redirect(stored, output)
        elif same and output not in self._graph.outputs:
            self.edit.replace(node)
            self.edit.redirect(output, stored)
        elif _is_per_tensor(stored) and _is_per_tensor(output):
            self.edit.replace(node, replace(node, inputs=(stored,)))

    def _move(self, node: Node) -> None:
        """An operator that moves or compares elements: in the type wanted, or in the operands'."""
        wishes = {self.wanted.get(value) for value in node.outputs}
        (wish,) = wishes if len(wishes) == 1 else (None,)
        if wish is not None:
            before, operands = self._quantized(node, wish)
            outputs = tuple(self._integer(value, wish) for value in node.outputs)
            self.edit.replace(node, *before, replace(node, inputs=operands, outputs=outputs))
            return
        operands = tuple(self.stored[v] for v in node.inputs if v in self.stored)
        if len(operands) < len(node.inputs) or len({_stored(v.type) for v in operands}) > 1:
            return
        kept = _moved(node, operands[0].type)
        if kept is None:
            return
        outputs = tuple(self._integer(v, kept, f"{v.name}.stored") for v in node.outputs)
        after = [
            Node(ops.Dequantize(real.type.dtype), (integer,), (real,), f"{real.name}.dequantize")
            for integer, real in zip(outputs, node.outputs, strict=True)
        ]
        self.edit.replace(node, replace(node, inputs=operands, outputs=outputs), *after)

    def _quantized(self, node: Node, to: Stored) -> tuple[list[Node], tuple[Value, ...]]:
        """The node's operands as integers, and the nodes that are needed to make them."""
        nodes: list[Node] = []
        operands: list[Value] = []
        for value in node.inputs:
            source = self.stored.get(value)
            if source is None or not _is_per_tensor(source):
                source = value
            if _stored(source.type) != to:
                name = f"{value.name}.quantize"
                made = Value(name, TensorType(value.type.shape, *to))
                nodes.append(Node(ops.Quantize(*to), (source,), (made,), name, node.source))
                source = made
            operands.append(source)
        return nodes, tuple(operands)

    def _compute(self, node: Node, wish: Stored) -> None:
        """An operator with arithmetic of its own."""
        op = node.op
        read = [v for i, v in enumerate(node.inputs) if i != op.bias]
        operands = [self.stored[v] for v in read if v in self.stored]
        if len(operands) < len(read) or not self._is_defined(op, operands):
            return
        wanted = TensorType(node.output.type.shape, *wish)
        made = integer_output(op, [v.type for v in operands], wanted)
        if made is None or made.quant is None:
            return
        if op.bias is not None and len(node.inputs) > op.bias:
            x, w = (value.type for value in operands)
            bias = self._bias(node.inputs[op.bias], x, w, made)
            if bias is None:
                return
            operands.append(bias)
        output = self._integer(node.output, (made.dtype, made.quant))
        nodes = [replace(node, inputs=tuple(operands), outputs=(output,))]
        if made != wanted:
            name = f"{node.output.name}.quantize"
            final = self._integer(node.output, wish)
            nodes.append(Node(ops.Quantize(*wish), (output,), (final,), name, node.source))
        self.edit.replace(node, *nodes)

    def _is_defined(self, op: Op, operands: Sequence[Value]) -> bool:
        """Whether integers cannot make the operator fail: it may not divide by zero."""
        if not isinstance(op, ops.Div):
            return True
        divisor = self._real(operands[1])
        return divisor is not None and bool(np.all(divisor != 0))

    def _bias(self, bias: Value, x: TensorType, w: TensorType, output: TensorType) -> Value | None:
        """The bias in the scale of the products; None where it is no constant or does not fit."""
        real = self._real(self.stored.get(bias, bias))
        made = None if real is None else integer_bias(real, x, w, output)
        if made is None:
            return None
        array, quant = made
        stored = self.stored.get(bias, bias)
        same = stored.type.dtype is DType.of(array.dtype)
        if same and np.array_equal(self._graph.constants[stored], array):
            return stored
        return self.edit.constant(bias.name, array, quant)

    def _real(self, value: Value) -> Array | None:
        """The reals that a constant holds or stands for; None for what is no constant."""
        array = self._graph.constants.get(value)
        if array is None or value.type.quant is None:
            return array
        scale, zero_point = value.type.quant.along(value.type.rank)
        return np.asarray((array.astype(np.float64) - zero_point) * scale)

    def _integer(self, real: Value, stored: Stored, name: str = "") -> Value:
        """A new value that holds a float value's integers, and is known to."""
        self.stored[real] = Value(name or real.name, TensorType(real.type.shape, *stored))
        return self.stored[real]


def _wanted(graph: Graph) -> dict[Value, Stored]:
    """How each float value is quantized, where everything that reads it does so alike.

    What moves elements wants of its operands what its readers want of it.
    """
    wishes: dict[Value, set[Stored | None]] = {value: {None} for value in graph.outputs}
    for node in reversed(graph.nodes):
        wish = None
        if isinstance(node.op, ops.Quantize):
            wish = _stored(node.output.type) if _is_per_tensor(node.output) else None
        elif _moves(node.op):
            of_outputs = [wishes.get(value, {None}) for value in node.outputs]
            (wish, *others) = set().union(*of_outputs)
            wish = None if others else wish
        for value in node.inputs:
            wishes.setdefault(value, set()).add(wish)
    return {
        value: wish
        for value, (wish, *others) in wishes.items()
        if wish is not None and not others and value.type.dtype.is_float
    }


def _moves(op: Op) -> bool:
    """Whether quantizing commutes with the operator: it moves or compares elements."""
    return op.keeps_quantization and activation_of(op) is None


def _moved(node: Node, t: TensorType) -> Stored | None:
    """How the outputs of an operator that moves integers of this type stand for reals."""
    if t.quant is None or (isinstance(node.op, ops.Pad) and node.op.value != 0):
        return None
    if t.quant.axis is None:
        return t.dtype, t.quant
    if not isinstance(node.op, ops.Transpose | View):
        return None
    axis = axis_after(node, t.quant.axis)
    return None if axis is None else (t.dtype, replace(t.quant, axis=axis))


def _stored(t: TensorType) -> Stored | None:
    return None if t.quant is None else (t.dtype, t.quant)


def _is_per_tensor(value: Value) -> bool:
    return value.type.quant is not None and value.type.quant.axis is None
