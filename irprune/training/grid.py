"""What the compiler stores of a module as integers, and on which grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from irprune.backends.tflite.table import has_kernel
from irprune.backends.usage import noise
from irprune.frontends.torch_export import Traced
from irprune.ir import ops
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value, values
from irprune.ir.types import Array, DType, Quant
from irprune.passes.analysis.calibration import (
    NOTHING,
    Range,
    activations,
    calibrate,
    real_activations,
)
from irprune.passes.pipeline import deployed, lowering, run
from irprune.passes.rewrite.placing import last_channels
from irprune.passes.rewrite.quantize import quantize
from irprune.passes.rewrite.scales import Layer, completed, shared_quants
from irprune.training.parameters import Parameters
from irprune.training.replay import first_nodes

CLOSE = 1e-4
"""How far two ways to compute a value may be apart, over its largest element."""


@dataclass(frozen=True)
class Weights:
    """A parameter that is stored as symmetric integers.

    Attributes:
        path: the parameter.
        axis: along which each index has a scale; None where there is one for all.
        layer: the layer of the lowered graph that reads it.
    """

    path: str
    axis: int | None
    layer: Node


@dataclass(frozen=True)
class Grid:
    """The activations of a module that the compiler quantizes, and the parameters.

    Attributes:
        lowered: the graph whose activations it quantizes.
        dtype: the type that they get.
        points: of each of them that an operator of the module makes, what it is called in the
            module's graph.
        weights: the parameters.
    """

    lowered: Graph
    dtype: DType
    points: Mapping[Value, str]
    weights: tuple[Weights, ...]

    def makers(self) -> Mapping[str, Weights]:
        """Of points that a layer makes, by their names, its weights.

        Only of layers that read what follows from points, too: of others, in the midst of an
        operator of the module, what they read has no quantization yet.
        """
        known = completed(self.lowered, dict.fromkeys(self.points, NOTHING)).keys()
        makers = {w.layer.output: w for w in self.weights if w.layer.inputs[0] in known}
        return {name: makers[value] for value, name in self.points.items() if value in makers}

    def completed(self, ranges: Mapping[str, Range]) -> Mapping[str, Range]:
        """The ranges of the lowered graph's activations, by their names, as far as they follow.

        They do for what the module computes, and for what follows from that.
        """
        known = {value: ranges[name] for value, name in self.points.items()}
        return {value.name: found for value, found in completed(self.lowered, known).items()}

    def quants(self, ranges: Mapping[str, Range]) -> Mapping[Value, Quant]:
        """The quantization that the compiler chooses for the lowered graph's activations."""
        given = {
            value: ranges[self.points[value]] if value in self.points else NOTHING
            for value in real_activations(self.lowered)
        }
        return shared_quants(self.lowered, given, self.dtype)


def grid_of(traced: Traced, dtype: DType) -> Grid:
    """The grid of a traced module.

    Raises:
        UsageError: weights are computed from parameters, or quantization is not possible.
    """
    graph = traced.graph
    lowered = lower(graph)
    sample = noise(graph)
    ranges = calibrate(lowered, [placed(sample, graph, lowered)], dtype=dtype)
    quantized = quantize(lowered, ranges, dtype, has_kernel=has_kernel)
    stored = {value.name for value in values(quantized) if value.type.quant is not None}
    same = _same(graph, lowered, sample, first_nodes(traced))
    return Grid(
        lowered,
        dtype,
        {value: name for value, name in same.items() if value.name in stored},
        tuple(_weights(traced, lowered, quantized)),
    )


def lower(graph: Graph) -> Graph:
    """The graph whose activations the compiler quantizes."""
    return run(deployed(graph), lowering())


def placed(sample: Sequence[Array], graph: Graph, lowered: Graph) -> list[Array]:
    """A sample for a graph as its lowered form takes it: images with their channels last."""
    pairs = zip(sample, graph.inputs, lowered.inputs, strict=True)
    return [x if before is after else _moved(x) for x, before, after in pairs]


def _moved(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(last_channels(array.ndim)))


def _same(
    graph: Graph, lowered: Graph, sample: Sequence[Array], names: Collection[str]
) -> Mapping[Value, str]:
    """Of values of the lowered graph what they are called in the other, if that is a given name.

    They are known by their numbers: rewrites make values that have other names, and where a scale
    moves on to the next layer other numbers under the same name.
    """
    made: dict[int, list[tuple[str, Array]]] = {}
    for value, array in activations(graph, sample):
        if value.name in names:
            made.setdefault(array.size, []).append((value.name, array))
    found = {}
    for value, array in activations(lowered, placed(sample, graph, lowered)):
        flat = array.reshape(-1)
        atol = CLOSE * float(np.abs(flat).max(initial=0.0))
        equal = [
            name
            for name, other in made.get(flat.size, ())
            if np.allclose(flat, other.reshape(-1), 0, atol)
            or np.allclose(flat, _moved(other).reshape(-1), 0, atol)
        ]
        if equal:
            found[value] = value.name if value.name in equal else equal[0]
    return found


def _weights(traced: Traced, lowered: Graph, quantized: Graph) -> list[Weights]:
    """The parameters that become the weights of a quantized graph."""
    quants = {
        node.name: node.inputs[1].type.quant
        for node in quantized.nodes
        if isinstance(node.op, Layer) and node.inputs[1].type.quant is not None
    }
    # Weights behind a flattening are moved, and have another name, which their layer has not.
    layers: dict[str, Node] = {}
    for node in lowered.nodes:
        if isinstance(node.op, Layer) and node.name in quants:
            layers[node.inputs[1].name] = layers[node.name] = node
    own = [node for node in traced.graph.nodes if isinstance(node.op, Layer)]
    readers = {node.inputs[1]: node.name for node in own}
    parameters = Parameters(traced)
    found = []
    for value in traced.graph.constants:
        layer = layers.get(value.name) or layers.get(readers.get(value, ""))
        if layer is None:
            continue
        quant = quants[layer.name]
        outputs = 1 if isinstance(layer.op, ops.ConvTranspose2d) else 0
        count = value.type.shape[outputs]
        for path, axis, slots in parameters.along(value, outputs, torch.arange(count), count):
            if len(set(slots.tolist())) < len(slots):
                raise UsageError(
                    f"the output channels of '{path}' are not along one axis of it",
                    hint="let the layers that read it be of one group",
                )
            found.append(Weights(path, None if quant.axis is None else axis, layer))
    return found
