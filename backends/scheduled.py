"""Model files in the order of their schedules, with a memory plan where the runtime takes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from irprune.backends.files import expect_writable, write_atomically
from irprune.frontends.load import load
from irprune.frontends.tflite import TFLiteModel, read_tflite_file
from irprune.ir.errors import IrpruneError, UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes, Shape
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.analysis.memory import Memory
from irprune.passes.analysis.offline_plan import RUNTIME, check_plan, plan_size
from irprune.passes.pipeline import deployed


@dataclass(frozen=True)
class Source:
    """A model to schedule, and what it was read from.

    Attributes:
        graph: what the device runs: a TFLite file's own operators; of other models the form that
            would be deployed.
        precision: how wide its numbers are unless somebody says otherwise.
        path: the file; None where the model came from none.
        shapes: the shapes with which it was read.
        tflite: the file's own tensors and operators; None for other files.
    """

    graph: Graph
    precision: Precision
    path: Path | None
    shapes: Mapping[str, Shape]
    tflite: TFLiteModel | None

    @property
    def planned(self) -> Bytes | None:
        """Bytes that the memory plan in the file takes; None where it has none.

        Raises:
            InvalidPlan: the plan would let tensors overwrite each other.
        """
        if self.tflite is None or self.tflite.plan is None:
            return None
        try:
            check_plan(self.tflite.runtime, self.tflite.plan)
        except IrpruneError as error:
            raise error.at(str(self.path)) from None
        return _planned(self.tflite)


def open_source(model: str, shapes: Mapping[str, Shape]) -> Source:
    """Read a model as ``frontends.load.load`` does, but a TFLite file as the device runs it."""
    graph = load(model, shapes=shapes)
    path = Path(model) if Path(model).is_file() else None
    if path is None or path.suffix.lower() != ".tflite":
        graph = deployed(graph)
        return Source(graph, default_precision(graph), path, shapes, None)
    tflite = read_tflite_file(path)
    return Source(replace(tflite.graph, name=model), Precision.MODEL, path, shapes, tflite)


def check_output(source: Source, path: Path | None, *, plan: bool, force: bool) -> None:
    """Raise UsageError unless the source can be written there in another order."""
    if plan and (path is None or source.tflite is None):
        raise UsageError("a plan goes into a .tflite file", hint="name it with -o")
    if path is None:
        return
    if source.path is None:
        raise UsageError(
            f"'{source.graph.name}' is no file whose operators could be reordered",
            hint="-o goes with an .onnx or .tflite model",
        )
    if path.suffix.lower() != source.path.suffix.lower():
        raise UsageError(f"must end in {source.path.suffix}, as the model does", where=str(path))
    expect_writable(path, source=source.path, force=force)


def write_scheduled(
    source: Source, memory: Memory, path: Path, *, plan: bool, force: bool
) -> Bytes | None:
    """Write the source's file in the order of a schedule, with all else as it was.

    Args:
        source: the model.
        memory: the schedule and arena of its graph.
        path: the file to write.
        plan: whether to put the arena into the file.
        force: whether the source may be overwritten.

    Returns:
        Bytes that the plan in the written file takes; None where it has none.

    Raises:
        UsageError: the source would be overwritten, or the file cannot be written.
        InvalidPlan: a plan that is in the file already does not hold in the new order; or the
            arena is for numbers of another width than the file's.
    """
    assert source.path is not None  # as check_output demands
    if source.tflite is None:
        from irprune.backends.onnx import write_reordered

        write_reordered(
            source.path,
            path,
            source.graph,
            memory.schedule.order,
            memory.precision,
            shapes=source.shapes,
            force=force,
        )
        return None
    from irprune.backends.tflite import scheduled

    offsets = memory.arena.offsets if plan else None
    try:
        data = scheduled(source.path.read_bytes(), source.tflite, memory.schedule.order, offsets)
    except IrpruneError as error:
        raise error.at(str(source.path)) from None
    write_atomically(path, data, source=source.path, force=force)
    return _planned(read_tflite_file(data))


def _planned(model: TFLiteModel) -> Bytes | None:
    """Bytes that a file's memory plan takes; None where it leaves all to the runtime."""
    if model.plan is None or all(offset == RUNTIME for offset in model.plan):
        return None
    return plan_size(model.runtime, model.plan)
