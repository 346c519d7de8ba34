"""Cases of layers of torch.nn and what they call."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.torch_cases.operands import (
    IMAGE,
    MATRIX,
    PAIR,
    SIGNAL,
    SQUARE,
    STACK,
    TALL,
    VECTOR,
    WIDE,
    Cases,
    aten,
)


def attention(
    mask: Tensor | None = None, is_causal: bool = False, scale: float | None = None
) -> Callable[..., Tensor]:
    return lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, mask, is_causal=is_causal, scale=scale
    )


class SelfAttention(nn.Module):
    def __init__(self, need_weights: bool, mask: Tensor | None = None) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.need_weights = need_weights
        self.mask = mask

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        attended: tuple[Tensor, Tensor | None] = self.attention(
            x, x, x, need_weights=self.need_weights, attn_mask=self.mask
        )
        return attended


class FromStates(nn.Module):
    """A recurrent layer that begins from given states."""

    def __init__(self, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, Tensor]:
        first = states[0] if isinstance(self.layer, nn.GRU) else states
        result: tuple[Tensor, Tensor] = self.layer(x, first)
        return result


LAYERS: Cases = {
    # convolutions
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2), (SIGNAL,)),
    "conv1d_same": (nn.Conv1d(4, 4, 4, padding="same", groups=2), (SIGNAL,)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2)), (IMAGE,)),
    "conv2d_same": (nn.Conv2d(4, 4, (4, 3), padding="same", dilation=(1, 2)), (IMAGE,)),
    "conv2d_valid": (nn.Conv2d(4, 2, 3, padding="valid", bias=False), (IMAGE,)),
    "conv2d_depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (IMAGE,)),
    "conv2d_reflect": (nn.Conv2d(4, 2, 3, padding=2, padding_mode="reflect"), (IMAGE,)),
    "conv2d_replicate": (nn.Conv2d(4, 2, 3, padding=1, padding_mode="replicate"), (IMAGE,)),
    "conv2d_circular": (nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), (IMAGE,)),
    "conv2d_unbatched": (nn.Conv2d(4, 2, 3), (IMAGE[1:],)),
    "conv2d_computed": (lambda x, w: F.conv2d(x, w.abs()), (IMAGE, (2, 4, 3, 3))),
    "conv1d_computed": (lambda x, w: F.conv1d(x, w.abs()), (SIGNAL, (2, 4, 3))),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 3, 4, 2, 1, 1), (SIGNAL,)),
    "conv_transpose2d": (
        nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), groups=2, dilation=(2, 1)),
        (IMAGE,),
    ),
    # matrix products
    "linear": (nn.Linear(8, 3), (IMAGE,)),
    "linear_no_bias": (nn.Linear(5, 3, bias=False), (MATRIX,)),
    "linear_vector": (nn.Linear(5, 3), ((5,),)),
    "linear_computed": (lambda x, w, b: F.linear(x, w + 1, b), (MATRIX, (4, 5), (4,))),
    "matmul": (lambda x, y: x @ y, ((2, 3, 4), (4, 5))),
    "matmul_weights": (lambda x: x @ TALL, (MATRIX,)),
    "matmul_weights_left": (lambda x: WIDE @ x, (MATRIX,)),
    "matmul_vector": (lambda x, v: x @ v, ((2, 3, 5), (5,))),
    "mv": (lambda x: x @ VECTOR, (MATRIX,)),
    "mv_op": (torch.mv, (MATRIX, (5,))),
    "dot": (torch.dot, ((5,), (5,))),
    "mm": (torch.mm, (MATRIX, (5, 2))),
    "bmm": (torch.bmm, ((2, 3, 4), (2, 4, 5))),
    "bmm_weights": (lambda x: torch.bmm(x, STACK), ((2, 3, 4),)),
    "addmm": (lambda x: torch.addmm(PAIR, x, TALL), (MATRIX,)),
    "addmm_scaled": (
        lambda b, x, y: torch.addmm(b, x, y, beta=0.5, alpha=2),
        ((3, 2), MATRIX, (5, 2)),
    ),
    "addmm_beta_0": (lambda b, x, y: torch.addmm(b, x, y, beta=0), ((2,), MATRIX, (5, 2))),
    "addmm_bias_computed": (lambda b, x: torch.addmm(b, x, TALL), ((3, 2), MATRIX)),
    "baddbmm": (torch.baddbmm, ((2, 3, 5), (2, 3, 4), (2, 4, 5))),
    "einsum": (lambda x, y: torch.einsum("bij,bkj->bik", x, y), ((2, 3, 4), (2, 5, 4))),
    # attention
    "attention": (attention(), ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6))),
    "attention_causal": (attention(is_causal=True, scale=0.3), ((1, 2, 4, 4),) * 3),
    "attention_bool": (
        attention(torch.ones(3, 5).tril(1) > 0),
        ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)),
    ),
    "attention_mask": (attention(SQUARE), ((1, 2, 3, 4),) * 3),
    "attention_mask_computed": (
        lambda q, m: F.scaled_dot_product_attention(q, q, q, m),
        ((1, 2, 3, 4), (3, 3)),
    ),
    "multihead_weights": (SelfAttention(True), ((1, 5, 8),)),
    "multihead": (SelfAttention(False, torch.ones(5, 5).triu(1) > 0), ((2, 5, 8),)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ((1, 5, 8),)),
    # normalization
    "batch_norm1d": (nn.BatchNorm1d(4), (SIGNAL,)),
    "batch_norm1d_rank2": (nn.BatchNorm1d(5, eps=0.1), (MATRIX,)),
    "batch_norm2d": (nn.BatchNorm2d(4), (IMAGE,)),
    "batch_norm2d_plain": (nn.BatchNorm2d(4, affine=False), (IMAGE,)),
    "batch_norm2d_stateless": (nn.BatchNorm2d(4, track_running_stats=False), (IMAGE,)),
    "safe_softmax": (lambda x: aten._safe_softmax(x, 1), (IMAGE,)),
    "layer_norm": (nn.LayerNorm((6, 8)), (IMAGE,)),
    "layer_norm_plain": (nn.LayerNorm(8, elementwise_affine=False, eps=0.1), (IMAGE,)),
    "layer_norm_no_bias": (nn.LayerNorm(8, bias=False), (IMAGE,)),
    "group_norm": (nn.GroupNorm(2, 4), (IMAGE,)),
    "group_norm_plain": (nn.GroupNorm(4, 4, affine=False), (SIGNAL,)),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), (IMAGE,)),
    "instance_norm_running": (
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        ((1, *IMAGE[1:]),),
    ),
    "lrn": (nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2), (IMAGE,)),
    "lrn_even": (nn.LocalResponseNorm(4, alpha=0.5), (SIGNAL,)),
    "softmax": (nn.Softmax(1), (IMAGE,)),
    "log_softmax": (nn.LogSoftmax(-2), (IMAGE,)),
    "normalize": (lambda x: F.normalize(x, dim=1), (IMAGE,)),
    # pools
    "max_pool1d": (nn.MaxPool1d(3, 2, 1, ceil_mode=True), (SIGNAL,)),
    "max_pool2d": (nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), (IMAGE,)),
    "max_pool2d_ceil": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (IMAGE,)),
    "max_pool_indices": (
        lambda x, y: (
            F.max_pool2d(x, 2, return_indices=True)[0],
            F.max_pool1d(y, 2, return_indices=True)[0],
        ),
        (IMAGE, SIGNAL),
    ),
    "avg_pool1d": (nn.AvgPool1d(4, 3, 1, ceil_mode=True), (SIGNAL,)),
    "avg_pool2d": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (IMAGE,)),
    "avg_pool2d_ceil": (nn.AvgPool2d(3, (2, 3), 1, ceil_mode=True), (IMAGE,)),
    "avg_pool2d_unbatched": (nn.AvgPool2d(2), (IMAGE[1:],)),
    "adaptive_avg_pool1d": (
        lambda x: (F.adaptive_avg_pool1d(x, 1), F.adaptive_avg_pool1d(x, 3)),
        (SIGNAL,),
    ),
    "adaptive_avg_pool2d": (
        lambda x: (
            F.adaptive_avg_pool2d(x, 1),
            F.adaptive_avg_pool2d(x, (3, 2)),
            F.adaptive_avg_pool2d(x, (1, 8)),
        ),
        (IMAGE,),
    ),
    "adaptive_max_pool": (
        lambda x, y: (
            F.adaptive_max_pool2d(x, 1),
            F.adaptive_max_pool2d(x, (3, 2)),
            F.adaptive_max_pool1d(y, 3),
            F.adaptive_max_pool1d(y, 1),
        ),
        (IMAGE, SIGNAL),
    ),
    # recurrent layers
    "lstm": (nn.LSTM(5, 3, num_layers=2, bidirectional=True, batch_first=True), ((2, 4, 5),)),
    "lstm_time_first": (nn.LSTM(5, 3, bias=False, dropout=0.0), ((4, 1, 5),)),
    "lstm_states": (FromStates(nn.LSTM(5, 3, 2)), ((4, 2, 5), (2, 2, 3), (2, 2, 3))),
    "gru": (nn.GRU(5, 3, num_layers=2, batch_first=True), ((2, 4, 5),)),
    "gru_bidirectional": (nn.GRU(5, 3, bidirectional=True), ((4, 1, 5),)),
    "gru_states": (FromStates(nn.GRU(5, 3, bidirectional=True)), ((4, 2, 5), (2, 2, 3))),
    "gru_unbatched": (nn.GRU(5, 3), ((4, 5),)),
    "lstm_cell": (nn.LSTMCell(5, 3), ((2, 5),)),
    "rnn": (nn.RNN(5, 3), ((4, 1, 5),)),
}
