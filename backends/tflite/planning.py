"""From the schedule and the arena of a graph to the order and the memory plan of its file."""

from __future__ import annotations

from collections.abc import Sequence

from irprune.backends.order import completed
from irprune.backends.tflite.edit import reordered, with_plan
from irprune.frontends.tflite import TFLiteModel, read_tflite_file
from irprune.ir.errors import InvalidPlan
from irprune.passes.analysis.liveness import buffers
from irprune.passes.analysis.offline_plan import check_plan, fill_plan


def scheduled(
    data: bytes, model: TFLiteModel, order: Sequence[int], offsets: Sequence[int] | None = None
) -> bytes:
    """A TFLite file in the order of a schedule, with a memory plan where there are offsets.

    Without, a plan that the file has stays, if it holds in the new order. The plan is checked as
    it is read back from the new file.

    Args:
        data: the file.
        model: what ``read_tflite_file`` says of it.
        order: node positions in the model's graph, as they are to run.
        offsets: bytes from the start of the arena for each buffer of the graph, in the numbering
            of ``liveness.buffers``.

    Raises:
        InvalidPlan: the plan would let tensors overlap that are needed at once.
        UsageError: the order cannot run.
        UnsupportedOp: the file has data behind the flatbuffer, which a plan would move.
    """
    operators = operator_order(model, order)
    edited = reordered(data, operators)
    if offsets is not None:
        edited = with_plan(edited, memory_plan(model, operators, offsets))
    found = read_tflite_file(edited)
    if found.plan is not None:
        try:
            check_plan(found.runtime, found.plan)
        except InvalidPlan as error:
            why = f"in this order, {error.what}"
            raise InvalidPlan(why, hint="write a new plan as well") from None
    return edited


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
            of ``liveness.buffers``; behind them those of ``model.scratch``, if they are known.

    Raises:
        InvalidPlan: the offsets let tensors overlap that are needed at once, as they may where
            they are for another order or for numbers of another width.
    """
    index = buffers(model.graph)
    placed = {t: offsets[index[value]] for value, t in model.tensors.items() if value in index}
    own = len(set(index.values()))
    placed |= dict(zip(model.unpacked, offsets[own:], strict=False))
    return fill_plan(model.runtime, placed, order)
