"""From a TFLite file to a graph."""

from __future__ import annotations

from pathlib import Path

from irprune.frontends.lowering import Unsupported
from irprune.frontends.tflite.call import Call, Scope
from irprune.frontends.tflite.file import MAX_BYTES, ModelFile
from irprune.frontends.tflite.model import TFLiteModel, tflite_model
from irprune.frontends.tflite.table import lowering
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, IrpruneError, UnsupportedOp
from irprune.ir.graph import Graph


def read_tflite(source: Path | bytes, name: str = "") -> Graph:
    """Read a TFLite model, float or quantized to integers.

    Shapes are the file's static ones. A batch that the file leaves open is 1, as the converter
    wrote it; any other open dimension of an input is refused. Types, shapes and quantization are
    inferred from the operators and compared with what the file declares.

    Args:
        source: the file, or its bytes.
        name: what errors and sources call the model; the path where empty.

    Returns:
        A graph in NHWC layout. Values have the tensors' names, and constants are read-only views
        of the file's bytes. Nodes say ``OPERATOR#index`` as their source.

    Raises:
        InvalidModel: the file cannot be read, is damaged or contradicts itself.
        UnsupportedOp: it has operators that irprune does not know, all of them in one message.
    """
    try:
        return _lower(source, name)[0]
    except IrpruneError as error:
        raise error.at(_place(source, name)) from None


def read_tflite_file(source: Path | bytes, name: str = "") -> TFLiteModel:
    """Read a TFLite model with what it takes to plan its memory and to edit its file.

    Args:
        source: the file, or its bytes.
        name: what errors and sources call the model; the path where empty.

    Raises:
        InvalidModel: as ``read_tflite``, or the runtime would keep less of a tensor than it has.
        UnsupportedOp: as ``read_tflite``.
        InvalidPlan: the file has a memory plan that is damaged. One that does not fit the model
            is no error here: ``check_plan`` tells.
    """
    try:
        graph, scope = _lower(source, name)
        return tflite_model(graph, scope)
    except IrpruneError as error:
        raise error.at(_place(source, name)) from None


def _place(source: Path | bytes, name: str) -> str:
    """What errors call a model."""
    return name or (str(source) if isinstance(source, Path) else "model")


def _contents(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidModel(f"has more than {MAX_BYTES} bytes, which the format does not allow")
        return path.read_bytes()
    except OSError as error:
        raise InvalidModel(f"cannot be read: {error.strerror}") from None


def _lower(source: Path | bytes, name: str) -> tuple[Graph, Scope]:
    """The graph, and the values that tensors have become."""
    where = _place(source, name)
    stem = source.stem if isinstance(source, Path) else where
    file = ModelFile(_contents(source) if isinstance(source, Path) else source)
    builder = Builder(name or stem)
    scope = Scope(file, builder)
    for index in file.inputs:
        _add_input(scope, index)
    unsupported = Unsupported()
    sound = True
    for operator in file.operators:
        call = Call(scope, operator, where)
        try:
            lowering(operator)(call)
        except IrpruneError as error:
            if isinstance(error, UnsupportedOp):
                unsupported.add(call.source, error.what)
            elif sound:
                raise error.at(str(call.source)) from None
            # Past the first gap an error may come of the gap: only gaps are told.
            sound = False
            for index in operator.outputs:
                scope.stand_in(index)
    unsupported.raise_if_any(where)
    return builder.finish([scope.value(index) for index in file.outputs]), scope


def _add_input(scope: Scope, index: int) -> None:
    tensor = scope.file.tensor(index)
    if tensor.data is not None:
        raise InvalidModel(f"input '{tensor.name}' is a constant")
    shape = tensor.type.shape
    if any(axis > 0 or shape[:1] != (1,) for axis in tensor.free_axes):
        raise InvalidModel(
            f"input '{tensor.name}' has dimensions without a size",
            hint="convert the model with a fixed input shape",
        )
    value = scope.builder.input(tensor.name, shape, tensor.type.dtype, tensor.type.quant)
    scope.make(index, value)
