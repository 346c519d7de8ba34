import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir.errors import InvalidType
from irprune.ir.op import Op
from irprune.ir.ops import LRN, BatchNorm, LayerNorm, LogSoftmax, Relu, Softmax
from irprune.ir.types import Array, DType, Shape, TensorType
from tests.evaluation import assert_close, evaluated, seeds, tensor, uniform

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(st.data(), seeds, shapes, st.sampled_from([1e-5, 1e-2]))
def test_batch_norm_is_torchs(
    data: st.DataObject, seed: int, shape: list[int], epsilon: float
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    channels = shape[axis]
    x = uniform(seed, *shape)
    gamma, beta, mean = (uniform(seed + i, channels) for i in (1, 2, 3))
    variance = uniform(seed + 4, channels, low=0.1, high=2)
    moved = torch.movedim(tensor(x), axis, 0).reshape(1, channels, -1)
    y = F.batch_norm(
        moved, tensor(mean), tensor(variance), tensor(gamma), tensor(beta), eps=epsilon
    )
    inside = [shape[axis], *(d for a, d in enumerate(shape) if a != axis % len(shape))]
    wanted = torch.movedim(y.reshape(inside), 0, axis)
    ours = evaluated(BatchNorm(epsilon, axis), x, gamma, beta, mean, variance)
    assert_close(ours[0], wanted)


@given(st.data(), seeds, shapes, st.sampled_from([1e-5, 1e-2]), st.booleans())
def test_layer_norm_is_torchs(
    data: st.DataObject, seed: int, shape: list[int], epsilon: float, shifted: bool
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = uniform(seed, *shape)
    gamma, beta = (uniform(seed + i, *shape[axis:]) for i in (1, 2))
    wanted = F.layer_norm(
        tensor(x), shape[axis:], tensor(gamma), tensor(beta) if shifted else None, epsilon
    )
    operands = (x, gamma, beta) if shifted else (x, gamma)
    # A near-constant row is divided by its own rounding error.
    assert_close(evaluated(LayerNorm(axis, epsilon), *operands)[0], wanted, 1e-4)


@given(st.data(), seeds, shapes, st.integers(1, 5))
def test_lrn_is_the_formula(data: st.DataObject, seed: int, shape: list[int], size: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = np.moveaxis(uniform(seed, *shape), axis, 0)
    alpha, beta, k = 0.3, 0.6, 1.5
    wanted = np.empty_like(x)
    for c in range(len(x)):  # ONNX, LRN: floor((size - 1) / 2) before and ceil of it after
        window = x[max(0, c - (size - 1) // 2) : c + math.ceil((size - 1) / 2) + 1]
        wanted[c] = x[c] / (k + alpha / size * (window.astype(float) ** 2).sum(0)) ** beta
    (y,) = evaluated(LRN(size, alpha, beta, k, axis), np.moveaxis(x, 0, axis))
    np.testing.assert_allclose(y, np.moveaxis(wanted, 0, axis), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn_of_odd_size_is_torchs(size: int) -> None:
    x = uniform(size, 2, 7, 3, 3)
    wanted = F.local_response_norm(tensor(x), size, 0.2, 0.75, 2.0)
    assert_close(evaluated(LRN(size, 0.2, 0.75, 2.0), x)[0], wanted)


@given(st.data(), seeds, shapes)
def test_softmaxes_are_torchs(data: st.DataObject, seed: int, shape: list[int]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = uniform(seed, *shape, low=-30, high=30)
    assert_close(evaluated(Softmax(axis), x)[0], torch.softmax(tensor(x), axis))
    assert_close(evaluated(Softmax(axis, 0.5), x)[0], torch.softmax(0.5 * tensor(x), axis))
    assert_close(evaluated(LogSoftmax(axis), x)[0], torch.log_softmax(tensor(x), axis))


def test_softmaxes_do_not_overflow() -> None:
    x = np.array([[1e38, 0.0, -1e38], [-1e30, -1e30, -np.inf]], np.float32)
    assert evaluated(Softmax(), x)[0].tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    log_half = float(np.float32(np.log(0.5)))
    first, second = evaluated(LogSoftmax(), x)[0].tolist()
    assert first == [0.0, float(np.float32(-1e38)), float(np.float32(-2e38))]
    assert second == [log_half, log_half, -math.inf]


def test_a_fused_activation_comes_last() -> None:
    x = uniform(1, 1, 3)
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    (y,) = evaluated(BatchNorm(activation=Relu()), x, -ones, zeros, zeros, ones)
    np.testing.assert_allclose(y, np.maximum(-x, 0), rtol=1e-4)


def test_costs() -> None:
    assert BatchNorm().macs([(1, 4, 5, 5)], [(1, 4, 5, 5)]) == 100
    free: list[Op] = [LayerNorm(), LRN(), Softmax(), LogSoftmax()]
    assert [op.macs([(1, 4, 5, 5)], [(1, 4, 5, 5)]) for op in free] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("op", "shapes", "what"),
    [
        (BatchNorm(), [(1, 3), (3,), (3,), (3,), (4,)], "4 statistics for 3 channels"),
        (BatchNorm(), [(3,), (3,), (3,), (3,), (3,)], "axis 1 is not in a shape of rank 1"),
        (LayerNorm(), [(2, 3), (2,)], "2 is not 3"),
        (LayerNorm(), [(2, 0), (0,)], "normalizes no elements"),
        (LRN(size=0), [(2, 3)], "a window of no channels"),
        (LRN(size=2**31), [(1, 3)], f"with its padding 1x{2**31 + 2} has more than"),
        (LRN(axis=2), [(2, 3)], "axis 2 is not in a shape of rank 2"),
        (Softmax(axis=-3), [(2, 3)], "axis -3 is not in a shape of rank 2"),
        (Softmax(), [()], "axis -1 is not in a shape of rank 0"),
        (LogSoftmax(axis=1), [(3,)], "axis 1 is not in a shape of rank 1"),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, shapes: list[Shape], what: str) -> None:
    with pytest.raises(InvalidType) as caught:
        op.infer([TensorType(shape, DType.F32) for shape in shapes])
    assert what in str(caught.value)


@pytest.mark.parametrize("axis", [0, 1])
def test_softmaxes_of_nothing_are_nothing(axis: int) -> None:
    empty: Array = np.zeros((0, 3) if axis == 0 else (3, 0), np.float32)
    assert evaluated(Softmax(axis), empty)[0].size == 0
    assert evaluated(LogSoftmax(axis), empty)[0].size == 0
