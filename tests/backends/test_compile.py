"""Compiled models on the real runtimes: the zoo, the light models, and random graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import interpreter as lite
from hypothesis import assume, given, settings

import irprune
from irprune import zoo
from irprune.backends.compile import Compiled, CompileOptions, Numbers, compile_tflite
from irprune.backends.reference import run, run_all
from irprune.frontends.tflite import TFLiteModel, read_tflite
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp, UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.op import OPS
from irprune.ir.types import Array
from irprune.passes.rewrite.placing import last_channels
from tests.exporting import exported, make_distinct
from tests.onnx_light import QUICK, with_random_weights
from tests.rewrites import kinds, random_inputs
from tests.strategies import OF_REALS, STAIRCASES, graphs
from tests.tflite_files import Micro

FLOAT = CompileOptions(Numbers.FLOAT)
INT8 = CompileOptions(Numbers.INT8)

OF_MANY_CHANNELS = {"efficientnet_b0", "mcunet_m", "mcunet_s"}
"""Zoo models whose int8 files are up to 20 KB over their allowance.

Depthwise channels carry nine weights each beside a scale of four bytes, and LiteRT wants as many
zero points of eight bytes as scales: these alone take 54 of the 57 KB that are left to mcunet_s.
"""


def samples_of(graph: Graph, count: int, seed: int = 0) -> list[list[Array]]:
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs]
        for _ in range(count)
    ]


def given_to(compiled: Compiled, sample: Sequence[Array]) -> list[Array]:
    """A sample as the compiled model takes it: its layout, its numbers."""
    return [
        stored(array, value)
        for array, value in zip(sample, compiled.model.graph.inputs, strict=True)
    ]


def stored(array: Array, value: Value) -> Array:
    t = value.type
    if array.shape != t.shape:
        array = np.ascontiguousarray(array.transpose(last_channels(array.ndim)))
    if t.quant is None:
        return array
    (integers,) = ops.Quantize(t.dtype, t.quant, "away").evaluate((array,))
    return integers


def assert_micro_agrees(compiled: Compiled, sample: Sequence[Array], tolerance: float) -> None:
    """Every tensor of TFLite-Micro is the interpreter's: integers bit for bit."""
    graph, arrays = compiled.model.graph, given_to(compiled, sample)
    micro, wanted = Micro(compiled.data), run_all(graph, arrays)
    micro(*arrays)
    for value, index in compiled.model.tensors.items():
        found = micro.tensor(index).reshape(value.type.shape)
        if value.type.dtype.is_float:
            atol = tolerance * np.abs(wanted[value]).max(initial=1.0)
            np.testing.assert_allclose(found, wanted[value], rtol=tolerance, atol=atol)
        else:
            np.testing.assert_array_equal(found, wanted[value], value.name)


def has_small_overhead(compiled: Compiled) -> bool:
    """What is not constants takes at most a twentieth of them and 20 KB."""
    constants = sum(array.nbytes for array in compiled.model.graph.constants.values())
    return len(compiled.data) <= 1.05 * constants + 20_000


def assert_compiles(model: onnx.ModelProto, count: int) -> Compiled:
    """Float agrees with onnxruntime, int8 runs bit for bit; neither transposes."""
    graph = irprune.load(model)
    samples = samples_of(graph, count)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feed = zip([value.name for value in graph.inputs], samples[0], strict=True)
    wanted = session.run(None, dict(feed))
    floats = compile_tflite(graph, samples, FLOAT)
    found = Micro(floats.data)(*given_to(floats, samples[0]))
    for one, other in zip(found, wanted, strict=True):
        flat = one.reshape(other.shape)  # classes: one layout in all
        np.testing.assert_allclose(flat, other, rtol=1e-4, atol=1e-4)
    integers = compile_tflite(graph, samples, INT8)
    assert_micro_agrees(integers, samples[0], 1e-5)
    for compiled in (floats, integers):
        assert "Transpose" not in kinds(compiled.model.graph)
    assert has_small_overhead(floats)
    return integers


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, examples = zoo.build(name)
    make_distinct(module)
    compiled = assert_compiles(exported(module, examples, tmp_path / "model.onnx"), 4)
    assert not compiled.reals
    assert has_small_overhead(compiled) == (name not in OF_MANY_CHANNELS)
    assert_litert_agrees(compiled.model, compiled.data)


def assert_litert_agrees(model: TFLiteModel, data: bytes) -> None:
    """LiteRT's reference kernels agree up to the first dense layer, which they round otherwise."""
    interpreter = lite.Interpreter(
        model_content=data,
        experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    arrays = random_inputs(model.graph)
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    wanted = run_all(model.graph, arrays)
    for node in model.graph.nodes:
        if isinstance(node.op, ops.Dense):
            break
        found = interpreter.get_tensor(model.tensors[node.output])
        np.testing.assert_array_equal(found, wanted[node.output], str(node))


@pytest.mark.parametrize("path", QUICK, ids=lambda path: path.stem)
def test_the_light_models(path: Path) -> None:
    """Local response normalization is computed on reals, and said to be."""
    model = with_random_weights(path, np.random.default_rng(0))
    compiled = assert_compiles(model, 1)
    assert {type(node.op) for node in compiled.reals} <= {ops.LRN}
    assert has_small_overhead(compiled)


@settings(max_examples=200)
@given(graphs(kinds=frozenset(OPS) - STAIRCASES - OF_REALS, max_nodes=6))
def test_random_graphs_in_int8(graph: Graph) -> None:
    """Over the whole table: what TFLite-Micro has is bit-equal, what it has not is refused."""
    samples = [random_inputs(graph, seed) for seed in range(3)]
    assume(all(array.any() for array in run(graph, samples[0])))  # 0 gives no scale
    try:
        compiled = compile_tflite(graph, samples, CompileOptions(keep_io_layout=True))
    except UnsupportedOp as error:
        assert_is_unsupported(str(error))
    else:
        assert_micro_agrees(compiled, samples[0], 1e-5)


@given(graphs(kinds=frozenset(OPS) - STAIRCASES, max_nodes=6))
def test_random_graphs_in_float(graph: Graph) -> None:
    samples = [random_inputs(graph)]
    try:
        options = CompileOptions(Numbers.FLOAT, keep_io_layout=True)
        compiled = compile_tflite(graph, samples, options)
    except UnsupportedOp as error:
        assert_is_unsupported(str(error))
        return
    micro = Micro(compiled.data)(*samples[0])
    for found, wanted in zip(micro, run(graph, samples[0]), strict=True):
        atol = 1e-4 * np.abs(wanted).max(initial=1.0)
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=atol)


def assert_is_unsupported(message: str) -> None:
    """Only what TFLite-Micro really lacks may be refused."""
    lacking = ("Pow", "LSTM", "half_pixel", "dilation", "axes that are not", "computed")
    assert any(what in message for what in lacking), message


@pytest.mark.parametrize("io", [True, False])
def test_what_is_on_reals_is_within_a_step(io: bool) -> None:
    @settings(max_examples=60)
    @given(graphs(kinds={"LayerNorm", "LRN", "Gelu", "Erf", "Sqrt", "Abs"}, max_nodes=3))
    def holds(graph: Graph) -> None:
        samples = [random_inputs(graph, seed) for seed in range(2)]
        options = CompileOptions(float_io=io, keep_io_layout=True)
        compiled = compile_tflite(graph, samples, options)
        arrays = given_to(compiled, samples[0])
        found = Micro(compiled.data)(*arrays)
        for value, one, other in zip(
            compiled.model.graph.outputs, found, run(compiled.model.graph, arrays), strict=True
        ):
            step = 0.1 if value.type.quant is None else 1
            apart = np.abs(one.reshape(other.shape).astype(float) - other.astype(float))
            assert apart.max(initial=0) <= step

    holds()


def test_the_same_model_gives_the_same_bytes() -> None:
    torch.manual_seed(0)
    graph = irprune.load("zoo:res8")
    samples = samples_of(graph, 2)
    first, second = (compile_tflite(graph, samples).data for _ in range(2))
    assert first == second
    assert b"irprune" in first
    assert read_tflite(first).inputs[0].type.shape == (1, 49, 10, 1)


def test_integer_models_stay_as_they_are(shared: Path) -> None:
    """A file loaded and compiled again gives the same outputs bit for bit."""
    path = shared / "models/kws_ref_model.tflite"
    graph = irprune.load(path)
    compiled = compile_tflite(graph)
    arrays = random_inputs(graph)
    (wanted,), (found,) = Micro(path.read_bytes())(*arrays), Micro(compiled.data)(*arrays)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UsageError, match="is quantized already"):
        compile_tflite(graph, [], INT8)


def test_integers_take_samples() -> None:
    with pytest.raises(UsageError, match="int8 takes calibration samples"):
        compile_tflite(irprune.load("zoo:res8"))


@pytest.mark.parametrize("numbers", [Numbers.INT8, Numbers.INT16X8])
@pytest.mark.parametrize("bias", [(), (0.0,) * 4, (0.5, -3.0, 0.0, 1e-3)])
def test_layers_of_zeros(bias: tuple[float, ...], numbers: Numbers) -> None:
    """As learned sparsity leaves some: what is left of them is their bias, as exact as others."""
    b = Builder("zeros")
    x = b.input("x", (1, 4, 4, 4))
    biases = [b.constant("b", np.array(bias, np.float32))] if bias else []

    def zeros(*shape: int) -> Value:
        return b.constant("w", np.zeros(shape, np.float32))

    y = b.add(ops.Conv2d(layout="NHWC"), x, zeros(4, 1, 1, 4), *biases)
    z = b.add(ops.Conv2d(layout="NHWC", groups=4), y, zeros(4, 1, 1, 1), *biases)
    y = b.add(ops.Add(), b.add(ops.Add(), x, y), b.add(ops.Dense(), z, zeros(4, 4), *biases))
    graph = b.finish([y])
    samples = [random_inputs(graph, seed) for seed in range(3)]
    compiled = compile_tflite(graph, samples, CompileOptions(numbers))
    assert_micro_agrees(compiled, samples[0], 0.0)
    (value,) = compiled.model.graph.outputs
    (found,) = Micro(compiled.data)(*given_to(compiled, samples[0]))
    (wanted,) = run(graph, samples[0])
    assert value.type.quant is not None
    (scale,), (zero,) = value.type.quant.scale, value.type.quant.zero_point
    steps = (found.astype(np.float64) - zero) - wanted / scale
    assert np.abs(steps).max() <= 2.5
