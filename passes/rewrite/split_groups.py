from __future__ import annotations

import numpy as np

from irprune.ir import ops
from irprune.ir.attributes import with_attributes
from irprune.ir.graph import Graph
from irprune.passes.rewrite.formula import Formula, spell


def split_groups(graph: Graph) -> Graph:
    """The graph with each group of a transposed convolution apart, as TFLite has no groups there.

    Weights that are computed, or quantized one scale a channel, are left alone.
    """
    return spell(graph, {ops.ConvTranspose2d: _split})


def _split(f: Formula) -> None:
    op, (x, *operands) = f.node.op, f.node.inputs
    assert isinstance(op, ops.ConvTranspose2d)
    arrays = [f.array(value) for value in operands]
    per_axis = any(v.type.quant is not None and v.type.quant.axis is not None for v in operands)
    if op.groups == 1 or per_axis or any(array is None for array in arrays):
        return
    parts = f.add_several(ops.Split(1, (x.type.shape[1] // op.groups,) * op.groups), x)
    single = with_attributes(op, groups=1)
    of_groups = [np.split(array, op.groups) for array in arrays if array is not None]
    made = [
        f.add(
            single,
            part,
            *(
                f.constant(value.name, pieces[group], value.type.quant)
                for value, pieces in zip(operands, of_groups, strict=True)
            ),
        )
        for group, part in enumerate(parts)
    ]
    f.end(ops.Concat(1), *made)
