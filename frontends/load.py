"""Choose the frontend for whatever was given."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irprune.ir.errors import InvalidModel, IrpruneError, UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import DType, Shape, TensorType
from irprune.ir.verify import verify

if TYPE_CHECKING:
    from irprune.frontends.tflite import TFLiteModel

MAX_FILE = 2**31
"""Protocol buffers and flatbuffers both end at 2 GiB."""


def load(
    source: object,
    example_inputs: tuple[Any, ...] | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> Graph:
    """Read a model into a graph.

    Args:
        source: a path to an ``.onnx`` or ``.tflite`` file; ``zoo:NAME?key=value&...``, a reference
            architecture with random weights, the same each time; ``package.module:factory``, a
            callable that gives a torch module, or a module and its example inputs; or an object:
            ``torch.nn.Module``, torch ``ExportedProgram``, ``onnx.ModelProto``.
        example_inputs: what a torch module is called with; shapes matter, values do not.
        shapes: shapes of inputs by name, for an ONNX file's symbolic dimensions and for the
            arguments of the ``forward`` that a torch factory's module has.

    Returns:
        A verified graph, named as it was asked for: the path, or the module's class.

    Raises:
        InvalidModel: the file is damaged or is no model.
        UnsupportedOp: operators that irprune does not know, all of them.
        UsageError: something more must be said, such as the shape of an input.
    """
    graph = _read(source, example_inputs, shapes or {})
    if isinstance(source, str | os.PathLike):
        graph = replace(graph, name=str(source))
    try:
        verify(graph)
    except IrpruneError as error:
        raise error.at(graph.name) from None
    return graph


def load_packed(source: str) -> TFLiteModel | None:
    """The file of a model whose weights the device unpacks; None of any other.

    The graph that ``load`` makes of it has them unpacked, and says nothing of it.

    Args:
        source: as ``load`` takes it.
    """
    path = Path(source)
    if not path.is_file() or _head(path)[4:8] != b"TFL3":
        return None
    from irprune.frontends.tflite import read_tflite_file

    model = read_tflite_file(path, source)
    return model if model.unpacked else None


def _read(
    source: object, example_inputs: tuple[Any, ...] | None, shapes: Mapping[str, Shape]
) -> Graph:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.nn.Module | torch.export.ExportedProgram):
        from irprune.frontends.torch_export import read_torch

        _expect_no_shapes(shapes, type(source).__name__, "its example inputs have their shapes")
        return read_torch(source, example_inputs)
    if example_inputs is not None:
        raise UsageError("example inputs are for a torch module", hint="give none")
    if source == "":
        raise UsageError("the model's name is empty", hint="name a file, or zoo:NAME")
    if isinstance(source, str) and source.startswith("zoo:"):
        _expect_no_shapes(shapes, source, "write zoo:NAME?input=3x96x96, without the batch")
        return _read_zoo(source)
    if isinstance(source, str) and ":" in source and not Path(source).exists():
        _require_torch(source)
        from irprune.frontends.torch_export import read_factory

        return read_factory(source, shapes)
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source), shapes)
    onnx = sys.modules.get("onnx")
    if onnx is not None and isinstance(source, onnx.ModelProto):
        from irprune.frontends.onnx import read_onnx

        return read_onnx(source, shapes)
    raise UsageError(
        f"cannot read a model from {type(source).__name__}",
        hint="give a path, a torch module, an ExportedProgram or an onnx ModelProto",
    )


def _read_file(path: Path, shapes: Mapping[str, Shape]) -> Graph:
    head = _head(path)
    if path.suffix == ".tflite" or head[4:8] == b"TFL3":
        from irprune.frontends.tflite import read_tflite

        _expect_no_shapes(shapes, str(path), "a TFLite file has its own")
        return read_tflite(path)
    if path.suffix == ".onnx":
        from irprune.frontends.onnx import read_onnx

        return read_onnx(path, shapes)
    raise InvalidModel(
        "neither .onnx nor .tflite", where=str(path), hint="irprune reads files of these two kinds"
    )


def _head(path: Path) -> bytes:
    """The first bytes of a model file, after a look at whether it may be read at all."""
    try:
        size = path.stat().st_size
        if not path.is_file():  # to open a pipe would be to wait for somebody to write
            kind = "a directory" if path.is_dir() else "no regular file"
            raise InvalidModel(f"is {kind}", where=str(path), hint="name a model file")
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InvalidModel(
            f"cannot be read: {error.strerror}", where=str(path), hint="check the path"
        ) from None
    if size > MAX_FILE:
        raise InvalidModel(f"has {size} bytes, more than the format allows", where=str(path))
    if not head:
        raise InvalidModel("is empty", where=str(path))
    return head


def _expect_no_shapes(shapes: Mapping[str, Shape], where: str, hint: str) -> None:
    if shapes:
        raise UsageError("takes no shapes of inputs", where=where, hint=hint)


def _read_zoo(spec: str) -> Graph:
    _require_torch(spec)
    from irprune import zoo
    from irprune.frontends.torch_export import read_torch

    try:
        module, example_inputs = zoo.from_spec(spec.removeprefix("zoo:"))
    except ValueError as error:
        raise UsageError(str(error), where=spec) from None
    return read_torch(module, example_inputs)


def load_module(spec: str) -> tuple[Any, object]:
    """A torch module to train, and its example inputs; None where they are not known.

    Args:
        spec: ``zoo:NAME?key=value&...``, with weights that torch's global generator decides, or
            ``package.module:factory``, what gives a module or a module and its example inputs.

    Raises:
        UsageError: it is neither.
        InvalidModel: a factory's code fails.
    """
    _require_torch(spec)
    from irprune import zoo
    from irprune.frontends.torch_export import made_module

    if not spec.startswith("zoo:"):
        return made_module(spec)
    try:
        name, parameters = zoo.parse_spec(spec.removeprefix("zoo:"))
        return zoo.build(name, **parameters)
    except ValueError as error:
        raise UsageError(str(error), where=spec) from None


def _require_torch(spec: str) -> None:
    if importlib.util.find_spec("torch") is None:
        raise UsageError("needs PyTorch", where=spec, hint="pip install 'irprune[torch]'")


def parse_shapes(texts: Iterable[str]) -> dict[str, Shape]:
    """The shapes of inputs by name, each from a text such as ``name=1x3x96x96``.

    Raises:
        UsageError: a text is no shape, or an input is named twice.
        InvalidType: a shape has more elements than a tensor may have.
    """
    shapes: dict[str, Shape] = {}
    for text in texts:
        name, shape = _parse_shape(text)
        if name in shapes:
            raise UsageError(f"the shape of '{name}' is given twice", hint="give it once")
        shapes[name] = shape
    return shapes


def _parse_shape(text: str) -> tuple[str, Shape]:
    name, _, sizes = text.rpartition("=")
    # Python itself reads no number of some thousand digits.
    if not name or not re.fullmatch(r"\d{1,99}(x\d{1,99})*", sizes, re.ASCII):
        raise UsageError(f"'{text}' is no shape", hint="write input=1x3x96x96")
    shape = tuple(map(int, sizes.split("x")))
    if 0 in shape:
        raise UsageError(f"'{text}' has nothing in it", hint="write input=1x3x96x96")
    try:
        return name, TensorType(shape, DType.F32).shape
    except IrpruneError as error:
        raise error.at(text) from None
