"""Small TFLite files for tests, written with LiteRT's object API, and TFLite-Micro to run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter as lite
from ai_edge_litert import schema_py_generated as schema
from tflite_micro.python.tflite_micro import runtime

from irprune.ir.types import Array

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


class TFLiteFile:
    """Collects tensors and operators of one subgraph, then gives the bytes of a file."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        shape: Sequence[int],
        dtype: type = np.float32,
        *,
        data: Array | None = None,
        scale: Sequence[float] | Array | float | None = None,
        zero_point: Sequence[int] | int = 0,
        axis: int = 0,
        signature: Sequence[int] | None = None,
        name: str = "",
    ) -> int:
        """The index of a new tensor: a constant where it has data."""
        tensor = schema.TensorT()
        tensor.name = name or f"t{len(self.graph.tensors)}"
        tensor.shape, tensor.shapeSignature = list(shape), signature
        tensor.type = TYPES[np.dtype(dtype)]
        tensor.hasRank = True
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32)).tolist()
            quantization = schema.QuantizationParametersT()
            quantization.scale = scales
            quantization.zeroPoint = (
                [zero_point] * len(scales) if isinstance(zero_point, int) else list(zero_point)
            )
            quantization.quantizedDimension = axis
            tensor.quantization = quantization
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, data: Array, **quantization: Any) -> int:
        """The index of a new constant."""
        return self.tensor(data.shape, data.dtype.type, data=data, **quantization)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        version: int = 1,
        **fields: Any,
    ) -> None:
        """Add an operator; ``fields`` are those of its options, as the object API names them."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options:
            table = getattr(schema, options + "T")()
            for field, value in fields.items():
                assert hasattr(table, field), f"{options} has no {field}"
                setattr(table, field, value)
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        self.graph.operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class Micro:
    """TFLite-Micro with a model in it, keeping every tensor."""

    def __init__(self, model: bytes) -> None:
        graph = schema.Model.GetRootAs(model).Subgraphs(0)
        self._outputs = graph.OutputsLength()
        keep = runtime.InterpreterConfig.kPreserveAllTensors
        self._interpreter = runtime.Interpreter.from_bytes(
            model, arena_size=16 * len(model) + 2**20, intrepreter_config=keep
        )

    def __call__(self, *inputs: Array) -> list[Array]:
        """The outputs for an array for each input."""
        for index, array in enumerate(inputs):
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(i) for i in range(self._outputs)]

    def tensor(self, index: int) -> Array:
        """A tensor of the graph, by its index in the file, after a run."""
        found = self._interpreter.GetTensor(index, 0)
        return np.asarray(found["tensor_data"])


def small_model() -> bytes:
    """An int8 model of a convolution, an addition, a pool, a dense layer and a softmax."""
    rng = np.random.default_rng(7)
    file = TFLiteFile()
    x = file.tensor((1, 6, 6, 3), np.int8, scale=0.05, zero_point=-3, name="image")
    w = file.constant(
        rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), scale=[0.01, 0.02, 0.004, 0.01]
    )
    b = file.constant(
        rng.integers(-900, 900, 4).astype(np.int32), scale=[0.0005, 0.001, 0.0002, 0.0005]
    )
    y = file.tensor((1, 6, 6, 4), np.int8, scale=0.1, zero_point=-128, name="conv")
    file.operator(
        "CONV_2D",
        (x, w, b),
        (y,),
        "Conv2DOptions",
        strideH=1,
        strideW=1,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
    )
    total = file.tensor((1, 6, 6, 4), np.int8, scale=0.2, zero_point=-128, name="sum")
    file.operator("ADD", (y, y), (total,), "AddOptions")
    pooled = file.tensor((1, 1, 1, 4), np.int8, scale=0.2, zero_point=-128, name="pool")
    file.operator(
        "AVERAGE_POOL_2D",
        (total,),
        (pooled,),
        "Pool2DOptions",
        padding=schema.Padding.VALID,
        strideH=6,
        strideW=6,
        filterHeight=6,
        filterWidth=6,
    )
    flat = file.tensor((1, 4), np.int8, scale=0.2, zero_point=-128, name="flat")
    file.operator("RESHAPE", (pooled, file.constant(np.array([1, 4], np.int32))), (flat,))
    weights = file.constant(rng.integers(-127, 128, (5, 4)).astype(np.int8), scale=0.01)
    logits = file.tensor((1, 5), np.int8, scale=0.3, zero_point=4, name="logits")
    file.operator("FULLY_CONNECTED", (flat, weights, -1), (logits,), "FullyConnectedOptions")
    out = file.tensor((1, 5), np.int8, scale=1 / 256, zero_point=-128, name="scores")
    file.operator("SOFTMAX", (logits,), (out,), "SoftmaxOptions", beta=1.0)
    return file.finish((x,), (out,))


def litert(model: bytes) -> Callable[..., list[Array]]:
    """Runs a model on LiteRT's kernels for the CPU."""
    return _litert(model, lite.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def litert_reference(model: bytes) -> Callable[..., list[Array]]:
    """Runs a model on LiteRT's reference kernels, which define its integer arithmetic.

    Some operators have none, and that of LOCAL_RESPONSE_NORMALIZATION leaves out a channel.
    """
    return _litert(model, lite.OpResolverType.BUILTIN_REF)


def _litert(model: bytes, kernels: Any) -> Callable[..., list[Array]]:
    interpreter = lite.Interpreter(model_content=model, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()

    def run(*inputs: Array) -> list[Array]:
        for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    return run
