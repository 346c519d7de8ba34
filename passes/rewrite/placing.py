"""Values of a graph whose elements lie otherwise than the graph says, and how to move them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import Op
from irprune.ir.types import Array, Quant, Shape
from irprune.passes.rewrite.storage import Storage

Order = tuple[int, ...]
"""Axes of a tensor as they lie in memory."""


def own_order(value: Value) -> Order:
    """The axes as the graph has them."""
    return tuple(range(value.type.rank))


def last_channels(rank: int) -> Order:
    """The order of axes with that of the channels, the second, last."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


class Placing:
    """The values of a graph that have been made again, each in some storage.

    Args:
        graph: the graph that is being converted.
        moved: inputs that are to come with their channels last.

    Attributes:
        builder: makes the new graph.
        held: for each value that is no constant, the new value that has its elements, and how.
        misplaced: inputs whose elements had to be moved, or seen under another shape.
    """

    def __init__(self, graph: Graph, moved: Collection[Value]) -> None:
        self.builder = Builder(graph.name)
        self.held: dict[Value, tuple[Value, Storage]] = {}
        self.misplaced: set[Value] = set()
        self._constants = graph.constants
        self._made: dict[tuple[object, ...], Value] = {}
        self._roots: dict[Value, Value] = {}
        for value in graph.inputs:
            order = last_channels(value.type.rank) if value in moved else own_order(value)
            t = value.type
            held = self.builder.input(value.name, ordered(t.shape, order), t.dtype, t.quant)
            self.held[value] = (held, Storage.of(t.shape, order))
            self._roots[held] = value

    def source(self, value: Value) -> tuple[Value, Storage]:
        """What has a value's elements; constants as they are."""
        if value in self._constants:
            return self.place(value, own_order(value)), Storage.of(value.type.shape)
        return self.held[value]

    def array(self, value: Value) -> Array | None:
        """The array of a constant; None for any other value."""
        return self._constants.get(value)

    def order(self, value: Value) -> Order:
        """The order of a value's axes, as it lies; their own where parts of them are apart."""
        if value in self._constants:
            return own_order(value)
        held, storage = self.held[value]
        orders = list(storage.axis_orders())
        as_held = (o for o in orders if ordered(storage.shape, o) == held.type.shape)
        return next(as_held, None) or next(iter(orders), own_order(value))

    def place(self, value: Value, order: Order, shape: Shape | None = None) -> Value:
        """A value (viewed under a shape) with its axes in an order, one dimension an axis."""
        shape = value.type.shape if shape is None else shape
        array = self._constants.get(value)
        if array is not None:
            quant = _quant_of_moved(value, order, shape)
            return self.constant(value, array.reshape(shape).transpose(order), quant)
        held, storage = self.viewed(value, shape)
        moved = self._moved(held, storage, Storage.of(shape, order), order)
        return self.shaped(moved, ordered(shape, order))

    def viewed(self, value: Value, shape: Shape) -> tuple[Value, Storage]:
        """A value under another shape; its elements are moved only where that tears a part."""
        held, storage = self.source(value)
        viewed = storage.viewed(shape)
        if viewed is not None:
            return held, viewed
        plain = Storage.of(storage.shape)
        return self._moved(held, storage, plain, own_order(value)), Storage.of(shape)

    def shaped(self, held: Value, shape: Shape) -> Value:
        """The same elements as a new value has, in the same order, under another shape."""
        if held.type.shape == shape:
            return held
        key = (held, shape)
        if key not in self._made:
            self._misplace(held)
            name = f"{held.name}.reshape"
            self._made[key] = self.builder.add(ops.Reshape(shape), held, name=name)
        return self._made[key]

    def constant(self, value: Value, array: Array, quant: Quant | None) -> Value:
        """A constant made from a constant of the graph; equal ones are one."""
        place = array.__array_interface__["data"][0]
        key = (value, array.shape, array.strides, place, quant)
        if key not in self._made:
            self._made[key] = self.builder.constant(value.name, array, quant)
        return self._made[key]

    def follow(self, made: Value, held: Value) -> None:
        """Note that a new value would lie otherwise if the input that another stems from did."""
        if held in self._roots:
            self._roots[made] = self._roots[held]

    def _moved(self, held: Value, storage: Storage, wanted: Storage, order: Order) -> Value:
        """The elements of a held value as another storage, of whole axes in an order, has them."""
        if storage == wanted:
            return held
        key = (held, storage, wanted)
        if key not in self._made:
            self._misplace(held)
            torn = [axis for axis, parts in enumerate(storage.axes) if len(parts) > 1]
            if len(torn) == 1 and storage.without_order_of(torn[0]) == wanted:
                (axis,) = torn
                x = self.shaped(held, ordered(wanted.shape, order))
                index = np.argsort(storage.index(axis)).tolist()
                op: Op = ops.Gather(tuple(index), (len(index),), order.index(axis))
            else:
                shape, perm = _transposition(held, storage, order)
                x, op = self.shaped(held, shape), ops.Transpose(perm)
            name = f"{held.name}.{type(op).__name__.lower()}"
            self._made[key] = self.builder.add(op, x, name=name)
        return self._made[key]

    def _misplace(self, held: Value) -> None:
        if held in self._roots:
            self.misplaced.add(self._roots[held])


def _transposition(held: Value, storage: Storage, order: Order) -> tuple[Shape, Order]:
    """A shape of a held value, and the permutation of it that puts whole axes in an order."""
    for lying in storage.axis_orders():
        if ordered(storage.shape, lying) == held.type.shape:
            return held.type.shape, tuple(lying.index(axis) for axis in order)
    return storage.permuted(order).grid()


def ordered(shape: Shape, order: Sequence[int]) -> Shape:
    """The sizes of axes in an order."""
    return tuple(shape[axis] for axis in order)


def _quant_of_moved(value: Value, order: Order, shape: Shape) -> Quant | None:
    quant = value.type.quant
    if quant is None or quant.axis is None:
        return quant
    return replace(quant, axis=order.index(quant.axis + len(shape) - value.type.rank))
