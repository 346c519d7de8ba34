"""What the frontends share: naming what is unsupported, and forms that several formats have."""

from __future__ import annotations

from collections.abc import Sequence

from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Source, Value
from irprune.ir.op import Op
from irprune.ir.ops import Reshape, Squeeze, Transpose, Unsqueeze
from irprune.ir.types import Shape


class Unsupported:
    """Collects every operator of a model that has no lowering, to name them all in one error."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, source: Source, what: str) -> None:
        """Note that the node at ``source`` cannot be lowered, and why."""
        self._found.append(f"node '{source.name}': {what}")

    def raise_if_any(self, file: str, hint: str = "") -> None:
        """Raise UnsupportedOp with everything noted; nothing where nothing was."""
        if self._found:
            raise UnsupportedOp("; ".join(self._found), where=file, hint=hint)


def transposition(shape: Shape, order: Sequence[int]) -> Reshape | Transpose:
    """The axes of a shape in a new order; where only axes of size 1 move, a view for free."""
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        return Reshape(tuple(shape[axis] for axis in order))
    return Transpose(tuple(order))


def add_over_width(
    builder: Builder,
    op: Op,
    x: Value,
    weights: Sequence[Value] = (),
    *,
    source: Source,
    output: str = "",
) -> Value:
    """Run a two-dimensional op over a (batch, channel, width) value, with height 1.

    The axes of size 1 come and go as free views.

    Args:
        builder: where the nodes are added.
        op: the op, in NCHW layout, its height attributes neutral.
        x: the value of rank 3.
        weights: further operands, already of the op's rank.
        source: where the op came from.
        output: the output's name; the source's where empty.

    Returns:
        The rank-3 output.
    """
    tall = builder.add(Unsqueeze((2,)), x, name=f"{source.name}.height", source=source)
    y = builder.add(op, tall, *weights, name=f"{source.name}.2d", source=source)
    names = (output or source.name,)
    (flat,) = builder.add_node(Squeeze((2,)), (y,), names=names, name=source.name, source=source)
    return flat
