"""What a model says of its own tensors, and whether it is so."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, ValueInfoProto

from irprune.frontends.onnx.tensors import dtype_of
from irprune.ir.errors import InvalidModel
from irprune.ir.types import DType, dims

Declared = tuple[int | str, ...]
"""Sizes, and the names of those that are left open."""


def declared_shape(value: ValueInfoProto) -> Declared | None:
    """The sizes that the model gives a tensor, '?' for a nameless open one; None for no shape."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or "?"
        for d in tensor.shape.dim
    )


def spelled(shape: Declared) -> str:
    """A declared shape as people write it: ``Nx3x224x224``."""
    return "x".join(map(str, shape)) or "scalar"


class Claims:
    """The declared types of a graph's tensors.

    Args:
        graph: the graph; inputs that are initializers are declared twice.
    """

    def __init__(self, graph: GraphProto) -> None:
        self._said: dict[str, list[ValueInfoProto]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            self._said.setdefault(value.name, []).append(value)

    def check(self, name: str, shape: Sequence[int], dtype: DType) -> None:
        """Raise InvalidModel where what is declared of a tensor is not what it is."""
        for value in self._said.get(name, ()):
            element = value.type.tensor_type.elem_type
            if element and dtype_of(element) != dtype:
                raise InvalidModel(
                    f"'{name}' is declared {dtype_of(element).value} and is {dtype.value}"
                )
            declared = declared_shape(value)
            if declared is not None and not _fits(shape, declared):
                raise InvalidModel(
                    f"'{name}' is declared {spelled(declared)} and is {dims(shape)}",
                    hint="check the shapes that the model was exported with",
                )


def _fits(shape: Sequence[int], declared: Declared) -> bool:
    return len(shape) == len(declared) and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(shape, declared, strict=True)
    )
