"""From the schedule and the arena of a graph to the order and the memory plan of its file."""

from __future__ import annotations

from collections.abc import Sequence

from irprune.backends.order import completed
from irprune.frontends.tflite import TFLiteModel
from irprune.passes.analysis.liveness import buffers
from irprune.passes.analysis.offline_plan import fill_plan


def operator_order(model: TFLiteModel, order: Sequence[int]) -> tuple[int, ...]:
    """The order of the file's operators for an order of the graph's nodes.

    An operator that is several nodes runs where the one that is no view does. One that is no node
    runs just before what needs it.

    Args:
        model: the model.
        order: node positions in the model's graph, as they are to run.
    """
    nodes, operations = model.graph.nodes, model.runtime.operations
    maker = {tensor: at for at, operation in enumerate(operations) for tensor in operation.makes}
    needs = [[maker[t] for t in operation.reads if t in maker] for operation in operations]
    views = {at for at, operation in enumerate(operations) if operation.view}
    chosen = (
        model.operators[at]
        for at in order
        if nodes[at].op.alias() is None or model.operators[at] in views
    )
    return completed(chosen, needs)


def memory_plan(
    model: TFLiteModel, order: Sequence[int], offsets: Sequence[int]
) -> tuple[int, ...]:
    """The offset of each tensor of the file, for ``with_plan``.

    Tensors that are in no graph are put where there is room; where there is none, they make the
    arena larger (``plan_size``). What kernels want as scratch memory is not in the plan: the
    runtime puts it around, or behind.

    Args:
        model: the model.
        order: operators of the file, as they will run.
        offsets: bytes from the start of the arena for each buffer of the graph, in the numbering
            of ``liveness.buffers``.

    Raises:
        InvalidPlan: the offsets let tensors overlap that are needed at once, as they may where
            they are for another order or for numbers of another width.
    """
    index = buffers(model.graph)
    placed = {t: offsets[index[value]] for value, t in model.tensors.items() if value in index}
    return fill_plan(model.runtime, placed, order)
