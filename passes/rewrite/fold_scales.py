from __future__ import annotations

from dataclasses import replace

import numpy as np

from irprune.ir import ops
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.ops.conv import channel_axis
from irprune.ir.types import Array, Shape
from irprune.passes.rewrite.affine import Affine, affine_of
from irprune.passes.rewrite.patterns import activation_of, only_reader

Linear = ops.Conv2d | ops.Dense


def fold_scales(graph: Graph) -> Graph:
    """The graph with constant scales and shifts of channels folded into the layer after them.

    What ``fold_batchnorm`` has left: where nothing linear comes before. A Conv2d that pads takes
    no shift, as its padding would not be shifted.
    """
    edit = Edit(graph)
    changed: set[Node] = set()
    for node in graph.nodes:
        x = node.inputs[0] if node.inputs else None
        if x is None or node in changed or len(node.outputs) != 1:
            continue
        reader = only_reader(graph, node.output)
        if reader is None or reader in changed or not isinstance(reader.op, Linear):
            continue
        axis = _input_axis(reader.op, node.output.type.rank)
        operand = next((v for v in node.inputs if v not in graph.constants), x)
        affine = affine_of(graph, node, operand, axis)
        if affine is None or activation_of(node.op) is not None or operand in graph.constants:
            continue
        operands = _folded(graph, edit, reader, reader.op, affine)
        if operands is None or reader.inputs[0] is not node.output:
            continue
        edit.replace(node)
        edit.replace(reader, replace(reader, inputs=(operand, *operands)))
        changed |= {node, reader}
    return edit.finish()


def _input_axis(op: Linear, rank: int) -> int:
    return channel_axis(op.layout) if isinstance(op, ops.Conv2d) else rank - 1


def _folded(
    graph: Graph, edit: Edit, reader: Node, op: Linear, affine: Affine
) -> tuple[Value, ...] | None:
    """Weights and bias of the reader with the map applied before; None where it cannot be."""
    weights, *bias = (graph.constants.get(value) for value in reader.inputs[1:])
    float_type = reader.output.type.dtype.numpy
    if weights is None or weights.dtype != float_type or any(b is None for b in bias):
        return None
    shifts = affine.shift is not None and bool(np.any(affine.shift))
    if shifts and isinstance(op, ops.Conv2d) and op.padding != ((0, 0), (0, 0)):
        return None
    wide = weights.astype(np.float64)
    names = [value.name for value in reader.inputs[1:]]
    scaled = wide * _of_inputs(affine.scale, op, weights.shape)
    made = [edit.constant(names[0], scaled.astype(float_type))]
    if shifts and affine.shift is not None:
        moved = wide * _of_inputs(affine.shift, op, weights.shape)
        old = 0.0 if not bias or bias[0] is None else bias[0].astype(np.float64)
        whole = old + moved.reshape(len(moved), -1).sum(1)
        name = names[1] if bias else f"{reader.name}.bias"
        made.append(edit.constant(name, whole.astype(float_type)))
    elif bias:
        made.append(reader.inputs[2])
    return tuple(made)


def _of_inputs(numbers: Array, op: Linear, shape: Shape) -> Array:
    """Numbers of input channels, shaped to broadcast over weights of this shape."""
    if numbers.ndim == 0:
        return numbers
    if isinstance(op, ops.Dense):
        return numbers[None, :]
    each = np.repeat(numbers.reshape(op.groups, -1), shape[0] // op.groups, axis=0)
    return each[:, :, None, None] if op.layout == "NCHW" else each[:, None, None, :]
