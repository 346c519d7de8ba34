from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from irprune.ir import ops
from irprune.ir.arrays import held
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.op import Op, normalize_axis
from irprune.ir.ops.conv import channel_axis
from irprune.ir.types import Array, Shape
from irprune.passes.rewrite.affine import ONE, Affine, affine_of, axis_after
from irprune.passes.rewrite.patterns import activation_of, only_reader

Linear = ops.Conv2d | ops.ConvTranspose2d | ops.Dense | ops.BatchNorm
"""Operators whose second operand multiplies, and whose third (if there is one) is added."""


def fold_batchnorm(graph: Graph) -> Graph:
    """The graph with constant scales and shifts of channels folded into the operator before them.

    Scales and shifts are BatchNorm, and Mul, Div, Add, Sub and Neg with one constant a channel, in
    any sequence. They go into weights and bias (made where there is none) of a Conv2d,
    ConvTranspose2d or Dense; or into a BatchNorm that has nothing to be folded into itself. Views
    and transposes that keep channels whole may lie between. An activation between, another reader
    or a graph output ends the sequence. New weights keep the names of the old.
    """
    edit = Edit(graph)
    constants = _Constants(graph, edit)
    folded: set[Node] = set()
    for node in graph.nodes:
        if not isinstance(node.op, Linear) or node in folded or not constants.holds(node):
            continue
        chain = _chain(graph, node, node.op)
        if not chain.links:
            continue
        op = replace(node.op, activation=activation_of(chain.links[-1].node.op))
        operands = constants.folded(node, node.op, chain.affine)
        edit.replace(node, replace(node, op=op, inputs=operands))
        for link in chain.links:
            edit.replace(link.node)
            edit.redirect(link.operand, link.node.output)
            folded.add(link.node)
    return edit.finish()


@dataclass(frozen=True)
class _Link:
    """A node that scales and shifts, and which of its operands."""

    node: Node
    operand: Value


@dataclass(frozen=True)
class _Chain:
    """Nodes that scale and shift one after another, and what they come to."""

    links: tuple[_Link, ...]
    affine: Affine


def _chain(graph: Graph, start: Node, op: Linear) -> _Chain:
    """What can be folded into ``start``; no links where nothing can."""
    value, axis = start.output, _output_axis(op, start.output.type.rank)
    links: list[_Link] = []
    affine = Affine(ONE)
    last: Op = op
    while activation_of(last) is None:
        node = only_reader(graph, value)
        if node is None or len(node.outputs) > 1:
            break
        moved = axis_after(node, axis)
        if moved is None:
            step = affine_of(graph, node, value, axis)
            if step is None:
                break
            links.append(_Link(node, value))
            affine, last = affine.then(step), node.op
        else:
            axis = moved
        value = node.output
    return _Chain(tuple(links), affine)


def _output_axis(op: Linear, rank: int) -> int:
    match op:
        case ops.Conv2d(layout=layout) | ops.ConvTranspose2d(layout=layout):
            return channel_axis(layout)
        case ops.Dense():
            return rank - 1
        case ops.BatchNorm(axis=axis):
            return normalize_axis(axis, rank)


class _Constants:
    """Makes folded weights and biases; nodes that shared them and scale alike share the new."""

    def __init__(self, graph: Graph, edit: Edit) -> None:
        self._arrays = graph.constants
        self._edit = edit
        self._made: dict[tuple[object, ...], Value] = {}

    def holds(self, node: Node) -> bool:
        """Whether what the node multiplies with and adds are constants, in its own float type."""
        return all(
            value in self._arrays and value.type.dtype == node.output.type.dtype
            for value in node.inputs[1:3]
        )

    def folded(self, node: Node, op: Linear, affine: Affine) -> tuple[Value, ...]:
        """The node's operands with the map applied to what it makes of them."""
        x, weights, *others = node.inputs
        operands = [x, self._scaled(weights, op, affine)]
        if others or affine.shift is not None:
            operands.append(self._shifted(node, others[0] if others else None, op, affine))
        return (*operands, *others[1:])

    def _scaled(self, weights: Value, op: Linear, affine: Affine) -> Value:
        scale = _along_outputs(op, affine.scale, weights.type.shape)
        key = (weights, scale.shape, scale.tobytes())
        if key not in self._made:
            part = held(self._arrays[weights])
            array = np.empty(np.broadcast_shapes(part.shape, scale.shape), part.dtype)
            np.multiply(part, scale, out=array, casting="same_kind")
            whole = np.broadcast_to(array, weights.type.shape)
            self._made[key] = self._edit.constant(weights.name, whole)
        return self._made[key]

    def _shifted(self, node: Node, bias: Value | None, op: Linear, affine: Affine) -> Value:
        t = node.output.type
        before = np.zeros(()) if bias is None else self._arrays[bias].astype(np.float64)
        whole = np.broadcast_to(affine.shifted(before), t.shape[_output_axis(op, t.rank)]).astype(
            t.dtype.numpy
        )
        name = f"{node.name}.bias" if bias is None else bias.name
        key = (bias, name, whole.tobytes())
        if key not in self._made:
            self._made[key] = self._edit.constant(name, whole)
        return self._made[key]


def _along_outputs(op: Linear, scale: Array, shape: Shape) -> Array:
    """The scale of each output channel, shaped to broadcast over weights of this shape."""
    if scale.ndim == 0:
        return scale
    if isinstance(op, ops.ConvTranspose2d) and op.layout == "NCHW":
        inputs, outputs = shape[:2]
        of_group = scale.reshape(op.groups, 1, outputs)
        spread = np.broadcast_to(of_group, (op.groups, inputs // op.groups, outputs))
        return spread.reshape(inputs, outputs, 1, 1)
    return scale.reshape(-1, *(1,) * (len(shape) - 1))
