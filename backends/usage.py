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
"""Operators whose constants are what training changes."""

ALIGNED = 16
"""The most that a list of one number takes in a file, with what aligns it."""


def compiled_usage(graph: Graph) -> Usage:
    """What a model takes as an int8 TFLite file with a memory plan in TFLite-Micro.

    SRAM is the head of the runtime's arena, flash the file, MACs those of its operators. They are
    those of trained weights, all different, whatever the graph's are: of equal ones a file has
    one, and those of an untrained model are equal where they are as long.

    Args:
        graph: the model as it was read, on reals.

    Raises:
        UnsupportedOp: TFLite-Micro lacks operators.
    """
    generator = np.random.default_rng(0)
    trained = {
        value: _trained(value, generator)
        for node in graph.nodes
        if isinstance(node.op, _Trained)
        for value in node.inputs[1:]
        if value in graph.constants and value.type.dtype.is_float
    }
    graph = replace(graph, constants={**graph.constants, **trained})
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


def _trained(value: Value, generator: np.random.Generator) -> Array:
    """Weights that keep the scale of activations, or factors, variances and the like about 1."""
    shape, dtype = value.type.shape, value.type.dtype.numpy
    if len(shape) > 1:
        scale = np.sqrt(np.prod(shape[1:]))
        return np.asarray(generator.standard_normal(shape) / scale, dtype)
    return np.asarray(generator.uniform(0.5, 1.5, shape), dtype)


def _noise(value: Value, generator: np.random.Generator) -> Array:
    return generator.standard_normal(value.type.shape).astype(value.type.dtype.numpy)
