"""Integers in the place of reals: scales as TFLite wants them, and how far results are off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given

from irprune.backends.reference import run as evaluate
from irprune.backends.reference import run_all
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.op import OPS, Op
from irprune.ir.types import Array, DType, Quant, Shape
from irprune.ir.verify import verify
from irprune.passes.analysis.calibration import Range, calibrate
from irprune.passes.pipeline import deployed, lowering, run
from irprune.passes.rewrite.quantize import on_reals, quantize
from irprune.passes.rewrite.scales import activation_quant
from tests.rewrites import interface, kinds, random_inputs
from tests.strategies import STAIRCASES, graphs


def quantized(graph: Graph, dtype: DType = DType.I8, *, float_io: bool = True) -> Graph:
    """The graph, calibrated on the inputs that tests compare on."""
    samples = [random_inputs(graph, seed) for seed in range(4)]
    after = quantize(graph, calibrate(graph, samples), dtype, float_io=float_io)
    verify(after)
    return after


def single(op: Op, shape: Shape, *constants: Array, io: bool = True) -> Graph:
    b = Builder("single")
    x = b.input("x", shape)
    return b.finish([b.add(op, x, *(b.constant(f"c{i}", a) for i, a in enumerate(constants)))])


def drawn(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def value_of(graph: Graph, name: str) -> Value:
    values = [v for n in graph.nodes for v in (*n.inputs, *n.outputs)]
    return next(value for value in values if value.name == name)


def quant_of(graph: Graph, name: str) -> Quant:
    quant = value_of(graph, name).type.quant
    assert quant is not None
    return quant


def test_activations_are_asymmetric_and_hold_zero() -> None:
    """TensorFlow Lite's specification: real = scale (q - zero_point), int8, zero exact."""
    for low, high in [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 1e-6)]:
        quant = activation_quant(Range(low, high), DType.I8)
        (scale,), (zero,) = quant.scale, quant.zero_point
        assert -128 <= zero <= 127
        # Both ends are within half a step of what can be represented.
        assert scale * (-128 - zero) <= min(low, 0.0) + scale / 2
        assert scale * (127 - zero) >= max(high, 0.0) - scale / 2
        assert scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-6)
    assert activation_quant(Range(-2.0, 1.0), DType.I16).zero_point == (0,)


def test_weights_are_symmetric_with_a_scale_a_channel() -> None:
    w = drawn(3, 2, 2, 2) * np.array([1, 0.1, 10], np.float32).reshape(3, 1, 1, 1)
    after = quantized(single(ops.Conv2d(layout="NHWC"), (1, 4, 4, 2), w, drawn(3)))
    quant = quant_of(after, "c0")
    assert quant.axis == 0
    assert quant.zero_point == (0, 0, 0)
    largest = np.abs(w).reshape(3, -1).max(1)
    np.testing.assert_allclose(quant.scale, largest / 127, rtol=1e-6)
    products = np.array(quant.scale) * quant_of(after, "x.quantize").scale[0]
    np.testing.assert_allclose(quant_of(after, "c1").scale, products, rtol=1e-6)
    assert value_of(after, "c1").type.dtype is DType.I32


def test_dense_weights_have_one_scale() -> None:
    after = quantized(single(ops.Dense(), (1, 5), drawn(3, 5)))
    assert quant_of(after, "c0").axis is None


def test_sixteen_bit_activations() -> None:
    after = quantized(single(ops.Dense(), (1, 5), drawn(3, 5), drawn(3)), DType.I16)
    types = {name: value_of(after, name).type for name in ("x.quantize", "c0", "c1")}
    assert [t.dtype for t in types.values()] == [DType.I16, DType.I8, DType.I64]


def test_a_channel_of_zeros_and_one_of_a_large_bias() -> None:
    """Neither loses the others' precision, nor its bias."""
    w = drawn(3, 1, 1, 2)
    w[1], w[2] = 0.0, 1e-9
    bias = np.array([0.5, 0.25, 1.0], np.float32)
    graph = single(ops.Conv2d(layout="NHWC"), (1, 4, 4, 2), w, bias)
    after = quantized(graph)
    x = random_inputs(graph)
    (wanted,), (found,) = evaluate(graph, x), evaluate(after, x)
    step = quant_of(after, after.nodes[1].output.name).scale[0]
    assert np.abs(wanted - found).max() < 2 * step


@pytest.mark.parametrize(
    ("op", "scale", "zero"),
    [
        (ops.Sigmoid(), 1 / 256, -128),
        (ops.Softmax(), 1 / 256, -128),
        (ops.Tanh(), 1 / 128, 0),
        (ops.LogSoftmax(), 1 / 16, 127),
    ],
)
def test_fixed_outputs(op: Op, scale: float, zero: int) -> None:
    """TensorFlow Lite 8-bit quantization specification, restrictions of these operators."""
    after = quantized(single(op, (1, 5)), float_io=False)
    quant = after.outputs[0].type.quant
    assert quant == Quant((scale,), (zero,))


def test_a_fixed_output_goes_on_to_what_moves_it() -> None:
    b = Builder("moved")
    x = b.input("x", (1, 6))
    y = b.add(ops.Reshape((2, 3)), b.add(ops.Softmax(), x))
    after = quantized(b.finish([y]), float_io=False)
    assert kinds(after) == ["Softmax", "Reshape"]


def test_a_fixed_output_that_joins_others_is_requantized() -> None:
    b = Builder("joined")
    x = b.input("x", (1, 6))
    graph = b.finish([b.add(ops.Concat(1), x, b.add(ops.Sigmoid(), x))])
    after = quantized(graph, float_io=False)
    assert kinds(after) == ["Sigmoid", "Quantize", "Concat"]


def test_clamps_stay_in_their_operand_s_scale() -> None:
    b = Builder("clamped")
    x = b.input("x", (1, 6))
    top = b.constant("top", np.array(0.7, np.float32))
    after = quantized(b.finish([b.add(ops.Minimum(), x, top)]), float_io=False)
    assert kinds(after) == ["Minimum"]
    node = after.nodes[0]
    assert len({value.type.quant for value in (*node.inputs, node.output)}) == 1


def test_what_has_no_integers_stays_on_reals() -> None:
    b = Builder("mixed")
    x = b.input("x", (1, 6))
    y = b.add(ops.Relu(), b.add(ops.Exp(), b.add(ops.Gelu(), b.add(ops.Abs(), x))))
    after = quantized(b.finish([y]), float_io=False)
    wanted = ["Abs", "Dequantize", "Gelu", "Exp", "Quantize", "Relu"]
    assert kinds(after) == wanted
    assert [type(node.op).__name__ for node in on_reals(after)] == ["Gelu", "Exp"]


def test_the_interface() -> None:
    graph = single(ops.Dense(), (1, 5), drawn(3, 5))
    assert interface(quantized(graph)) == interface(graph)
    on_integers = quantized(graph, float_io=False)
    assert [name for name, _ in interface(on_integers)] == ["x", "dense"]
    ports = (*on_integers.inputs, *on_integers.outputs)
    assert all(value.type.dtype is DType.I8 and value.type.quant for value in ports)


CONDITIONED = frozenset(OPS) - STAIRCASES - {"Pow", "Exp", "Div", "LogSoftmax", "Log", "LRN"}


@given(graphs(kinds=CONDITIONED, max_nodes=8))
def test_random_graphs(graph: Graph) -> None:
    """In 16 bits results are close; 8 bits run, on the same interface."""
    lowered = run(deployed(graph), lowering(keep_io_layout=True))
    samples = [random_inputs(lowered, seed) for seed in range(2)]
    ranges = calibrate(lowered, samples)
    assume(all(max(ranges[v].high, -ranges[v].low) > 0 for v in lowered.outputs if v in ranges))
    verify(quantize(lowered, ranges, DType.I8))
    after = quantize(lowered, ranges, DType.I16, float_io=True)
    verify(after)
    assert interface(after) == interface(lowered)
    results = zip(evaluate(lowered, samples[0]), evaluate(after, samples[0]), strict=True)
    for wanted, found in results:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05 * np.abs(wanted).max())


def test_what_gives_no_scale() -> None:
    b = Builder("dead")
    x = b.input("x", (1, 4))
    less = b.add(ops.Sub(), x, b.constant("c", np.full((1, 4), 9, np.float32)))
    graph = b.finish([b.add(ops.Relu(), less)])
    with pytest.raises(UsageError, match="dead: output 'relu' is 0 on every calibration sample"):
        quantized(graph)
    huge = drawn(3, 5)
    huge[0, 0] = np.inf
    with pytest.raises(UsageError, match="is not finite"):
        quantized(single(ops.Dense(), (1, 5), huge))


def test_scales_too_far_apart() -> None:
    """A product of scales 2**31 times that of the output, and more, has no 32-bit multiplier."""
    graph = single(ops.Dense(), (1, 2), drawn(1, 2))
    x, y = graph.inputs[0], graph.outputs[0]
    with pytest.raises(UsageError, match="node 'dense': its scales are too far apart for i8"):
        quantize(graph, {x: Range(-1e20, 1e20), y: Range(-1e-20, 1e-20)})


def test_intermediates_keep_their_names() -> None:
    b = Builder("named")
    x = b.input("x", (1, 4))
    y = b.add(ops.Abs(), b.add(ops.Dense(), x, b.constant("w", drawn(3, 4)), name="hidden"))
    graph = b.finish([y])
    after = quantized(graph, float_io=False)
    found = {value.name for value in run_all(after, random_inputs(after))}
    assert {"x", "hidden", "abs"} <= found
