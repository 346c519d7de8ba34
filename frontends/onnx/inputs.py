"""Shapes of a model's inputs: what it declares, and what the caller says of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ValueInfoProto

from irprune.frontends.onnx.claims import Declared, declared_shape, spelled
from irprune.frontends.onnx.tensors import dtype_of
from irprune.ir.errors import UsageError
from irprune.ir.types import DType, Shape, dims


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the graph, settled."""

    name: str
    shape: Shape
    dtype: DType


def settled_inputs(graph: GraphProto, shapes: Mapping[str, Shape]) -> tuple[Input, ...]:
    """The graph's inputs, those that are initializers left out.

    Args:
        graph: the graph.
        shapes: shapes by input name, for open dimensions.

    Raises:
        UsageError: dimensions are open and no shape is given, or a given one contradicts the
            model; every open dimension is named.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    unknown = shapes.keys() - {value.name for value in inputs}
    if unknown:
        names = ", ".join(f"'{value.name}'" for value in inputs) or "none"
        raise UsageError(f"has no input '{min(unknown)}'", hint=f"its inputs are {names}")
    _refuse_open(inputs, shapes)
    sizes: dict[str, int] = {}
    settled = []
    for value in inputs:
        shape = _agreed(value, shapes.get(value.name), sizes)
        settled.append(Input(value.name, shape, dtype_of(value.type.tensor_type.elem_type)))
    return tuple(settled)


def _refuse_open(inputs: Sequence[ValueInfoProto], shapes: Mapping[str, Shape]) -> None:
    """Raise UsageError where an input without a given shape has an open dimension."""
    problems, options = [], []
    for value in inputs:
        shape = declared_shape(value)
        if value.name in shapes or (shape is not None and _open(shape) == []):
            continue
        if shape is None:
            problems.append(f"input '{value.name}' has no declared shape")
            options.append(f"--shape {value.name}=1x3x96x96")
        else:
            names = ", ".join(f"'{name}'" for name in _open(shape))
            problems.append(f"input '{value.name}' of {spelled(shape)} leaves {names} open")
            options.append(f"--shape {value.name}={spelled(_example(shape))}")
    if problems:
        raise UsageError("; ".join(problems), hint=f"say, for example, {' '.join(options)}")


def _agreed(value: ValueInfoProto, given: Shape | None, sizes: dict[str, int]) -> Shape:
    """The input's shape; ``sizes`` remembers what each named dimension has been."""
    shape = declared_shape(value)
    if given is None:
        given = tuple(size for size in shape or () if isinstance(size, int))
    if shape is None:
        return given
    fits = len(given) == len(shape) and all(
        size == wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size) == size
        for size, wanted in zip(given, shape, strict=True)
        if wanted != "?"
    )
    if not fits:
        raise UsageError(
            f"input '{value.name}' is {spelled(shape)}, not {dims(given)}",
            hint="give sizes to its open dimensions alone, one to each name",
        )
    return given


def _open(shape: Declared) -> list[str]:
    return [size for size in shape if isinstance(size, str)]


def _example(shape: Declared) -> Declared:
    """A shape that could be meant: batch 1, and 96 pixels where the size is open."""
    return tuple(
        size if isinstance(size, int) else 1 if axis == 0 else 96 for axis, size in enumerate(shape)
    )
