"""The runtimes that models are compared in, behind one face."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from irprune.backends.reference import run
from irprune.backends.tflite.footprint import Footprint, footprint
from irprune.frontends.load import load
from irprune.frontends.tflite import read_tflite
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Array, Bytes, Shape

SPARE = 2**20
"""Bytes of arena that TFLite-Micro is given beside what it is known to take."""


class Kind(StrEnum):
    """The runtimes."""

    tflm = "tflm"
    litert = "litert"
    onnxruntime = "onnxruntime"
    reference = "reference"


class Runtime(ABC):
    """A model in a runtime.

    Attributes:
        kind: which runtime.
        graph: the model as irprune reads it; its inputs and outputs are the runtime's.
    """

    kind: Kind

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for an array for each input, of the model's types.

        Raises:
            UsageError: the runtime refuses to run the model.
        """
        with _refusals(self.kind, self.graph.name):
            return self._run(arrays)

    @abstractmethod
    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs; with the runtime's own errors."""


class Reference(Runtime):
    """irprune's own interpreter."""

    kind = Kind.reference

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        return list(run(self.graph, arrays))


class OnnxRuntime(Runtime):
    """onnxruntime on the CPU."""

    kind = Kind.onnxruntime

    def __init__(self, path: Path, graph: Graph) -> None:
        super().__init__(graph)
        package = _package("onnxruntime")
        options = package.SessionOptions()
        options.log_severity_level = 4
        self._session = package.InferenceSession(path, options)

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        names = [value.name for value in self.graph.inputs]
        found: list[Array] = self._session.run(None, dict(zip(names, arrays, strict=True)))
        return found


class LiteRT(Runtime):
    """LiteRT with its reference kernels."""

    kind = Kind.litert

    def __init__(self, path: Path, graph: Graph) -> None:
        super().__init__(graph)
        package = _package("ai_edge_litert.interpreter")
        self._interpreter = package.Interpreter(
            model_content=path.read_bytes(),
            experimental_op_resolver_type=package.OpResolverType.BUILTIN_REF,
        )
        self._interpreter.allocate_tensors()

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        details = self._interpreter.get_input_details()
        for detail, array in zip(details, arrays, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return [self._interpreter.get_tensor(detail["index"]) for detail in outputs]


class Micro(Runtime):
    """TFLite-Micro, its tensors where the file's plan or its own planner puts them."""

    kind = Kind.tflm

    def __init__(self, path: Path, graph: Graph) -> None:
        super().__init__(graph)
        package = _package("tflite_micro.python.tflite_micro.runtime")
        data = path.read_bytes()
        self._interpreter = package.Interpreter.from_bytes(
            data, arena_size=footprint(data).total + SPARE
        )

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        for index, array in enumerate(arrays):
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(i) for i in range(len(self.graph.outputs))]

    @cached_property
    def arena(self) -> Footprint:
        """What it has taken of its arena; it prints that past Python."""
        text = stderr_of(self._interpreter.print_allocations)
        parts = dict(re.findall(r"Arena allocation (\w+) (\d+) b", text))
        head, tail = (Bytes(int(parts[name])) for name in ("head", "tail"))
        return Footprint(head, tail, setup=Bytes(0))  # which it does not tell


_RUNTIMES: Mapping[str, Mapping[Kind, Callable[[Path, Graph], Runtime]]] = {
    ".onnx": {Kind.onnxruntime: OnnxRuntime},
    ".tflite": {Kind.tflm: Micro, Kind.litert: LiteRT},
}
"""What runs a file, by its suffix; the first unless another is asked for."""


def open_runtime(
    model: str, wanted: Kind | None = None, shapes: Mapping[str, Shape] | None = None
) -> Runtime:
    """A model in the runtime that is asked for, if it takes the model, or in its natural one.

    Args:
        model: as ``frontends.load.load`` takes it.
        wanted: the runtime.
        shapes: the shapes of inputs.

    Raises:
        UsageError: the runtime's package is not installed, or it refuses the model.
    """
    path = Path(model)
    suffix = path.suffix.lower() if path.is_file() else ""
    graph = read_tflite(path, model) if suffix == ".tflite" else load(model, shapes=shapes)
    kinds = _RUNTIMES.get(suffix, {})
    if wanted is Kind.reference or not kinds:
        return Reference(graph)
    kind = wanted if wanted is not None and wanted in kinds else next(iter(kinds))
    with _refusals(kind, model):
        return kinds[kind](path, graph)


@contextmanager
def _refusals(kind: Kind, model: str) -> Iterator[None]:
    """Say of a runtime's errors which model it does not take."""
    errors: tuple[type[Exception], ...] = (RuntimeError, ValueError)
    if kind is Kind.onnxruntime:
        state = _package("onnxruntime.capi.onnxruntime_pybind11_state")
        own = (found for found in vars(state).values() if isinstance(found, type))
        errors += tuple(found for found in own if issubclass(found, Exception))
    try:
        yield
    except errors as error:
        why = str(error).splitlines()[0] if str(error) else "no reason given"
        raise UsageError(f"{kind} refuses it: {why}", where=model) from None


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        first = name.split(".", maxsplit=1)[0]
        raise UsageError(
            f"{first} is not installed", hint="pip install 'irprune[runtime]'"
        ) from None


def stderr_of(function: Callable[[], Any]) -> str:
    """What a call writes to the file descriptor 2."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            function()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        return file.read().decode(errors="replace")
