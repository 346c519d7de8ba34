"""Sparse models as files: weights written in place, and bytes of flash that were foretold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from irprune.backends.compile import CompileOptions, Compression, compile_tflite
from irprune.backends.sparse import packed_size, write_sparse
from irprune.backends.tflite import with_constants, write_tflite
from irprune.frontends.tflite import read_tflite
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from irprune.passes.one_shot_sparsity import plan_for_sparsity
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from tests.int8 import integers
from tests.rewrites import random_inputs
from tests.tflite_files import TFLiteFile
from tests.tflm import tflm


def sparse(data: bytes, sparsity: float = 0.5) -> bytes:
    graph = read_tflite(data)
    after = apply_sparsity(graph, plan_for_sparsity(graph, sparsity))
    return with_constants(data, graph, after.constants)


def contents(data: bytes) -> list[bytes]:
    """Of each tensor, the bytes of its buffer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    assert model.subgraphs is not None
    assert model.buffers is not None
    found = []
    for tensor in model.subgraphs[0].tensors or []:
        held = model.buffers[tensor.buffer].data
        found.append(b"" if held is None else bytes(np.asarray(held, np.uint8)))
    return found


@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet", "vww_96_int8"])
def test_only_weights_change(shared: Path, tmp_path: Path, name: str) -> None:
    """Byte for byte; TFLite-Micro computes what a file written anew computes."""
    source = shared / f"models/{name}.tflite"
    data, graph = source.read_bytes(), read_tflite(source)
    plan = plan_for_sparsity(graph, 0.9)
    write_sparse(graph, plan, tmp_path / "sparse.tflite", str(source))
    found = (tmp_path / "sparse.tflite").read_bytes()
    assert len(found) == len(data)
    differ = np.flatnonzero(np.frombuffer(found, np.uint8) != np.frombuffer(data, np.uint8))
    changed = [(a, b) for a, b in zip(contents(data), contents(found), strict=True) if a != b]
    each = [np.count_nonzero(np.frombuffer(a, "u1") != np.frombuffer(b, "u1")) for a, b in changed]
    assert sum(each) == differ.size > 0
    masks = sorted(mask.stays.size for mask in plan.masks.values())
    item = 4 if name == "pretrainedResnet" else 1
    assert {len(a) // item for a, _ in changed} <= set(masks)

    wanted = write_tflite(apply_sparsity(graph, plan))
    runs = [tflm(file, random_inputs(graph)) for file in (found, wanted)]
    for one, other in zip(runs[0].outputs, runs[1].outputs, strict=True):
        assert one.tobytes() == other.tobytes()


def two_layers(scales: tuple[float, float], *, other: Array | None = None) -> bytes:
    """Dense layers that have their weights in one buffer; an Add may have it as well."""
    rng, file = np.random.default_rng(0), TFLiteFile()
    array = integers(rng, (4, 8))
    x = file.tensor((4, 8), np.int8, scale=1.0)
    tensors = [file.constant(array, scale=[scale, 0.5, 0.5, 0.5]) for scale in scales]
    outputs = []
    if other is not None:
        tensors.append(file.constant(array, scale=0.5))
        outputs.append(file.tensor((4, 8), np.int8, scale=1.0))
        file.operator("ADD", (x, tensors[-1]), (outputs[-1],), "AddOptions")
    for tensor in tensors[:2]:
        outputs.append(file.tensor((4, 4), np.int8, scale=1.0))
        file.operator(
            "FULLY_CONNECTED", (x, tensor, -1), (outputs[-1],), "FullyConnectedOptions", version=4
        )
    for tensor in tensors:
        file.graph.tensors[tensor].buffer = file.graph.tensors[tensors[0]].buffer
    return file.finish([x], outputs)


def test_layers_that_share_their_weights() -> None:
    """With equal scales the same weights go; with others a layer would lose what it keeps."""
    graph = read_tflite(sparse(two_layers((0.5, 0.5))))
    for array in graph.constants.values():
        assert np.count_nonzero(array) == 16
    with pytest.raises(UnsupportedOp, match="shares the bytes of 't"):
        sparse(two_layers((0.5, 5.0)))


def test_weights_that_are_something_else_as_well() -> None:
    with pytest.raises(UnsupportedOp, match="shares the bytes of 't"):
        sparse(two_layers((0.5, 0.5), other=np.ones(1)))


def test_weights_in_another_form() -> None:
    """Half precision, which is read as reals, and weights that the device unpacks."""
    rng, file = np.random.default_rng(0), TFLiteFile()
    x = file.tensor((1, 64), np.float32)
    stored = file.constant(rng.normal(size=(64, 64)).astype(np.float16))
    w, y = file.tensor((64, 64), np.float32), file.tensor((1, 64), np.float32)
    file.operator("DEQUANTIZE", (stored,), (w,), "DequantizeOptions")
    file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions")
    with pytest.raises(UnsupportedOp, match="in another form, compressed or in half precision"):
        sparse(file.finish([x], [y]))

    graph = net()
    packed = write_tflite(apply_sparsity(graph, plan_for_sparsity(graph, 0.8)), pack=True)
    with pytest.raises(UnsupportedOp, match="in another form, compressed or in half precision"):
        sparse(packed, 0.9)


def net() -> Graph:
    rng, b = np.random.default_rng(0), Builder("net")
    x = b.input("x", (1, 6, 6, 8))
    w = b.constant("conv", rng.normal(size=(32, 3, 3, 8)).astype(np.float32))
    y = b.add(ops.Conv2d(layout="NHWC", activation=ops.Relu()), x, w)
    y = b.add(ops.ReduceMean((1, 2)), y)
    v = b.constant("head", rng.normal(size=(40, 32)).astype(np.float32))
    return b.finish([b.add(ops.Dense(), y, v)])


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8])
def test_flash_is_what_the_compiled_file_takes(shared: Path, sparsity: float) -> None:
    """To the byte for a quantized model; to what scales take for a float one."""
    quantized, real = read_tflite(shared / "models/pretrainedResnet_quant.tflite"), net()
    for graph, samples, tolerance in (
        (quantized, [], 0),
        (real, [random_inputs(real, seed=5)], 64),
    ):
        plan = plan_for_sparsity(graph, sparsity)
        options = CompileOptions(compress=Compression.PRUNE)
        compiled = compile_tflite(apply_sparsity(graph, plan), samples, options)
        assert abs(packed_size(graph)(plan) - len(compiled.data)) <= tolerance
