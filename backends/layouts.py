"""In which layout a model takes and gives its images."""

from __future__ import annotations

from irprune.ir.graph import Graph, Value, producers, readers
from irprune.ir.ops import Transpose
from irprune.ir.ops.conv import Layout
from irprune.ir.types import Shape


def layout_of(graph: Graph, value: Value) -> Layout | None:
    """The layout of the first operator that has one on the way from an input or to an output.

    What lies between are operators that keep the rank and the order of axes. None where there is
    no such operator: then the value is no image.
    """
    seen, front = {value}, [value]
    while front:
        nodes = {node for v in front for node in readers(graph)[v]}
        nodes |= {producers(graph)[v] for v in front if v in producers(graph)}
        found = sorted({node.op.layout for node in nodes if hasattr(node.op, "layout")})
        if found:
            layout: Layout = found[0]
            return layout
        beside = (
            v
            for node in nodes
            if not isinstance(node.op, Transpose)
            for v in (*node.inputs, *node.outputs)
        )
        front = [
            v
            for v in dict.fromkeys(beside)
            if v.type.rank == value.type.rank and v not in seen and v not in graph.constants
        ]
        seen.update(front)
    return None


def has_channels_last(graph: Graph, value: Value) -> bool:
    """Whether an input takes images as height x width x channels."""
    layout = layout_of(graph, value)
    if layout is not None:
        return layout == "NHWC"
    return _counts_channels(value.type.shape, -1) and not _counts_channels(value.type.shape, 1)


def _counts_channels(shape: Shape, axis: int) -> bool:
    """Whether an axis is as long as an image has channels."""
    return len(shape) == 4 and shape[axis] in (1, 3)
