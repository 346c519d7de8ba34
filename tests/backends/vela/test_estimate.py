"""The estimate of encoded weights against what Vela's two encoders take."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ethosu import mlw_codec
from hypothesis import given
from hypothesis import strategies as st

from irprune.backends.vela import Optimised
from irprune.backends.vela.codec import encoded
from irprune.backends.vela.compiler import read_report
from irprune.backends.vela.worker import main as worker
from irprune.frontends.tflite import read_tflite_file
from irprune.ir.graph import Value
from irprune.passes.analysis.entropy import CodedWeights, coded_weights
from irprune.passes.analysis.weight_coding import reads_part_kernels, stream_size, weight_stream
from tests.backends.vela.nets import Nets

MODELS = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8")
SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95)
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}


def without_the_smallest(data: bytes, share: float) -> bytes:
    """A file in which a share of each layer's weights is zero, those of least magnitude."""
    model = schema.ModelT.InitFromPackedBuf(data)
    (graph,) = model.subgraphs
    kinds = {getattr(schema.BuiltinOperator, name) for name in LAYERS}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) not in kinds:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        assert set(tensor.quantization.zeroPoint) == {0}
        weights = model.buffers[tensor.buffer].data.view(np.int8).copy()
        magnitudes = np.abs(weights.astype(int))
        weights[np.argsort(magnitudes, kind="stable")[: int(share * weights.size)]] = 0
        model.buffers[tensor.buffer].data = weights.view(np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def optimised(data: bytes, folder: Path) -> tuple[Optimised, dict[Value, CodedWeights]]:
    """What Vela makes of a file, in this process; and the sizes of the file's tensors."""
    model = read_tflite_file(data, "model")
    (folder / "model.tflite").write_bytes(data)
    assert worker(folder, "ethos-u55-128", 0) == 0
    found = {c.value: c for c in coded_weights(model.graph)}
    return read_report(folder, model, "ethos-u55-128", "", ()), found


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("name", MODELS)
def test_real_models(shared: Path, tmp_path: Path, name: str, sparsity: float) -> None:
    data = (shared / "models" / f"{name}.tflite").read_bytes()
    report, sizes = optimised(without_the_smallest(data, sparsity), tmp_path)
    assert not report.on_cpu
    estimates, taken, by_codec = [], [], []
    for layer in report.layers:
        if layer.weights.bytes == 0:
            continue
        found = sizes[layer.node.inputs[1]]
        alone = encoded(found)
        assert found.estimated is not None
        assert alone is not None
        estimates.append(found.estimated.bytes)
        taken.append(layer.weights.bytes)
        by_codec.append(alone.bytes)
        if layer.weights.bytes > 1024:
            assert found.estimated.bytes == pytest.approx(layer.weights.bytes, rel=0.1)
        if alone.bytes > 1024 and found.raw > 1024:
            assert found.estimated.bytes == pytest.approx(alone.bytes, rel=0.1)
    assert len(taken) == len(sizes)
    assert sum(estimates) == pytest.approx(sum(taken), rel=0.05)
    assert sum(estimates) == pytest.approx(sum(by_codec), rel=0.05)


@given(
    st.tuples(*(st.integers(1, n) for n in (16, 10, 10, 40))),
    st.booleans(),
    st.sampled_from([8, 16]),
    st.integers(0, 9),
)
def test_the_order_is_that_of_the_codec(
    shape: tuple[int, ...], depthwise: bool, bits: int, seed: int
) -> None:
    """Vela codes the reordered stream to the same bytes as it codes what it reorders itself."""
    shape = (*shape[:3], 1) if depthwise else shape
    weights = np.random.default_rng(seed).integers(-127, 128, shape)
    parts = not depthwise and reads_part_kernels(weights, bits)
    volume = weights.astype(np.int16)
    theirs, _ = mlw_codec.reorder_encode(8, 8, volume, 16, depthwise, parts, bits, 8, 8)
    stream = weight_stream(weights, depthwise=depthwise, bits=bits)
    ours = mlw_codec.encode(stream.astype(np.int16).tolist())
    assert bytes(ours) == bytes(theirs)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("spread", [2, 20, 60])
def test_random_weights(density: float, spread: float) -> None:
    """Of normal distribution and rounded, as a layer's are."""
    rng = np.random.default_rng(0)
    weights = np.clip(np.rint(rng.normal(0, spread, (64, 3, 3, 32))), -127, 127).astype(np.int64)
    weights[rng.random(weights.shape) >= density] = 0
    stream = weight_stream(weights, depthwise=False)
    assert stream_size(stream) == pytest.approx(
        len(mlw_codec.encode(stream.astype(np.int16).tolist())), rel=0.05
    )


@pytest.mark.parametrize("value", [0, 7])
def test_a_layer_of_one_weight(tmp_path: Path, value: int) -> None:
    """Vela's compiler takes a bit for each, zeros or not."""
    nets = Nets()
    nets.even_conv(value)
    report, sizes = optimised(nets.finish(), tmp_path)
    (layer,) = report.layers
    found = sizes[layer.node.inputs[1]]
    assert found.estimated is not None
    assert found.estimated.bytes == pytest.approx(layer.weights.bytes, abs=16)
    assert (found.density, found.entropy.bytes) == (value / 7, 0)


@pytest.mark.parametrize("left", [1, 10, 40])
def test_a_layer_of_which_hardly_a_weight_is_left(tmp_path: Path, left: int) -> None:
    """One of a thousand is enough for the estimate; of fewer Vela may take a bit for each."""
    weights = np.zeros((64, 3, 3, 64), np.int8)
    rng = np.random.default_rng(0)
    weights.reshape(-1)[rng.choice(weights.size, left, replace=False)] = rng.integers(1, 127, left)
    nets = Nets()
    nets.plain_conv(weights)
    report, sizes = optimised(nets.finish(), tmp_path)
    (layer,) = report.layers
    found = sizes[layer.node.inputs[1]]
    assert found.estimated is not None
    if left == 40:
        assert found.estimated.bytes == pytest.approx(layer.weights.bytes, rel=0.05)
    else:
        assert found.estimated.bytes <= layer.weights.bytes <= weights.size / 8 + 64
