import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir import ops
from irprune.ir.errors import InvalidType
from irprune.ir.op import OPS, Op
from irprune.ir.ops.pointwise import Unary
from irprune.ir.types import DType, TensorType
from tests.evaluation import assert_close, evaluated, seeds, tensor, uniform

TWINS: list[tuple[Op, Callable[[torch.Tensor], torch.Tensor]]] = [
    (ops.Relu(), F.relu),
    (ops.Relu6(), F.relu6),
    (ops.LeakyRelu(), F.leaky_relu),
    (ops.LeakyRelu(0.3), lambda x: F.leaky_relu(x, 0.3)),
    (ops.Elu(), F.elu),
    (ops.Elu(0.7), lambda x: F.elu(x, 0.7)),
    (ops.Clip(-1.0, 1.5), lambda x: torch.clamp(x, -1.0, 1.5)),
    (ops.Clip(high=0.5), lambda x: torch.clamp(x, max=0.5)),
    (ops.Clip(), lambda x: x),
    (ops.Clip(2.0, 1.0), lambda x: torch.clamp(x, 2.0, 1.0)),
    (ops.Sigmoid(), torch.sigmoid),
    (ops.Tanh(), torch.tanh),
    (ops.HardSigmoid(), F.hardsigmoid),
    (ops.HardSigmoid(0.2, 0.4), lambda x: torch.clamp(0.2 * x + 0.4, 0, 1)),
    (ops.HardSwish(), F.hardswish),
    (ops.Silu(), F.silu),
    (ops.Gelu(), F.gelu),
    (ops.Gelu(approximate=True), lambda x: F.gelu(x, approximate="tanh")),
    (ops.Erf(), torch.erf),
    (ops.Abs(), torch.abs),
    (ops.Neg(), torch.neg),
    (ops.Sqrt(), torch.sqrt),
    (ops.Exp(), torch.exp),
    (ops.Log(), torch.log),
]
SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-38, 1.0, -3.0, 6.0, 88.0, -104.0, 3e38, -3e38, np.inf, -np.inf, np.nan],
    np.float32,
)


def test_every_unary_op_has_a_twin() -> None:
    unary = {name for name, kind in OPS.items() if issubclass(kind, Unary)}
    normalizations = {"LRN", "Softmax", "LogSoftmax"}
    assert {type(op).__name__ for op, _ in TWINS} == unary - normalizations


@pytest.mark.parametrize(("op", "twin"), TWINS, ids=[str(op) for op, _ in TWINS])
def test_unary_ops_are_torchs(op: Op, twin: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = (
        np.abs(uniform(1, 300, low=-8, high=8))
        if op == ops.Sqrt()
        else uniform(1, 300, low=-8, high=8)
    )
    assert_close(evaluated(op, x.reshape(3, 100))[0], twin(tensor(x).reshape(3, 100)), 1e-6)
    assert op.macs([x.shape], [x.shape]) == 0


@pytest.mark.parametrize(("op", "twin"), TWINS, ids=[str(op) for op, _ in TWINS])
@pytest.mark.parametrize("x", SPECIAL.tolist())
def test_unary_ops_are_torchs_at_the_ends(
    op: Op, twin: Callable[[torch.Tensor], torch.Tensor], x: float
) -> None:
    array = np.array([x], np.float32)
    wanted = twin(tensor(array)).numpy()
    # What is left of a difference of numbers near 1 has their rounding error.
    np.testing.assert_allclose(evaluated(op, array)[0], wanted, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_erf_is_that_of_the_standard_library(dtype: type[np.floating]) -> None:
    x = np.linspace(-5, 5, 101).astype(dtype)
    wanted = np.array([math.erf(v) for v in x.tolist()]).astype(dtype)
    np.testing.assert_array_equal(evaluated(ops.Erf(), x)[0], wanted)


@given(st.data(), seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_prelu_is_the_formula(data: st.DataObject, seed: int, shape: list[int]) -> None:
    cut = data.draw(st.integers(0, len(shape)))
    x = uniform(seed, *shape)
    slope = uniform(seed, *(data.draw(st.sampled_from([1, d])) for d in shape[cut:]))
    wanted = torch.where(tensor(x) >= 0, tensor(x), tensor(x) * tensor(slope))
    assert_close(evaluated(ops.PRelu(), x, slope)[0], wanted)


def test_prelu_by_channel_is_torchs() -> None:
    x, slope = uniform(1, 2, 3, 4, 4), uniform(2, 3)
    (y,) = evaluated(ops.PRelu(), x, slope.reshape(3, 1, 1))
    assert_close(y, F.prelu(tensor(x), tensor(slope)))


@pytest.mark.parametrize(
    ("op", "x", "wanted"),
    [
        (ops.Relu(), [-3, 0, 3], [0, 0, 3]),
        (ops.Relu6(), [-3, 5, 9], [0, 5, 6]),
        (ops.Clip(-2.0, math.inf), [-3, 0, 3], [-2, 0, 3]),
        (ops.Clip(-1e9, 1e9), [-128, 0, 127], [-128, 0, 127]),
        (ops.Abs(), [-3, 0, 3], [3, 0, 3]),
        (ops.Neg(), [-3, 0, 3], [3, 0, -3]),
    ],
)
def test_integers_stay_integers(op: Op, x: list[int], wanted: list[int]) -> None:
    for dtype in (np.int8, np.int32, np.int64):
        assert evaluated(op, np.array(x, dtype))[0].tolist() == wanted


@pytest.mark.parametrize(
    "op",
    [op for op, _ in TWINS if type(op).__name__ not in {"Relu", "Relu6", "Clip", "Abs", "Neg"}],
)
def test_functions_of_reals_refuse_plain_integers(op: Op) -> None:
    with pytest.raises(InvalidType, match="wants reals, not i32"):
        op.infer([TensorType((2,), DType.I32)])


@pytest.mark.parametrize("op", [op for op, _ in TWINS])
def test_truth_values_are_no_numbers(op: Op) -> None:
    with pytest.raises(InvalidType, match="not bool"):
        op.infer([TensorType((2,), DType.BOOL)])


def test_what_does_not_fit_is_refused() -> None:
    x, long, wide = (TensorType(s, DType.F32) for s in ((2, 3), (1, 2, 3), (2,)))
    with pytest.raises(InvalidType, match="takes 1 operands, not 2"):
        ops.Relu().infer([x, x])
    with pytest.raises(InvalidType, match="takes 2 operands, not 1"):
        ops.PRelu().infer([x])
    for slope in (long, wide):
        with pytest.raises(InvalidType, match="does not broadcast"):
            ops.PRelu().infer([x, slope])
