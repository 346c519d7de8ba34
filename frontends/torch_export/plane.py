"""Windows over one or two spatial dimensions, as the IR's of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from irprune.frontends.lowering import add_over_width
from irprune.frontends.torch_export.call import Call, Operand, shape_of
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import Squeeze, Unsqueeze

T = TypeVar("T")


def planar(numbers: Sequence[T], spatial: int, neutral: T) -> tuple[T, T]:
    """An attribute for height and width.

    Args:
        numbers: one for each spatial dimension, or one for all.
        spatial: how many spatial dimensions there are; with one, the height is neutral.
        neutral: what leaves a dimension of size 1 as it is.
    """
    if spatial == 1:
        return neutral, numbers[0]
    return numbers[0], numbers[-1]


def over_plane(call: Call, op: Op, x: Operand, spatial: int, *weights: Operand) -> Value:
    """Add a two-dimensional op over one or two spatial dimensions, batched or not.

    Args:
        call: the call that is lowered.
        op: the op in NCHW layout, made with ``planar`` attributes.
        x: of rank ``spatial + 2``, or one less without a batch axis.
        spatial: the number of spatial dimensions.
        weights: further operands, already of the op's rank.
    """
    batched = len(shape_of(x)) == spatial + 2
    batch = call.value(x) if batched else call.add(Unsqueeze((0,)), x)
    if spatial == 1:
        values = [call.value(w) for w in weights]
        y = add_over_width(call.builder, op, batch, values, source=call.source)
    else:
        y = call.add(op, batch, *weights)
    return y if batched else call.add(Squeeze((0,)), y)
