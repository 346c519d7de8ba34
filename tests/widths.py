"""Random plans, graphs with channels held at zero, and graphs that have many channels to remove."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.channels import Kept
from irprune.ir.evaluate import evaluate
from irprune.ir.graph import Graph, Value
from irprune.ir.plan import Plan, fingerprint
from irprune.ir.types import Array
from irprune.passes.analysis.channels import channels
from irprune.passes.rewrite.apply_widths import kept_channels
from irprune.passes.rewrite.drop_dead import drop_dead


def random_plan(graph: Graph, rng: np.random.Generator, least: float = 0.0) -> Plan:
    """Some of each group's units at random; at least one, and at least that share."""
    kept = {}
    for group in channels(graph).free:
        fewest = max(1, int(np.ceil(least * group.width)))
        count = int(rng.integers(fewest, group.width + 1))
        units = rng.permutation(group.width)[:count]
        if count < group.width:
            kept[group.name] = tuple(sorted(group.indices[units].ravel().tolist()))
    return Plan(fingerprint(graph), kept)


def run_masked(graph: Graph, plan: Plan, inputs: Sequence[Array]) -> list[Array]:
    """The graph's outputs with what the plan removes held at zero, everywhere."""
    kept = kept_channels(graph, plan)
    graph = drop_dead(graph)
    live = {value: masked(value, array, kept[value]) for value, array in graph.constants.items()}
    live.update(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        made = evaluate(node, [live[value] for value in node.inputs])
        for value, array in zip(node.outputs, made, strict=True):
            live[value] = masked(value, array, kept[value])
    return [live[value] for value in graph.outputs]


def masked(value: Value, array: Array, kept: Kept) -> Array:
    """The array with zero, or what stands for it, wherever an index is not kept."""
    quant = value.type.quant
    zero = np.zeros((), array.dtype) if quant is None else quant.along(array.ndim)[1]
    for axis, stays in enumerate(kept):
        along = stays.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        array = np.where(along, array, zero).astype(array.dtype, copy=False)
    return array


def between_layers(graph: Graph, seed: int = 0) -> Graph:
    """The graph behind and before dense layers along every axis, so that no end freezes one."""
    rng, b = np.random.default_rng(seed), Builder(graph.name)
    moved = {v: b.constant(v.name, array.copy()) for v, array in graph.constants.items()}
    for value in graph.inputs:
        x = b.input(value.name, value.type.shape, value.type.dtype)
        moved[value] = _along_each_axis(b, x, value.type.shape, rng)
    for node in graph.nodes:
        made = b.add_node(node.op, [moved[v] for v in node.inputs], name=node.name)
        moved.update(zip(node.outputs, made, strict=True))
    ends = [moved[v] for v in graph.outputs]
    return b.finish([_along_each_axis(b, y, [2] * y.type.rank, rng) for y in ends])


def _along_each_axis(b: Builder, x: Value, sizes: Sequence[int], rng: np.random.Generator) -> Value:
    """A dense layer along each axis in turn, with outputs of these sizes."""
    for axis, size in enumerate(sizes):
        rank, read = x.type.rank, x.type.shape[axis]
        perm = tuple(rank - 1 if a == axis else axis if a == rank - 1 else a for a in range(rank))
        weights = rng.uniform(-1, 1, (size, read)) / np.sqrt(read)
        w = b.constant("mix", weights.astype(np.float32))
        turned = b.add(ops.Transpose(perm), x)
        x = b.add(ops.Transpose(perm), b.add(ops.Dense(), turned, w))
    return x
