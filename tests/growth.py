"""A random graph in the making; ``strategies`` adds the operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Source, Value, readers
from irprune.ir.op import Op
from irprune.ir.ops.conv import Layout, Padding, Pair, in_layout, spatial_axes
from irprune.ir.types import Array, Shape

T = TypeVar("T")

ACTIVATIONS: tuple[Op, ...] = (
    ops.Relu(),
    ops.Relu6(),
    ops.LeakyRelu(0.2),
    ops.Clip(-1.0, 1.5),
    ops.Sigmoid(),
    ops.Tanh(),
    ops.HardSwish(),
)

MOST_ELEMENTS = 2_000
"""Values larger than this are not built upon, so that graphs stay small."""


class Growth:
    """A graph in the making: the values there are, and draws that depend on them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.builder = Builder(self.one_of("random", "net/é"))
        self.values: list[Value] = []
        self.layout: Layout = self.one_of("NCHW", "NHWC")
        self._weights: list[Value] = []
        self._random = np.random.default_rng(self.integer(0, 2**16))

    def one_of(self, *choices: T) -> T:
        """One of the choices; the first is the simplest."""
        return self._draw(st.sampled_from(choices))

    def integer(self, least: int, most: int) -> int:
        """An integer within bounds, both included."""
        return self._draw(st.integers(least, most))

    def coin(self) -> bool:
        """True as often as not."""
        return self._draw(st.booleans())

    def rarely(self) -> bool:
        """True now and then."""
        return self.integer(0, 7) == 7

    def axis(self, rank: int) -> int:
        """An axis of a shape of this rank, counted from the front or from the back."""
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> tuple[int, ...]:
        """Some distinct axes, in any order."""
        chosen = st.lists(st.integers(0, rank - 1), unique=True, min_size=min(rank, 1))
        return tuple(self._draw(chosen))

    def shuffled(self, *items: T) -> Sequence[T]:
        """The items in some order."""
        return self._draw(st.permutations(items))

    def pair(self, least: int, most: int) -> Pair:
        """Two integers within bounds, for height and for width."""
        return self.integer(least, most), self.integer(least, most)

    def padding(self, most: int) -> Padding:
        """Elements before and after, for height and for width; none, as often as not."""
        if self.coin():
            return ((0, 0), (0, 0))
        return self.pair(0, most), self.pair(0, most)

    def windows(self, x: Value, padding: Padding, dilation: Pair, least: Pair) -> Pair:
        """A kernel of at least ``least`` and at most 3 that fits a padded value."""
        room = [x.type.shape[axis] for axis in spatial_axes(self.layout)]
        rows, columns = (
            self.integer(least[a], min(3, (room[a] + sum(padding[a]) - 1) // dilation[a] + 1))
            for a in (0, 1)
        )
        return rows, columns

    def shape_within(self, shape: Shape) -> Shape:
        """A shape that broadcasts to ``shape``."""
        cut = self.integer(0, len(shape))
        return tuple(d if self.coin() else 1 for d in shape[cut:])

    def source(self, rank: int) -> Value:
        """A new graph input, or now and then a constant, of this rank."""
        shape = tuple(self.integer(1, 6) for _ in range(rank))
        if rank == 4:
            n, c, h, w = 1, self.integer(1, 6), self.integer(3, 8), self.integer(3, 8)
            shape = in_layout(self.layout, n, c, h, w)
        if self.values and self.rarely():
            value = self.builder.constant("table", self.array(shape, -1, 1))
        else:
            value = self.builder.input("x", shape)
        self.values.append(value)
        return value

    def pick(self, least: int = 0, most: int = 5) -> Value:
        """A value whose rank is within bounds; a new one where there is none."""
        found = [
            value
            for value in reversed(self.values)
            if least <= value.type.rank <= most and value.type.elements <= MOST_ELEMENTS
        ]
        if not found:
            return self.source(self.integer(max(least, 1), most))
        return self.one_of(*found)

    def like(self, shape: Shape) -> Value:
        """A value (or a new constant) that broadcasts to the shape."""
        found = [value for value in self.values if broadcasts(value.type.shape, shape)]
        if found and self.coin():
            return self.one_of(*found)
        return self.weight(self.shape_within(shape))

    def joinable(self, value: Value, axis: int) -> list[Value]:
        """Up to two values whose shape differs from the value's in nothing but ``axis``."""
        rest = [d for a, d in enumerate(value.type.shape) if a != axis % value.type.rank]
        found = [
            v
            for v in self.values
            if v.type.rank == value.type.rank
            and [d for a, d in enumerate(v.type.shape) if a != axis % v.type.rank] == rest
        ]
        return [self.one_of(*found) for _ in range(self.integer(0, 2))]

    def maybe_weight(self, size: int) -> tuple[Value, ...]:
        """A bias of this size, or none."""
        return (self.weight((size,)),) * self.integer(0, 1)

    def weight(self, shape: Shape, low: float = -1.0, high: float = 1.0) -> Value:
        """A constant; now and then one that was there already, or one behind a node."""
        same = [w for w in self._weights if w.type.shape == shape]
        if same and (low, high) == (-1.0, 1.0) and self.rarely():
            return self.one_of(*same)
        value = self.builder.constant("w", self.array(shape, low, high))
        if (low, high) == (-1.0, 1.0):
            self._weights.append(value)
        return self.builder.add(ops.Identity(), value) if self.rarely() else value

    def array(self, shape: Shape, low: float, high: float) -> Array:
        """Seeded random numbers within bounds; smaller ones for a large fan-in."""
        scale = 1.0 if low >= 0 else min(1.0, 2.0 / math.sqrt(max(math.prod(shape[1:]), 1)))
        return self._random.uniform(low * scale, high * scale, shape).astype(np.float32)

    def clipped(self, value: Value, low: float, high: float) -> Value:
        """The value within bounds."""
        return self.builder.add(ops.Clip(low, high), value)

    def add(self, op: Op, *operands: Value) -> None:
        """A new node; its outputs join the values that others may read."""
        name = self.one_of("", "", "layer1.0/conv", 'say "hi" \n%', "ärger, (1)")
        source = self.one_of(Source(), Source("model.onnx", "Conv_3"), Source("", "encoder.0"))
        if isinstance(op, (ops.Conv2d, ops.Dense, ops.Add, ops.MaxPool2d)) and self.rarely():
            op = replace(op, activation=self.one_of(*ACTIVATIONS))
        self.values += self.builder.add_node(op, operands, name=name, source=source)

    def finish(self) -> Graph:
        """The graph; its outputs are most of what nobody reads, and now and then more."""
        graph = self.builder.finish(self.values)
        leaves = [v for v in self.values if not readers(graph)[v] and v not in graph.inputs]
        kept = [v for v in leaves if not self.rarely()] or self.values[-1:]
        if self.rarely():
            kept.append(self.one_of(*self.values))
        return self.builder.finish(list(dict.fromkeys(kept)))


def broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether a shape broadcasts to another without changing it."""
    aligned = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(a in (1, b) for a, b in aligned)
