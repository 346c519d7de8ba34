"""What a model takes on the device once it is compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irprune.backends.compile import Compiled, CompileOptions, compile_tflite
from irprune.budget import Usage
from irprune.ir import ops
from irprune.ir.graph import Graph, Value, values
from irprune.ir.types import Array, Bytes, DType, Macs
from irprune.passes.analysis.costs import node_macs

_Trained = ops.Conv2d | ops.ConvTranspose2d | ops.Dense | ops.BatchNorm
"""Operators whose constants may be any reals, and are what training changes."""

ALIGNED = 16
"""The most that a list of one number takes in a file, with what aligns it."""


def compiled_usage(graph: Graph) -> Usage:
    """What a model takes as an int8 TFLite file with a memory plan in TFLite-Micro.

    SRAM is the head of the runtime's arena, flash the file, MACs those of its operators. They are
    those of trained weights, all different, whatever the graph's are: of equal ones a file has
    one, and those of an untrained model are equal where they are as long. Equal lists that training
    does not change, as masks of attention, count as different, too: flash is at most so much.

    Args:
        graph: the model as it was read, on reals.

    Raises:
        UnsupportedOp: TFLite-Micro lacks operators.
    """
    graph = _trained(graph)
    compiled = compile_tflite(graph, [noise(graph)], CompileOptions(plan=True))
    usage = usage_of(compiled)
    return replace(usage, flash=Bytes(usage.flash + _shared_by_chance(compiled)))


def usage_of(compiled: Compiled) -> Usage:
    """What a compiled model takes: the head of the arena, the file, and what it computes."""
    macs = sum(node_macs(node) for node in compiled.model.graph.nodes)
    return Usage(compiled.footprint.head, Bytes(len(compiled.data)), Macs(macs))


def _shared_by_chance(compiled: Compiled) -> int:
    """Bytes by which the file grows where no two zero points are equal that need not be.

    Those of functions that are never negative are the least integer; the file has each list once.
    """
    quants = [value.type.quant for value in values(compiled.model.graph)]
    points = [quant.zero_point for quant in quants if quant is not None and quant.axis is None]
    free = [point for point in points if point != (DType.I8.limits[0],)]
    return ALIGNED * (len(free) - len(set(free)))


def noise(graph: Graph) -> list[Array]:
    """Inputs for a graph that are as good as any."""
    generator = np.random.default_rng(0)
    return [_noise(value, generator) for value in graph.inputs]


def _trained(graph: Graph) -> Graph:
    """The graph as training may leave it: no two lists of reals in it are equal.

    Single numbers stay: they are literals, or take no more of a file when they differ.
    """
    generator = np.random.default_rng(0)
    constants = {v: a for v, a in graph.constants.items() if v.type.dtype.is_float}
    weights = {
        value: _weights(value, generator)
        for node in graph.nodes
        if isinstance(node.op, _Trained)
        for value in node.inputs[1:]
        if value in constants
    }
    others = {
        value: _varied(array, generator)
        for value, array in constants.items()
        if value not in weights and array.size > 1
    }
    return replace(graph, constants={**graph.constants, **weights, **others})


def _weights(value: Value, generator: np.random.Generator) -> Array:
    """Weights that keep the scale of activations, or factors, variances and the like about 1."""
    shape, dtype = value.type.shape, value.type.dtype.numpy
    if len(shape) > 1:
        scale = np.sqrt(np.prod(shape[1:]))
        return np.asarray(generator.standard_normal(shape) / scale, dtype)
    return np.asarray(generator.uniform(0.5, 1.5, shape), dtype)


def _varied(array: Array, generator: np.random.Generator) -> Array:
    """Reals of the same signs and magnitudes, so that what divides by them or masks still does."""
    factors = generator.uniform(0.5, 1.5, array.shape)
    return np.asarray(array * factors if array.any() else factors, array.dtype)


def _noise(value: Value, generator: np.random.Generator) -> Array:
    return generator.standard_normal(value.type.shape).astype(value.type.dtype.numpy)
