"""Pruned models as files of the kind that they came from, and the plans that made them."""

from __future__ import annotations

from pathlib import Path

from irprune.backends.files import expect_writable, write_atomically
from irprune.ir.errors import InvalidPlan, IrpruneError, UsageError
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, loads


def expect_output(path: Path, source: str, *, force: bool = False) -> None:
    """Raise UsageError where ``write_pruned`` would, as far as that can be seen beforehand."""
    if path.suffix == ".tflite" and Path(source).suffix != ".tflite":
        raise UsageError(
            "is written of .tflite files only",
            where=str(path),
            hint="write .onnx, and then irprune compile",
        )
    if path.suffix not in (".onnx", ".tflite"):
        raise UsageError("must end in .onnx or .tflite", where=str(path))
    expect_writable(path, source=Path(source), force=force)


def expect_plan(path: Path, output: Path, source: str) -> None:
    """Raise UsageError where a plan cannot be written there, beside the model that it makes."""
    expect_writable(path, source=Path(source))
    if path.absolute() == output.absolute():
        raise UsageError("--output and --save-plan name the same file", where=str(output))


def write_pruned(graph: Graph, path: Path, source: str, *, force: bool = False) -> None:
    """Write a graph as an ONNX file, or as the TFLite file that it was.

    Args:
        graph: the graph.
        path: the file to write; its suffix decides.
        source: the model that the graph was made from; what an ONNX file says of itself is kept.
        force: whether that file may be overwritten.

    Raises:
        UsageError: the file cannot be written, or not from such a source.
        UnsupportedOp: the file's format has no such operators.
    """
    expect_output(path, source, force=force)
    if path.suffix == ".tflite":
        from irprune.backends.tflite import write_tflite

        write_atomically(path, write_tflite(graph), source=Path(source), force=force)
    else:
        from irprune.backends.onnx import write_onnx

        write_onnx(graph, path, like=Path(source), force=force)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as a JSON file.

    Raises:
        UsageError: the file cannot be written.
    """
    write_atomically(path, plan.dumps().encode())


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file.

    Raises:
        InvalidPlan: the file cannot be read, or holds no plan.
    """
    try:
        return loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidPlan(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise InvalidPlan("is no text", where=str(path), hint="name a .json file") from None
    except IrpruneError as error:
        raise error.at(str(path)) from None
