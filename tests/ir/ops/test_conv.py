import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from irprune.ir.errors import InvalidType
from irprune.ir.op import Op
from irprune.ir.ops import Conv2d, ConvTranspose2d, Relu6
from irprune.ir.ops.conv import Layout
from irprune.ir.types import DType, TensorType
from tests.evaluation import (
    assert_close,
    evaluated,
    layouts,
    nhwc,
    padded,
    pairs,
    seeds,
    tensor,
    uniform,
)

paddings = st.tuples(pairs(0, 2), pairs(0, 2))


@given(st.data(), seeds, layouts)
def test_conv2d_is_torchs(data: st.DataObject, seed: int, layout: Layout) -> None:
    groups, inside, filters = (data.draw(st.integers(1, 3)) for _ in range(3))
    stride, dilation, padding = data.draw(st.tuples(pairs(1, 3), pairs(1, 2), paddings))
    x = uniform(seed, data.draw(st.integers(1, 2)), groups * inside, *data.draw(pairs(5, 9)))
    w = uniform(seed + 1, groups * filters, inside, *data.draw(pairs(1, 3)))
    b = uniform(seed + 2, groups * filters)
    wanted = F.conv2d(
        padded(x, padding), tensor(w), tensor(b), stride, 0, dilation=dilation, groups=groups
    )
    if layout == "NCHW":
        (y,) = evaluated(Conv2d(stride, padding, dilation, groups), x, w, b)
        assert_close(y, wanted)
    else:
        (y,) = evaluated(Conv2d(stride, padding, dilation, groups, "NHWC"), nhwc(x), nhwc(w), b)
        assert_close(y, wanted.permute(0, 2, 3, 1))


@given(st.data(), seeds, layouts)
def test_conv_transpose2d_is_torchs(data: st.DataObject, seed: int, layout: Layout) -> None:
    groups, inside, filters = (data.draw(st.integers(1, 3)) for _ in range(3))
    stride, dilation = data.draw(st.tuples(pairs(1, 3), pairs(1, 2)))
    rows, columns = (max(stride[a], dilation[a]) - 1 for a in (0, 1))
    extra = data.draw(st.tuples(st.integers(0, rows), st.integers(0, columns)))
    x = uniform(seed, data.draw(st.integers(1, 2)), groups * inside, *data.draw(pairs(2, 5)))
    w = uniform(seed + 1, groups * inside, filters, *data.draw(pairs(1, 3)))
    b = uniform(seed + 2, groups * filters)
    full = F.conv_transpose2d(
        tensor(x), tensor(w), tensor(b), stride, 0, extra, groups=groups, dilation=dilation
    )
    (top, bottom), (left, right) = padding = data.draw(paddings)
    rows, columns = full.shape[2] - top - bottom, full.shape[3] - left - right
    operands = [x, w, b] if layout == "NCHW" else [nhwc(x), w.transpose(1, 2, 3, 0), b]
    op = ConvTranspose2d(stride, padding, extra, dilation, groups, layout)
    if min(rows, columns) < 1:
        with pytest.raises(InvalidType, match="is empty"):
            evaluated(op, *operands)
        return
    wanted = full[:, :, top : top + rows, left : left + columns]
    (y,) = evaluated(op, *operands)
    assert_close(y, wanted if layout == "NCHW" else wanted.permute(0, 2, 3, 1))


@given(seeds, st.integers(1, 4), st.integers(1, 3))
def test_depthwise_is_torchs(seed: int, channels: int, multiplier: int) -> None:
    x, w = uniform(seed, 1, channels, 6, 5), uniform(seed, channels * multiplier, 1, 3, 2)
    (y,) = evaluated(Conv2d((2, 1), groups=channels), x, w)
    assert_close(y, F.conv2d(tensor(x), tensor(w), stride=(2, 1), groups=channels))


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_a_fused_activation_comes_last(kind: type[Conv2d] | type[ConvTranspose2d]) -> None:
    x, w, b = uniform(1, 1, 2, 4, 4), uniform(2, 2, 2, 3, 3, low=-5, high=5), uniform(3, 2)
    (plain,), (fused,) = (evaluated(kind(activation=a), x, w, b) for a in (None, Relu6()))
    assert plain.min() < 0
    assert plain.max() > 6
    np.testing.assert_array_equal(fused, np.clip(plain, 0, 6))


@pytest.mark.parametrize("kind", [Conv2d, ConvTranspose2d])
def test_operands_are_left_as_they_were(kind: type[Conv2d] | type[ConvTranspose2d]) -> None:
    args = [uniform(1, 1, 2, 4, 4), uniform(2, 2, 2, 1, 1), uniform(3, 2)]
    copies = [arg.copy() for arg in args]
    kind().evaluate(args)
    for arg, copy in zip(args, copies, strict=True):
        np.testing.assert_array_equal(arg, copy)


def f32(*shape: int) -> TensorType:
    return TensorType(shape, DType.F32)


@pytest.mark.parametrize(
    ("op", "inputs", "what"),
    [
        (Conv2d(), [f32(1, 3, 8, 8)], "takes 2 to 3 operands, not 1"),
        (Conv2d(), [f32(3, 8, 8), f32(4, 3, 3, 3)], "wants a rank-4 operand, not 3x8x8"),
        (Conv2d(), [f32(1, 3, 8, 8), f32(4, 2, 3, 3)], "weights 4x2x3x3 in 1 groups do not fit"),
        (Conv2d(groups=2), [f32(1, 4, 8, 8), f32(3, 2, 1, 1)], "weights 3x2x1x1 in 2 groups"),
        (Conv2d(groups=0), [f32(1, 3, 8, 8), f32(4, 3, 3, 3)], "has 0 groups"),
        (Conv2d(), [f32(1, 3, 8, 8), f32(4, 3, 3, 3), f32(3)], "bias 3 is not 4 elements"),
        (Conv2d(), [f32(1, 3, 2, 8), f32(4, 3, 3, 3)], "a window of 3 (dilation 1) is wider"),
        (Conv2d((0, 1)), [f32(1, 3, 8, 8), f32(4, 3, 3, 3)], "must be positive"),
        (
            Conv2d(padding=((-1, 0), (0, 0))),
            [f32(1, 3, 8, 8), f32(4, 3, 3, 3)],
            "padding (-1, 0) is negative",
        ),
        (Conv2d(), [f32(1, 3, 8, 8), TensorType((4, 3, 3, 3), DType.F16)], "mixes f32 and f16"),
        (ConvTranspose2d(), [f32(1, 3, 8, 8), f32(4, 3, 3, 3)], "weights 4x3x3x3 in 1 groups"),
        (ConvTranspose2d((0, 1)), [f32(1, 3, 8, 8), f32(3, 4, 3, 3)], "must be positive"),
        (
            ConvTranspose2d(padding=((0, 0), (0, -1))),
            [f32(1, 3, 8, 8), f32(3, 4, 3, 3)],
            "padding (0, -1) is negative",
        ),
        (
            Conv2d(stride=(2**31, 1), padding=((2**31, 0), (0, 0))),
            [f32(1, 3, 8, 8), f32(4, 3, 3, 3)],
            f"with its padding 1x3x{2**31 + 8}x8 has more than",
        ),
        (
            ConvTranspose2d(stride=(2**31, 1), padding=((2**33, 2**33), (0, 0))),
            [f32(1, 3, 9, 8), f32(3, 4, 3, 3)],
            f"with its padding 1x4x{2**34 + 3}x10 has more than",
        ),
        (
            ConvTranspose2d(output_padding=(0, -1)),
            [f32(1, 3, 8, 8), f32(3, 4, 3, 3)],
            "output padding (0, -1) is negative",
        ),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, inputs: list[TensorType], what: str) -> None:
    with pytest.raises(InvalidType) as caught:
        op.infer(inputs)
    assert what in str(caught.value)


def test_costs_are_the_products_with_weights() -> None:
    # 8 filters of 3x3x3 at 4x4 places; at every place of the input for the transposed form
    assert Conv2d((2, 2)).macs([(1, 3, 9, 9), (8, 3, 3, 3)], [(1, 8, 4, 4)]) == 4 * 4 * 8 * 27
    depthwise = Conv2d(groups=6, layout="NHWC")
    assert depthwise.macs([(1, 5, 5, 6), (6, 3, 3, 1)], [(1, 3, 3, 6)]) == 3 * 3 * 6 * 9
    transposed = ConvTranspose2d((2, 2))
    assert transposed.macs([(1, 3, 5, 5), (3, 4, 2, 2)], [(1, 4, 10, 10)]) == 5 * 5 * 3 * 4 * 4
