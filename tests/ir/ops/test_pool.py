import itertools

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from irprune.ir.errors import InvalidType
from irprune.ir.op import Op
from irprune.ir.ops import AveragePool2d, MaxPool2d, Relu
from irprune.ir.ops.conv import Layout, Padding, Pair
from irprune.ir.types import Array, DType, TensorType
from tests.evaluation import assert_close, evaluated, layouts, nhwc, pairs, seeds, tensor, uniform


@given(st.data(), seeds, layouts, st.booleans())
def test_max_pool_is_torchs(data: st.DataObject, seed: int, layout: Layout, ceil: bool) -> None:
    kernel, stride, dilation = data.draw(st.tuples(pairs(1, 4), pairs(1, 3), pairs(1, 2)))
    pad = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    x = uniform(seed, 1, 2, *data.draw(pairs(7, 10)))
    wanted = F.max_pool2d(tensor(x), kernel, stride, pad, dilation, ceil_mode=ceil)
    padding = ((pad[0], pad[0]), (pad[1], pad[1]))
    if layout == "NCHW":
        (y,) = evaluated(MaxPool2d(kernel, stride, padding, dilation, ceil), x)
        assert_close(y, wanted, 0.0)
    else:
        (y,) = evaluated(MaxPool2d(kernel, stride, padding, dilation, ceil, "NHWC"), nhwc(x))
        assert_close(y, wanted.permute(0, 2, 3, 1), 0.0)


@given(st.data(), seeds, layouts, st.booleans(), st.booleans())
def test_average_pool_is_torchs(
    data: st.DataObject, seed: int, layout: Layout, ceil: bool, count_padding: bool
) -> None:
    kernel, stride = data.draw(st.tuples(pairs(1, 4), pairs(1, 3)))
    pad = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    x = uniform(seed, 1, 2, *data.draw(pairs(4, 8)))
    wanted = F.avg_pool2d(tensor(x), kernel, stride, pad, ceil, count_padding)
    padding = ((pad[0], pad[0]), (pad[1], pad[1]))
    op = AveragePool2d(kernel, stride, padding, (1, 1), ceil, count_padding, layout)
    if layout == "NCHW":
        assert_close(evaluated(op, x)[0], wanted)
    else:
        assert_close(evaluated(op, nhwc(x))[0], wanted.permute(0, 2, 3, 1))


def places(
    size: int, kernel: int, stride: int, padding: Pair, dilation: int, ceil: bool
) -> list[list[int]]:
    """For each window along an axis the indices it covers, padding included (index < 0, >= size).

    Windows start every ``stride`` from the first padded index while they fit; with ``ceil`` one
    more may start, if it starts on the input or the padding before it.
    """
    before, after = padding
    reach = (kernel - 1) * dilation
    found: list[list[int]] = []
    for start in itertools.count(-before, stride):
        fits = start + reach < size + after
        hangs = ceil and start < size and start - stride + reach < size + after - 1
        if not (fits or hangs):
            return found
        found.append([start + dilation * i for i in range(kernel)])
    raise AssertionError("windows end")


@given(st.data(), seeds, st.booleans())
def test_pools_of_any_padding_and_dilation_are_those_of_the_definition(
    data: st.DataObject, seed: int, ceil: bool
) -> None:
    kernel, stride, dilation = data.draw(st.tuples(pairs(1, 3), pairs(1, 3), pairs(1, 2)))
    padding: Padding = data.draw(st.tuples(pairs(0, 3), pairs(0, 3)))
    x = uniform(seed, 1, 1, *data.draw(pairs(3, 6)))
    rows, columns = (
        places(x.shape[2 + a], kernel[a], stride[a], padding[a], dilation[a], ceil) for a in (0, 1)
    )
    assume(rows and columns)
    windows = [[window(x[0, 0], r, c) for c in columns] for r in rows]
    assume(all(w for row in windows for w in row))
    ends = [x.shape[2 + a] + padding[a][1] for a in (0, 1)]
    counts = [
        [sum(i < ends[0] for i in r) * sum(i < ends[1] for i in c) for c in columns] for r in rows
    ]
    geometry = (kernel, stride, padding, dilation, ceil)
    (largest,) = evaluated(MaxPool2d(*geometry), x)
    np.testing.assert_array_equal(largest[0, 0], [[max(w) for w in row] for row in windows])
    (mean,) = evaluated(AveragePool2d(*geometry), x)
    wanted = [[sum(w) / len(w) for w in row] for row in windows]
    np.testing.assert_allclose(mean[0, 0], wanted, rtol=1e-5, atol=1e-6)
    (mean,) = evaluated(AveragePool2d(*geometry, count_padding=True), x)
    totals = np.array([[sum(w) for w in row] for row in windows])
    np.testing.assert_allclose(mean[0, 0], totals / counts, rtol=1e-5, atol=1e-6)


def window(x: Array, rows: list[int], columns: list[int]) -> list[float]:
    """The elements that a window covers."""
    return [
        float(x[i, j]) for i in rows for j in columns if 0 <= i < x.shape[0] and 0 <= j < x.shape[1]
    ]


def test_integers_are_compared_as_they_are() -> None:
    x = np.array([[[[-128, -5], [-7, -9]]]], np.int8)
    (y,) = evaluated(MaxPool2d((2, 2), padding=((1, 0), (0, 0))), x)
    assert y.tolist() == [[[[-5], [-5]]]]


def test_a_fused_activation_comes_last() -> None:
    x = -uniform(1, 1, 1, 4, 4, low=0, high=1)
    for kind in (MaxPool2d, AveragePool2d):
        assert not evaluated(kind((2, 2), activation=Relu()), x)[0].any()


def test_costs_are_the_window_an_output_element() -> None:
    for kind in (MaxPool2d, AveragePool2d):
        assert kind((3, 2), (2, 2)).macs([(1, 4, 9, 9)], [(1, 4, 4, 4)]) == 4 * 4 * 4 * 6


@pytest.mark.parametrize(
    ("op", "shape", "what"),
    [
        (MaxPool2d((3, 3)), (1, 1, 2, 5), "a window of 3 (dilation 1) is wider than its input 2"),
        (MaxPool2d((3, 3)), (3, 5, 5), "wants a rank-4 operand"),
        (AveragePool2d((0, 3)), (1, 3, 5, 5), "must be positive"),
        (AveragePool2d((1, 1), padding=((-1, 0), (0, 0))), (1, 3, 5, 5), "is negative"),
        (
            MaxPool2d((2**40, 1), padding=((2**39, 2**39), (0, 0))),
            (1, 3, 5, 5),
            f"with its padding 1x3x{2**40 + 5}x5 has more than",
        ),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, shape: tuple[int, ...], what: str) -> None:
    with pytest.raises(InvalidType) as caught:
        op.infer([TensorType(shape, DType.F32)])
    assert what in str(caught.value)
