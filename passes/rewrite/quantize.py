from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.build import Builder, renamed
from irprune.ir.errors import InvalidType, UsageError
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import Op
from irprune.ir.types import DType, Quant, TensorType
from irprune.passes.analysis.calibration import Range
from irprune.passes.rewrite.integer_forms import Linear, integer_output
from irprune.passes.rewrite.scales import (
    Layer,
    quantized_array,
    quantized_bias,
    quantized_constant,
    quantized_weights,
    shared_quants,
)

MOST_CLASSES = 511
"""Elements over which softmax may give 8 bits.

With more, the sum of exponentials up to 1 each may have to be shifted by more than 31 bits
(TFLite's softmax.h and fixedpoint.h), which is undefined. With 16 bits it never has.
"""

WIDE = Quant((2.0**-16,), (-(2**15),))
"""The quantization that TFLite's softmax gives its outputs of 16 bits."""


def quantize(
    graph: Graph,
    ranges: Mapping[Value, Range],
    dtype: DType = DType.I8,
    *,
    float_io: bool = False,
    has_kernel: Callable[[Op, DType], bool] = lambda _op, _dtype: True,
) -> Graph:
    """The graph on integers, as TFLite defines them, where its operators have such arithmetic.

    Weights are symmetric 8-bit integers, one scale a channel in convolutions and one in all in
    dense layers; biases have the scales of products; activations are asymmetric in 8 bits or
    symmetric in 16. What only moves or compares numbers shares one quantization with its
    operands. Operators without arithmetic on integers stay on reals, between a Dequantize and a
    Quantize (see ``on_reals``).

    Args:
        graph: the graph, on reals.
        ranges: the range of each real activation (``calibrate``).
        dtype: the type of activations, I8 or I16.
        float_io: whether inputs and outputs stay reals.
        has_kernel: whether the runtime has an operator for activations of a type.

    Raises:
        UsageError: an input or output is 0 on all samples, weights are all 0, or the scales of a
            layer are too far apart for its arithmetic; the error names the node.
    """
    ends = [("input", v) for v in graph.inputs] + [("output", v) for v in graph.outputs]
    for end, value in ends:
        if value in ranges and ranges[value].low == ranges[value].high == 0:
            raise UsageError(
                f"{end} '{value.name}' is 0 on every calibration sample, which gives it no scale",
                where=graph.name,
                hint="give other samples",
            )
    return _Quantization(graph, ranges, dtype, float_io, has_kernel).result


def on_reals(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a quantized graph that compute on reals."""
    return tuple(
        node
        for node in graph.nodes
        if not isinstance(node.op, ops.Quantize | ops.Dequantize)
        and any(value.type.dtype.is_float for value in node.outputs)
    )


class _Quantization:
    """One way through the graph, each real value as integers, as reals, or both where needed.

    Attributes:
        result: the quantized graph.
    """

    def __init__(
        self,
        graph: Graph,
        ranges: Mapping[Value, Range],
        dtype: DType,
        float_io: bool,
        has_kernel: Callable[[Op, DType], bool],
    ) -> None:
        self._has_kernel = has_kernel
        self._graph = graph
        self._dtype = dtype
        self._quants = shared_quants(graph, ranges, dtype)
        self._builder = Builder(graph.name)
        self._reals: dict[Value, Value] = {}
        self._stored: dict[Value, Value] = {}
        self._constants: dict[tuple[Value, object], Value] = {}
        for value in graph.inputs:
            self._input(value, float_io)
        for node in graph.nodes:
            self._convert(node)
        outputs = [self._output(value, float_io) for value in graph.outputs]
        names = {new: old.name for new, old in zip(outputs, graph.outputs, strict=True)}
        self.result = renamed(self._builder.finish(outputs), names)

    def _input(self, value: Value, float_io: bool) -> None:
        t = value.type
        if t.dtype.is_float and not float_io:
            made = self._builder.input(value.name, t.shape, self._dtype, self._quants[value])
            self._stored[value] = made
        else:
            self._reals[value] = self._builder.input(value.name, t.shape, t.dtype, t.quant)

    def _output(self, value: Value, float_io: bool) -> Value:
        if float_io or not value.type.dtype.is_float:
            return self._real(value)
        array = self._graph.constants.get(value)
        if array is None:
            return self._integers(value)
        return self._builder.constant(value.name, *quantized_constant(array, self._dtype))

    def _convert(self, node: Node) -> None:
        if all(value.type.dtype.is_float for value in node.outputs):
            types = self._integer_types(node)
            if types is not None:
                self._compute(node, types)
                return
        inputs = [self._real(value) for value in node.inputs]
        names = [value.name for value in node.outputs]
        made = self._builder.add_node(
            node.op, inputs, names=names, name=node.name, source=node.source
        )
        self._reals.update(zip(node.outputs, made, strict=True))

    def _operator(self, node: Node) -> Op:
        """The operator as integers want it."""
        op = node.op
        many = isinstance(op, ops.Softmax) and node.output.type.shape[op.axis] > MOST_CLASSES
        return with_attributes(op, wide=True) if many and self._dtype is DType.I8 else op

    def _integer_types(self, node: Node) -> list[TensorType] | None:
        """The types of a node's outputs on integers; None where it stays on reals."""
        op = self._operator(node)
        if not self._is_safe(node) or not self._has_kernel(op, self._dtype):
            return None
        if isinstance(op, ops.Softmax) and op.wide:
            return [TensorType(node.output.type.shape, DType.I16, WIDE)]
        operands = [self._operand_type(node, i) for i in range(self._operand_count(node))]
        wanted = [
            TensorType(value.type.shape, self._dtype, self._quants[value]) for value in node.outputs
        ]
        if op.keeps_quantization or len(wanted) > 1:
            return wanted if op.keeps_quantization else None
        found = integer_output(op, operands, wanted[0])
        if found is None and isinstance(op, Linear):
            raise UsageError(
                f"its scales are too far apart for {self._dtype.value} arithmetic",
                where=str(node),
                hint="look at the ranges of its weights and of its output",
            )
        return None if found is None else [found]

    def _operand_count(self, node: Node) -> int:
        """How many operands there are but for a bias."""
        return len(node.inputs) if node.op.bias is None else node.op.bias

    def _is_safe(self, node: Node) -> bool:
        """Whether integers cannot reach what the arithmetic on them is not defined for."""
        match node.op:
            case ops.Div():  # what is almost zero may be zero as an integer
                divisor = self._graph.constants.get(node.inputs[1])
                return divisor is not None and bool(abs(divisor).min() > abs(divisor).max() / 100)
            case _:
                return True

    def _operand_type(self, node: Node, index: int) -> TensorType:
        value = node.inputs[index]
        if value in self._graph.constants:
            return self._constant(node, index).type
        if value in self._stored:
            return self._stored[value].type
        return TensorType(value.type.shape, self._dtype, self._quants[value])

    def _compute(self, node: Node, types: Sequence[TensorType]) -> None:
        inputs = [
            self._constant(node, i) if value in self._graph.constants else self._integers(value)
            for i, value in enumerate(node.inputs)
        ]
        made = self._builder.add_node(
            self._operator(node),
            inputs,
            names=[value.name for value in node.outputs],
            name=node.name,
            source=node.source,
            quants=[t.quant for t in types],
        )
        for value, stored in zip(node.outputs, made, strict=True):
            quant = self._quants[value]
            if stored.type.quant != quant or stored.type.dtype is not self._dtype:
                step = ops.Quantize(self._dtype, quant, halves="away")
                stored = self._builder.add(step, stored, name=f"{value.name}.requantize")
            self._stored[value] = stored

    def _constant(self, node: Node, index: int) -> Value:
        """A constant operand as the node's arithmetic wants it."""
        value = node.inputs[index]
        array = self._graph.constants[value]
        try:
            if index == node.op.bias:
                x, w = self._operand_type(node, 0), self._constant(node, 1).type
                stored, quant = quantized_bias(array, x, w)
            elif isinstance(node.op, Layer) and index == 1:
                bias = self._graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
                x = self._operand_type(node, 0)
                stored, quant = quantized_weights(node.op, array, x, bias)
            elif node.op.keeps_quantization:
                quant = self._quants[node.outputs[0]]
                stored = quantized_array(array, self._dtype, quant)
            else:
                stored, quant = quantized_constant(array, self._dtype)
        except InvalidType as error:
            raise UsageError(f"constant '{value.name}' {error.what}", where=str(node)) from None
        key = (value, (stored.dtype, quant))
        if key not in self._constants:
            self._constants[key] = self._builder.constant(value.name, stored, quant)
        return self._constants[key]

    def _integers(self, value: Value) -> Value:
        """A real value as integers, quantized where it is there as reals only."""
        if value not in self._stored:
            step = ops.Quantize(self._dtype, self._quants[value], halves="away")
            name = f"{value.name}.quantize"
            self._stored[value] = self._builder.add(step, self._real(value), name=name)
        return self._stored[value]

    def _real(self, value: Value) -> Value:
        """A value as it is in the graph, dequantized where it is there as integers only."""
        if value not in self._reals:
            array = self._graph.constants.get(value)
            if array is not None:
                made = self._builder.constant(value.name, array, value.type.quant)
            else:
                name = f"{value.name}.dequantize"
                made = self._builder.add(ops.Dequantize(), self._stored[value], name=name)
            self._reals[value] = made
        return self._reals[value]
