"""Quantized operators spelled as Dequantize, reals, Quantize, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from irprune.backends.reference import run
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.graph import Graph, Value
from irprune.ir.op import Op
from irprune.ir.ops.conv import Layout
from irprune.ir.types import Array, DType, Quant, Shape
from irprune.ir.verify import verify
from irprune.passes.rewrite.drop_dead import drop_dead
from irprune.passes.rewrite.fuse_quantization import fuse_quantization
from tests.rewrites import interface, random_inputs

T = TypeVar("T")

BYTES, SHORTS = (DType.I8, DType.U8), (DType.I16, DType.U16)


class Draw(Protocol):
    """How hypothesis lets a test draw."""

    def __call__(self, strategy: st.SearchStrategy[T], label: object = None) -> T: ...


CLAMPS: tuple[Op | None, ...] = (None, ops.Relu(), ops.Relu6(), ops.Clip(-0.5, 1.5))


def covering(reals: Array, dtype: DType) -> Quant:
    """What a calibration on these reals would give: their range and zero in the type's steps.

    A range below 0.3 is widened: its steps would be finer than those of products of weights.
    """
    low, high = min(float(reals.min()), 0.0), max(float(reals.max()), 0.0)
    least, most = dtype.limits
    scale = max(high - low, 0.3) / (most - least)
    return Quant((scale,), (int(np.clip(round(least - low / scale), least, most)),))


class Net:
    """A quantized graph in the making, its activations of one of some types."""

    def __init__(self, draw: Draw, dtypes: Sequence[DType] = BYTES) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.builder = Builder("net")
        self.dtype = draw(st.sampled_from(dtypes))
        self.layout: Layout = draw(st.sampled_from(("NCHW", "NHWC")))

    def quant(self) -> Quant:
        """A scale and a zero point, at random."""
        low, high = self.dtype.limits
        scale = self.draw(st.floats(1 / 256, 1 / 16)) / 256 ** (self.dtype.itemsize - 1)
        return Quant((scale,), (self.draw(st.integers(low + 8, high - 8)),))

    def input(self, shape: Shape, quant: Quant | None = None) -> Value:
        """The reals of a new graph input."""
        stored = self.builder.input("x", shape, self.dtype, quant or self.quant())
        return self.builder.add(ops.Dequantize(), stored)

    def weights(self, shape: Shape, axis: int | None) -> Value:
        """The reals of stored weights, symmetric; several scales along an axis."""
        count = 1 if axis is None else shape[axis]
        scales = tuple(self.rng.uniform(1e-3, 1e-2, count).tolist())
        array = self.rng.integers(-127, 128, shape).astype(np.int8)
        quant = Quant(scales, (0,) * count, axis)
        return self.builder.add(ops.Dequantize(), self.builder.constant("w", array, quant))

    def bias(self, size: int, x: Value, w: Value) -> Value:
        """A bias of floats, or stored in the scale of the products."""
        reals = self.rng.uniform(-1, 1, size).astype(np.float32)
        if self.draw(st.booleans()):
            return self.builder.constant("b", reals)
        of_x, of_w = self.stored(x).type.quant, self.stored(w).type.quant
        assert of_x is not None
        assert of_w is not None
        scales = tuple(of_x.scale[0] * s for s in of_w.scale)
        stored = np.rint(reals / scales).astype(np.int32)
        axis = 0 if len(scales) > 1 else None
        quant = Quant(scales, (0,) * len(scales), axis)
        return self.builder.add(ops.Dequantize(), self.builder.constant("b", stored, quant))

    def stored(self, real: Value) -> Value:
        """What a dequantized value was dequantized from."""
        nodes = self.builder.finish([real]).nodes
        return next(node.inputs[0] for node in nodes if real in node.outputs)

    def clamp(self) -> Op | None:
        return self.draw(st.sampled_from(CLAMPS))

    def finish(self, real: Value, quant: Quant | None = None) -> Graph:
        """The graph whose output is the value quantized, by default to cover what it takes."""
        if quant is None:
            graph = self.builder.finish([real])
            (reals,) = run(graph, random_inputs(graph, seed=1))
            quant = covering(reals, self.dtype)
        return self.builder.finish([self.builder.add(ops.Quantize(self.dtype, quant), real)])


def fused(graph: Graph) -> Graph:
    """The graph without reals, its interface as before."""
    after = drop_dead(fuse_quantization(graph))
    verify(after)
    assert fuse_quantization(after) is after
    assert interface(after) == interface(graph)
    return after


def steps_apart(one: Graph, other: Graph) -> int:
    """The largest difference between the integers that two graphs give."""
    arrays = random_inputs(one)
    pairs = zip(run(one, arrays), run(other, arrays), strict=True)
    return max(int(np.abs(a.astype(int) - b.astype(int)).max(initial=0)) for a, b in pairs)
