import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir.errors import InvalidType
from irprune.ir.op import Op
from irprune.ir.ops import Dense, MatMul, Relu6
from irprune.ir.types import DType, Shape, TensorType
from tests.evaluation import assert_close, evaluated, seeds, tensor, uniform

shapes = st.lists(st.integers(1, 4), max_size=3)


@given(seeds, shapes, st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_dense_is_torchs(
    seed: int, batch: list[int], inside: int, outside: int, biased: bool
) -> None:
    x, w, b = uniform(seed, *batch, inside), uniform(seed + 1, outside, inside), uniform(3, outside)
    operands = [x, w, b] if biased else [x, w]
    assert_close(evaluated(Dense(), *operands)[0], F.linear(*map(tensor, operands)))


@given(st.data(), seeds, shapes, st.booleans(), st.booleans())
def test_matmul_is_torchs(
    data: st.DataObject, seed: int, batch: list[int], flip_a: bool, flip_b: bool
) -> None:
    rows, inner, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    stack_a, stack_b = (
        [data.draw(st.sampled_from([1, n])) for n in batch[data.draw(st.integers(0, len(batch))) :]]
        for _ in range(2)
    )
    a = uniform(seed, *stack_a, *((inner, rows) if flip_a else (rows, inner)))
    b = uniform(seed + 1, *stack_b, *((columns, inner) if flip_b else (inner, columns)))
    wanted = torch.matmul(
        tensor(a).mT if flip_a else tensor(a), tensor(b).mT if flip_b else tensor(b)
    )
    assert_close(evaluated(MatMul(flip_a, flip_b), a, b)[0], wanted)


def test_a_fused_activation_comes_last() -> None:
    x, w = uniform(1, 3, 8), uniform(2, 8, 8)
    for plain, fused in (
        (Dense(), Dense(activation=Relu6())),
        (MatMul(), MatMul(activation=Relu6())),
    ):
        (y,), (z,) = evaluated(plain, x, w), evaluated(fused, x, w)
        assert y.min() < 0
        np.testing.assert_array_equal(z, np.clip(y, 0, 6))


def test_integers_multiply_exactly() -> None:
    a = np.array([[2**40, 1]], np.int64)
    (y,) = evaluated(MatMul(), a, np.array([[3], [1]], np.int64))
    assert y.tolist() == [[3 * 2**40 + 1]]


def test_costs() -> None:
    assert Dense().macs([(1, 10), (20, 10)], [(1, 20)]) == 200
    assert Dense().macs([(1, 5, 10), (20, 10)], [(1, 5, 20)]) == 1000
    assert MatMul().macs([(2, 3, 4), (4, 5)], [(2, 3, 5)]) == 2 * 3 * 4 * 5
    assert MatMul(True).macs([(2, 4, 3), (4, 5)], [(2, 3, 5)]) == 2 * 3 * 4 * 5


@pytest.mark.parametrize(
    ("op", "shapes", "what"),
    [
        (Dense(), [(1, 4), (3, 5)], "weights 3x5 do not fit input 1x4"),
        (Dense(), [(1, 4), (4,)], "weights 4 do not fit input 1x4"),
        (Dense(), [(1, 4), (3, 4), (4,)], "bias 4 is not 3 elements"),
        (MatMul(), [(3, 4), (3, 4)], "shapes 3x4 and 3x4 do not multiply"),
        (MatMul(), [(4,), (4, 3)], "wants operands of rank 2 or more"),
        (MatMul(), [(2, 3, 4), (3, 4, 5)], "do not broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, shapes: list[Shape], what: str) -> None:
    with pytest.raises(InvalidType) as caught:
        op.infer([TensorType(shape, DType.F32) for shape in shapes])
    assert what in str(caught.value)
