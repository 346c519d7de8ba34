"""Layers with weights or windows, in the forms they take across opsets and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx_models import Form, agrees_with_onnxruntime, node, one, reals

real = reals(0)

W, W1, B = real(4, 3, 3, 2), real(4, 3, 3), real(4)
T, T1 = real(3, 2, 3, 4), real(3, 2, 4)

CONVOLUTIONS = [
    one("conv", 11, "Conv", "x w b", w=W, b=B, kernel_shape=[3, 2], pads=[1, 0, 2, 1]),
    one("conv_same_upper", 11, "Conv", "x w", w=W, auto_pad="SAME_UPPER", strides=[2, 3]),
    one("conv_same_lower", 11, "Conv", "x w", w=W, auto_pad="SAME_LOWER", strides=[2, 2]),
    one("conv_valid", 11, "Conv", "x w", w=W, auto_pad="VALID", dilations=[2, 1]),
    one("conv_depthwise", 7, "Conv", "x w", w=real(6, 1, 3, 3), group=3, strides=[2, 1]),
    one("conv_1d", 11, "Conv", "x w b", 1, 3, 9, w=W1, b=B, pads=[2, 1], strides=[2]),
    one("conv_1d_same", 11, "Conv", "x w", 1, 3, 9, w=W1, auto_pad="SAME_LOWER", strides=[2]),
    one("transposed", 11, "ConvTranspose", "x w b", w=T, b=real(2), strides=[2, 3]),
    one("transposed_cut", 11, "ConvTranspose", "x w", w=T, strides=[2, 3], pads=[1, 0, 0, 2]),
    one(
        "transposed_longer", 11, "ConvTranspose", "x w", w=T, strides=[2, 3], output_padding=[1, 2]
    ),
    one("transposed_dilated", 11, "ConvTranspose", "x w", w=T, dilations=[2, 1], group=1),
    one("transposed_groups", 11, "ConvTranspose", "x w", w=T, group=3),
    one("transposed_same", 11, "ConvTranspose", "x w", w=T, strides=[2, 3], auto_pad="SAME_UPPER"),
    one("transposed_low", 11, "ConvTranspose", "x w", w=T, strides=[2, 2], auto_pad="SAME_LOWER"),
    one("transposed_shape", 11, "ConvTranspose", "x w", w=T, strides=[2, 2], output_shape=[12, 11]),
    one(
        "transposed_shape_upper",
        11,
        "ConvTranspose",
        "x w",
        w=T,
        strides=[2, 2],
        output_shape=[12, 9],
        auto_pad="SAME_UPPER",
    ),
    one("transposed_1d", 11, "ConvTranspose", "x w", 1, 3, 9, w=T1, strides=[3], pads=[1, 2]),
]

POOLS = [
    one("max", 8, "MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    one("max_ceil", 10, "MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    one("max_dilated", 12, "MaxPool", kernel_shape=[3, 2], dilations=[2, 3]),
    one("max_same", 7, "MaxPool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER"),
    one("max_1d", 12, "MaxPool", "x", 1, 3, 9, kernel_shape=[3], strides=[2], pads=[1, 0]),
    one("average", 7, "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    one(
        "average_padded",
        7,
        "AveragePool",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
    ),
    one(
        "average_ceil",
        19,
        "AveragePool",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 0, 0],
        ceil_mode=1,
    ),
    one("average_dilated", 19, "AveragePool", kernel_shape=[2, 3], dilations=[2, 2]),
    one("average_same", 11, "AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    one("average_1d", 11, "AveragePool", "x", 1, 3, 9, kernel_shape=[4], strides=[3]),
    one("global_average", 7, "GlobalAveragePool"),
    one("global_max", 7, "GlobalMaxPool"),
    one("global_average_1d", 7, "GlobalAveragePool", "x", 2, 3, 9),
]

G, H = real(4, 5), real(5, 4)
PRODUCTS = [
    one("gemm", 9, "Gemm", "x b c", 2, 4, b=G, c=real(5)),
    one("gemm_trans_b", 7, "Gemm", "x b c", 2, 4, b=H, c=real(1, 5), transB=1),
    one("gemm_trans_a", 9, "Gemm", "x b c", 4, 2, b=G, c=real(5), transA=1),
    one("gemm_alpha", 9, "Gemm", "x b c", 2, 4, b=G, c=real(5), alpha=0.5, beta=3.0),
    one("gemm_scalar", 9, "Gemm", "x b c", 2, 4, b=G, c=np.asarray(0.5, np.float32)),
    one("gemm_column", 9, "Gemm", "x b c", 2, 4, b=G, c=real(2, 1)),
    one("gemm_square_column", 9, "Gemm", "x b c", 5, 4, b=G, c=real(5, 1)),
    one("gemm_matrix", 9, "Gemm", "x b c", 2, 4, b=G, c=real(2, 5), beta=0.5),
    one("gemm_no_c", 11, "Gemm", "x b", 2, 4, b=G, alpha=2.0),
    one("gemm_no_beta", 11, "Gemm", "x b c", 2, 4, b=G, c=real(5), beta=0.0),
    Form(
        "gemm_runtime",
        11,
        [node("Gemm", "x b c", alpha=0.5, transB=1)],
        {"x": (2, 4), "b": (5, 4), "c": (2, 5)},
    ),
    Form("gemm_runtime_plain", 11, [node("Gemm", "x b")], {"x": (2, 4), "b": (4, 5)}),
    Form("gemm_runtime_bias", 11, [node("Gemm", "x b c")], {"x": (2, 4), "c": (5,)}, {"b": G}),
    one("matmul", 9, "MatMul", "x b", 2, 3, 4, b=G),
    one("matmul_left", 9, "MatMul", "b x", 5, 3, b=G),
    one("matmul_stack", 9, "MatMul", "x b", 2, 3, 4, b=real(2, 4, 5)),
    one("matmul_vector", 9, "MatMul", "x b", 2, 3, 4, b=real(4)),
    one("matmul_of_vector", 9, "MatMul", "x b", 4, b=G),
    one("matmul_of_vector_left", 9, "MatMul", "x b", 4, b=real(3, 4, 5)),
    one("matmul_vectors", 9, "MatMul", "x b", 4, b=real(4)),
    Form("matmul_runtime", 9, [node("MatMul", "x b")], {"x": (2, 3, 4), "b": (4, 5)}),
]


def cell(name: str, op: str, operands: str, gates: int, directions: int, **attributes: Any) -> Form:
    """A recurrent cell of 4 units over 5 steps of 2 sequences of 3 features."""
    tensors = {
        "w": real(directions, gates * 4, 3),
        "r": real(directions, gates * 4, 4),
        "b": real(directions, 2 * gates * 4),
        "l": np.asarray([5, 5], np.int32),
        "h": real(directions, 2, 4),
        "c": real(directions, 2, 4),
        "p": real(directions, 3 * 4),
    }
    outputs = "y last cell" if op == "LSTM" else "y last"
    used = {key: array for key, array in tensors.items() if key in operands.split()}
    made = node(op, operands, outputs, hidden_size=4, **attributes)
    return Form(name, 14, [made], {"x": (5, 2, 3)}, used, outputs)


CELLS = [
    cell("lstm", "LSTM", "x w r b - h c", 4, 1),
    cell("lstm_bare", "LSTM", "x w r", 4, 1),
    cell("lstm_cell_only", "LSTM", "x w r - - - c", 4, 1),
    cell("lstm_peepholes", "LSTM", "x w r b - - - p", 4, 1),
    cell("lstm_states_peepholes", "LSTM", "x w r - - h c p", 4, 2, direction="bidirectional"),
    cell("lstm_back", "LSTM", "x w r b l h", 4, 1, direction="reverse"),
    cell(
        "lstm_both",
        "LSTM",
        "x w r b",
        4,
        2,
        direction="bidirectional",
        activations=["Sigmoid", "Tanh", "Tanh"] * 2,
    ),
    cell("gru_bare", "GRU", "x w r - - h", 3, 1),
    cell("gru", "GRU", "x w r b - h", 3, 1),
    cell("gru_after", "GRU", "x w r b - h", 3, 1, linear_before_reset=1),
    cell("gru_both", "GRU", "x w r b l", 3, 2, direction="bidirectional", linear_before_reset=1),
]


@pytest.mark.parametrize(
    "form", [*CONVOLUTIONS, *POOLS, *PRODUCTS, *CELLS], ids=lambda form: form.name
)
def test_a_form(form: Form) -> None:
    agrees_with_onnxruntime(form)
