"""Small ONNX models for tests: one node in one form, or a few, run beside onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

import irprune
from irprune.ir.types import Array


def reals(seed: int) -> Callable[..., Array]:
    """A function that makes arrays of a shape, from a generator of its own."""
    rng = np.random.default_rng(seed)

    def real(*shape: int) -> Array:
        return rng.normal(0, 1, shape).astype(np.float32)

    return real


def ints(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


def floats(*numbers: float) -> Array:
    return np.asarray(numbers, np.float32)


def scalar(number: float) -> Array:
    return np.asarray(number, np.float32)


def node(op: str, operands: str, results: str = "y", **attributes: Any) -> NodeProto:
    """A node; operands and results are words, '-' for one that is absent."""
    inputs = ["" if name == "-" else name for name in operands.split()]
    return helper.make_node(op, inputs, results.split(), **attributes)


@dataclass(frozen=True)
class Form:
    """A small model: nodes from inputs, of these shapes, and constants to the outputs."""

    name: str
    opset: int
    nodes: Sequence[NodeProto]
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"x": (1, 3, 6, 5)})
    tensors: Mapping[str, Array] = field(default_factory=dict)
    outputs: str = "y"

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            list(self.nodes),
            self.name,
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
                for n, s in self.inputs.items()
            ],
            [onnx.ValueInfoProto(name=name) for name in self.outputs.split()],
            [numpy_helper.from_array(array, name) for name, array in self.tensors.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def one(name: str, opset: int, op: str, operands: str = "x", *shape: int, **more: Any) -> Form:
    """One node on an input of a shape, its other operands constants given as arrays."""
    tensors = {key: value for key, value in more.items() if isinstance(value, np.ndarray)}
    attributes = {key: value for key, value in more.items() if key not in tensors}
    inputs = {"x": shape or (1, 3, 6, 5)}
    return Form(name, opset, [node(op, operands, **attributes)], inputs, tensors)


def agrees_with_onnxruntime(form: Form) -> None:
    """The model as read and as deployed gives what onnxruntime gives, under the same names."""
    model = form.model()
    rng = np.random.default_rng(1)
    feed = {n: rng.normal(0, 1, s).astype(np.float32) for n, s in form.inputs.items()}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    wanted = session.run(None, feed)
    assert all(np.any(array != 0) for array in wanted if array.size)
    graph = irprune.load(model)
    assert [value.name for value in graph.outputs] == form.outputs.split()
    for variant in (graph, irprune.deployed(graph)):
        found = irprune.run(variant, list(feed.values()))
        for y, expected in zip(found, wanted, strict=True):
            assert y.dtype == expected.dtype
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
