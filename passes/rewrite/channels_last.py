from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.build import renamed
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import Op, normalize_axes, normalize_axis
from irprune.ir.ops.binary import Arithmetic
from irprune.ir.ops.conv import channel_axis
from irprune.ir.ops.pointwise import Unary
from irprune.ir.ops.pool import Pool
from irprune.ir.ops.reduce import Reduce
from irprune.ir.ops.shape import View
from irprune.ir.types import Array, Quant, Shape
from irprune.passes.rewrite.placing import Order, Placing, last_channels, ordered, own_order
from irprune.passes.rewrite.storage import Storage

Images = ops.Conv2d | ops.ConvTranspose2d | Pool | ops.DepthToSpace | ops.SpaceToDepth

NHWC: Order = last_channels(4)


def channels_last(graph: Graph, *, keep_io_layout: bool = False) -> Graph:
    """The graph with its images in NHWC, as TFLite has them.

    Transposes and views only change what is known of where elements lie, until an operator needs
    them elsewhere: then they are transposed, or gathered where that is within one axis. Weights
    take up what they can of it: a dense layer, a convolution and a depthwise one read channels in
    any order. A graph without an operator on NCHW stays as it is.

    Args:
        graph: the graph; transposed convolutions are of one group.
        keep_io_layout: whether inputs and outputs stay as they are. Otherwise inputs that are
            needed so, and outputs that come so, have their channels last.
    """
    if not any(getattr(node.op, "layout", "NHWC") == "NCHW" for node in graph.nodes):
        return graph
    first = _Conversion(graph, frozenset(), keep_io_layout)
    if keep_io_layout or not first.misplaced:
        return first.result
    second = _Conversion(graph, first.misplaced, keep_io_layout)
    return min(second.result, first.result, key=_movements)


def _movements(graph: Graph) -> int:
    return sum(isinstance(node.op, ops.Transpose | ops.Gather | View) for node in graph.nodes)


class _Conversion:
    """One way through the graph.

    Attributes:
        result: the converted graph.
        misplaced: inputs that had to be moved, or seen under another shape.
    """

    def __init__(self, graph: Graph, moved: Collection[Value], keep_io: bool) -> None:
        self._graph = graph
        self._at = Placing(graph, moved)
        for node in graph.nodes:
            self._convert(node)
        outputs: list[Value] = []
        for value in graph.outputs:
            placed = self._output(value, keep_io)
            shared = placed in outputs or any(placed is self._at.held[x][0] for x in graph.inputs)
            if shared and value not in graph.inputs and value not in graph.outputs[: len(outputs)]:
                placed = self._at.builder.add(ops.Identity(), placed)
            outputs.append(placed)
        names = {new: old.name for new, old in zip(outputs, graph.outputs, strict=True)}
        self.result = renamed(self._at.builder.finish(outputs), names)
        self.misplaced = self._at.misplaced

    def _output(self, value: Value, keep_io: bool) -> Value:
        order, own = last_channels(value.type.rank), own_order(value)
        if not keep_io and value not in self._graph.constants:
            orders = set(self._at.held[value][1].axis_orders())
            if order in orders and (value.type.rank > 3 or own not in orders):
                return self._at.place(value, order)
        return self._at.place(value, own)

    def _convert(self, node: Node) -> None:
        at = self._at
        x = node.inputs[0] if node.inputs else None
        match node.op:
            case _ if x is None:
                self._emit(node, node.op, [], [own_order(v) for v in node.outputs])
            case View():
                at.held[node.output] = at.viewed(x, node.output.type.shape)
            case ops.Transpose(perm=perm):
                held, storage = at.source(x)
                at.held[node.output] = (held, storage.permuted(perm))
            case ops.Conv2d():
                self._convolution(node, node.op)
            case ops.ConvTranspose2d() | Pool() | ops.DepthToSpace() | ops.SpaceToDepth():
                self._images(node, node.op)
            case ops.Dense():
                self._dense(node)
            case ops.Resize(axes=axes):
                resized = sorted(normalize_axes(axes, x.type.rank))
                others = [axis for axis in own_order(x) if axis not in resized]
                self._along_axes(node, (*others[:1], *resized, *others[1:]))
            case ops.Softmax(axis=axis) | ops.LogSoftmax(axis=axis) | ops.LRN(axis=axis):
                self._along_axes(node, _with_last(at.order(x), normalize_axis(axis, x.type.rank)))
            case Reduce() | ops.Concat() | ops.Split() | ops.Slice() | ops.Pad() | ops.BatchNorm():
                self._along_axes(node, at.order(self._main(node)))
            case ops.Gather(indices_shape=(_,)):
                self._along_axes(node, at.order(x))
            case Arithmetic() | ops.PRelu():
                self._broadcast(node)
            case Unary() | ops.Quantize() | ops.Dequantize() if x in at.held:
                held, storage = at.held[x]
                (made,) = self._add(node, node.op, [held])
                at.held[node.output] = (made, storage)
                at.follow(made, held)
            case _:
                inputs = [at.place(value, own_order(value)) for value in node.inputs]
                self._emit(node, node.op, inputs, [own_order(v) for v in node.outputs])

    def _main(self, node: Node) -> Value:
        """The operand whose order of axes the others take: the largest that is no constant."""
        computed = [v for v in node.inputs if v not in self._graph.constants] or node.inputs
        return max(computed, key=lambda v: v.type.elements)

    def _broadcast(self, node: Node) -> None:
        """Arithmetic along axes, but for operands that lie alike: these may have torn ones."""
        at, shape, main = self._at, node.output.type.shape, self._main(node)
        if self._lie_alike(node, main):
            held, storage = at.held[main]
            inputs = [
                at.constant(v, array.reshape((1,) * held.type.rank), v.type.quant)
                if (array := at.array(v)) is not None
                else at.shaped(at.held[v][0], held.type.shape)
                for v in node.inputs
            ]
            (made,) = self._add(node, node.op, inputs)
            at.held[node.output] = (made, storage)
        else:
            ahead = len(shape) - main.type.rank
            order = (*range(ahead), *(axis + ahead for axis in at.order(main)))
            inputs = [
                at.place(v, order, (1,) * (len(shape) - v.type.rank) + v.type.shape)
                for v in node.inputs
            ]
            self._emit(node, node.op, inputs, [order])
            made = at.held[node.output][0]
        if main in at.held:
            at.follow(made, at.held[main][0])

    def _lie_alike(self, node: Node, main: Value) -> bool:
        held = self._at.held
        return (
            main in held
            and main.type.shape == node.output.type.shape
            and all(
                held[v][1] == held[main][1] if v in held else _is_number(v) for v in node.inputs
            )
        )

    def _along_axes(self, node: Node, order: Order) -> None:
        """An operator whose attributes name axes; operands of another rank stay as they are."""
        inputs = [
            self._at.place(v, order if v.type.rank == len(order) else own_order(v))
            for v in node.inputs
        ]
        orders = [_order_after(node.op, order)] * len(node.outputs)
        self._emit(node, _with_axes(node.op, order), inputs, orders)
        for value in node.outputs:
            self._at.follow(self._at.held[value][0], inputs[0])

    def _images(self, node: Node, op: Images) -> None:
        """An operator on images; weights OIHW (of transposed convolutions IOHW) become OHWI."""
        order = of_weights = _order_of_images(op)
        if isinstance(op, ops.ConvTranspose2d) and op.layout == "NCHW":
            of_weights = (1, 2, 3, 0)
        orders = (order, of_weights, (0,))
        inputs = [self._at.place(v, o) for v, o in zip(node.inputs, orders, strict=False)]
        self._emit(node, with_attributes(op, layout="NHWC"), inputs, [order])

    def _convolution(self, node: Node, op: ops.Conv2d) -> None:
        """Channels that lie in another order stay so where the weights can be put in that order."""
        at, order, axis = self._at, _order_of_images(op), channel_axis(op.layout)
        x, *constants = node.inputs
        storage = at.source(x)[1]
        channels = x.type.shape[axis]
        only_channels = storage.without_order_of(axis) == Storage.of(x.type.shape, order)
        if (
            x not in at.held
            or at.order(x) == order
            or not only_channels
            or op.groups not in (1, channels)
            or any(at.array(value) is None for value in constants)
        ):
            self._images(node, op)
            return
        index = storage.index(axis)
        operands = [at.place(v, o) for v, o in zip(constants, (order, (0,)), strict=False)]
        made = storage
        if op.groups == 1:
            operands[0] = self._taken(operands[0], index, 3)
            made = Storage.of(node.output.type.shape, order)
        else:
            multiplier = node.output.type.shape[axis] // channels
            filters = index[:, None] * multiplier + np.arange(multiplier)
            operands = [self._taken(v, filters.ravel(), 0) for v in operands]
            made = _depthwise_storage(storage, axis, node.output.type.shape, order)
        images = at.shaped(at.held[x][0], ordered(x.type.shape, order))
        (y,) = self._add(node, with_attributes(op, layout="NHWC"), [images, *operands])
        at.held[node.output] = (y, made)

    def _dense(self, node: Node) -> None:
        """Features in any order, where they lie behind all else and the weights are constant."""
        at, last = self._at, node.inputs[0].type.rank - 1
        x, w, *bias = node.inputs
        held, storage = at.source(x)
        if at.array(w) is None or not storage.lies_last(last):
            held, storage = at.place(x, own_order(x)), Storage.of(x.type.shape)
        index, weights = storage.index(last), at.place(w, (0, 1))
        if len(storage.axes[last]) > 1:
            weights = self._taken(weights, index, 1)
        made = storage.with_last(node.output.type.shape[-1])
        *ahead, features = x.type.shape
        whole = made == Storage.of(node.output.type.shape)
        shape = (*ahead, features) if whole else (math.prod(ahead), features)
        inputs = [at.shaped(held, shape), weights, *(at.place(v, (0,)) for v in bias)]
        (y,) = self._add(node, node.op, inputs)
        at.held[node.output] = (y, made)

    def _taken(self, constant: Value, index: Array, axis: int) -> Value:
        """A constant with the elements of an axis in another order."""
        array = self._at.builder.array(constant)
        assert array is not None
        quant = constant.type.quant
        if quant is not None and quant.axis == axis:
            scale, zero = (
                tuple(numbers[i] for i in index) for numbers in (quant.scale, quant.zero_point)
            )
            quant = Quant(scale, zero, axis)
        return self._at.builder.constant(constant.name, np.take(array, index, axis), quant)

    def _emit(self, node: Node, op: Op, inputs: Sequence[Value], orders: Sequence[Order]) -> None:
        made = self._add(node, op, inputs)
        for value, held, order in zip(node.outputs, made, orders, strict=True):
            self._at.held[value] = (held, Storage.of(value.type.shape, order))

    def _add(self, node: Node, op: Op, inputs: Sequence[Value]) -> tuple[Value, ...]:
        return self._at.builder.add_node(
            op,
            inputs,
            names=[value.name for value in node.outputs],
            name=node.name,
            source=node.source,
            quants=[value.type.quant for value in node.outputs],
        )


def _is_number(value: Value) -> bool:
    """Whether a constant is one number, which has no place in an order."""
    quant = value.type.quant
    return value.type.elements == 1 and (quant is None or quant.axis is None)


def _order_of_images(op: Images) -> Order:
    return NHWC if op.layout == "NCHW" else (0, 1, 2, 3)


def _depthwise_storage(storage: Storage, axis: int, shape: Shape, order: Order) -> Storage:
    """The storage of what a depthwise convolution makes of images with channels in some order."""
    parts = storage.axes[axis]
    lying = storage.lying(axis)
    multiplier = shape[axis] // math.prod(parts)
    images = ordered(shape, order[:-1])
    memory = (*images, *(parts[part] for part in lying), multiplier)
    channels = [3 + lying.index(part) for part in range(len(parts))]
    places = {0: [0], order[1]: [1], order[2]: [2], axis: [*channels, 3 + len(parts)]}
    perm = [place for at in range(4) for place in places[at]]
    viewed = Storage.of(memory).permuted(perm).viewed(shape)
    assert viewed is not None
    return viewed


def _with_last(order: Order, axis: int) -> Order:
    """The order, with an axis put last where it is not."""
    return order if order[-1] == axis else (*(a for a in order if a != axis), axis)


def _with_axes(op: Op, order: Order) -> Op:
    """The operator on axes that lie in an order."""
    rank = len(order)
    match op:
        case Reduce(axes=axes) | ops.Slice(axes=axes) | ops.Resize(axes=axes):
            moved = tuple(order.index(at) for at in normalize_axes(axes, rank))
            return with_attributes(op, axes=moved)
        case ops.Pad(padding=padding):
            return with_attributes(op, padding=tuple(padding[axis] for axis in order))
        case (
            ops.Concat(axis=axis)
            | ops.Split(axis=axis)
            | ops.Gather(axis=axis)
            | ops.BatchNorm(axis=axis)
            | ops.Softmax(axis=axis)
            | ops.LogSoftmax(axis=axis)
            | ops.LRN(axis=axis)
        ):
            return with_attributes(op, axis=order.index(normalize_axis(axis, rank)))
    raise AssertionError(f"{op} has no axes")


def _order_after(op: Op, order: Order) -> Order:
    """The order of the axes of what an operator along axes makes."""
    if not isinstance(op, Reduce) or op.keepdims:
        return order
    gone = normalize_axes(op.axes, len(order))
    kept = [axis for axis in range(len(order)) if axis not in gone]
    return tuple(kept.index(axis) for axis in order if axis in kept)
