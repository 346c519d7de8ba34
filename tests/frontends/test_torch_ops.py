from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from irprune.frontends.torch_export import read_torch
from irprune.frontends.torch_export.call import LOWERINGS
from irprune.frontends.torch_export.exporting import decompose, export
from irprune.frontends.torch_export.inplace import UNDECLARED_VIEWS
from irprune.frontends.torch_export.nodes import schema_of
from tests.torch_models import Function, assert_computes, eager, randomize

Shape = tuple[int, ...]
aten = torch.ops.aten
IMAGE: Shape = (2, 4, 6, 8)
SIGNAL: Shape = (2, 4, 9)
MATRIX: Shape = (3, 5)
POSITIVE = {"rsqrt", "sqrt", "pow_tensor", "pow_fraction"}


def weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


# Constants of a model that are neither parameters nor buffers.
ROW, VECTOR, PAIR, SQUARE = weights(8), weights(5), weights(2), weights(3, 3)
COLUMN = weights(4, 1, 1)
WIDE, TALL, STACK, IMAGE_PART = weights(4, 3), weights(5, 2), weights(2, 4, 5), weights(2, 1, 6, 8)
THREE_ROWS = weights(3, 5)
COLUMNS, BLOCK = (torch.tensor(indices) for indices in ([5, 5, 0], [[0, 1], [2, 3]]))
LINES, PLACES, ORDER = (torch.tensor(indices) for indices in ([[1], [0]], [2, 3, -1], [2, 0]))


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


CASES: dict[str, tuple[nn.Module | Callable[..., object], tuple[Shape, ...]]] = {
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
    # activations
    "relu": (nn.ReLU(), (IMAGE,)),
    "relu6": (lambda x: (F.relu6(x), aten.relu6(2 * x)), (IMAGE,)),
    "hardtanh": (nn.Hardtanh(-0.5, 0.7), (IMAGE,)),
    "clamp": (lambda x: x.clamp(-0.3, 0.4), (IMAGE,)),
    "clamp_6": (lambda x: x.clamp(0, 6), (IMAGE,)),
    "clamp_below": (lambda x: x.clamp(min=0), (IMAGE,)),
    "clamp_min_max": (lambda x: x.clamp_min(-0.3).clamp_max(0.2), (IMAGE,)),
    "clamp_tensor": (lambda x, y: torch.clamp(x, y, torch.tensor(0.5)), (IMAGE, (8,))),
    "leaky_relu": (nn.LeakyReLU(0.2), (IMAGE,)),
    "prelu": (nn.PReLU(4, 0.3), (IMAGE,)),
    "prelu_one": (nn.PReLU(), ((7,),)),
    "prelu_kernel": (lambda x: aten._prelu_kernel(x, COLUMN), (IMAGE,)),
    "sigmoid": (nn.Sigmoid(), (IMAGE,)),
    "tanh": (nn.Tanh(), (IMAGE,)),
    "hardsigmoid": (nn.Hardsigmoid(), (IMAGE,)),
    "hardswish": (nn.Hardswish(), (IMAGE,)),
    "silu": (nn.SiLU(), (IMAGE,)),
    "gelu": (nn.GELU(), (IMAGE,)),
    "gelu_tanh": (nn.GELU("tanh"), (IMAGE,)),
    "elu": (nn.ELU(0.7), (IMAGE,)),
    "selu": (nn.SELU(), (IMAGE,)),
    "glu": (nn.GLU(1), (IMAGE,)),
    # arithmetic
    "add": (lambda x, y: torch.add(x, y, alpha=2) + 1.5, (IMAGE, (4, 1, 1))),
    "add_scaled_weights": (lambda x: torch.add(x, ROW, alpha=3), (IMAGE,)),
    "add_int": (lambda x: x + torch.arange(8), (IMAGE,)),
    "sub": (lambda x, y: torch.sub(x, y, alpha=0.5) - 2, (IMAGE, (8,))),
    "rsub": (lambda x: torch.rsub(x, 3, alpha=2) + torch.rsub(x, ROW), (IMAGE,)),
    "mul": (lambda x, y: x * y * 0.3, (IMAGE, (8,))),
    "div": (lambda x, y: x / (y.abs() + 1) / 3, (IMAGE, (8,))),
    "div_mode": (lambda x: torch.div(x, 3, rounding_mode=None), (IMAGE,)),
    "div_modes": (
        lambda x: (
            aten.div.Scalar_mode(x, 3, rounding_mode=None)
            + aten.div.Tensor_mode(x, ROW, rounding_mode=None)
        ),
        (IMAGE,),
    ),
    "scalar_overloads": (
        lambda x: (
            aten.add.Scalar(aten.sub.Scalar(aten.mul.Scalar(x, 2), 1), 3) + aten.div.Scalar(x, 4)
        ),
        (IMAGE,),
    ),
    "minimum": (lambda x, y: torch.minimum(x, y) + torch.min(x, ROW), (IMAGE, (8,))),
    "maximum": (lambda x, y: torch.maximum(x, y) + torch.max(x, ROW), (IMAGE, (8,))),
    "abs_neg_exp": (lambda x: torch.exp(-x.abs()), (IMAGE,)),
    "erf": (torch.erf, (IMAGE,)),
    "sqrt": (lambda x: x.sqrt() + x**0.5, (IMAGE,)),
    "rsqrt": (torch.rsqrt, (IMAGE,)),
    "reciprocal": (lambda x: torch.reciprocal(x.abs() + 1), (IMAGE,)),
    "square": (lambda x: torch.square(x) + x**2, (IMAGE,)),
    "pow_fraction": (lambda x: x**0.75, (IMAGE,)),
    "pow_tensor": (lambda x, y: x**y + 2**y, (IMAGE, (8,))),
    "addcmul": (lambda x, y: torch.addcmul(x, x, y, value=0.5), (IMAGE, (8,))),
    "masked_fill": (
        lambda x: x.masked_fill(torch.ones(8, 8).triu(1) > 0, -math.inf).softmax(-1),
        ((2, 8, 8),),
    ),
    "masked_fill_tensor": (
        lambda x: aten.masked_fill.Tensor(x, torch.arange(8) > 2, torch.tensor(0.5)),
        (IMAGE,),
    ),
    "where": (lambda x: torch.where(torch.arange(8) > 2, x, ROW), (IMAGE,)),
    "where_computed": (lambda x, y: torch.where(torch.arange(8) > 2, x, y / 0), (IMAGE, (8,))),
    "where_scalars": (
        lambda x: (
            torch.where(torch.arange(8) > 2, 0.0, x) + torch.where(torch.arange(8) > 5, x, -1.0)
        ),
        (IMAGE,),
    ),
    "tril": (lambda x: x.tril() + x.triu(1), (IMAGE,)),
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
    # reductions
    "mean": (lambda x: (x.mean(), x.mean((2, 3)), x.mean(1, keepdim=True)), (IMAGE,)),
    "sum": (lambda x: (x.sum(), x.sum((-1, 0)), x.sum(1, keepdim=True)), (IMAGE,)),
    "amax": (lambda x: (x.amax((2, 3)), x.max(), x.max(1)[0], x.amax(1, True)), (IMAGE,)),
    "var": (lambda x: (x.var((2, 3)), x.std(1, correction=0), x.var()), (IMAGE,)),
    # shapes
    "views": (
        lambda x: (
            x.view(2, 24, 8).reshape(2, -1),
            x.flatten(1),
            x.flatten(-2),
            x.flatten(),
            x.unflatten(1, (2, 2)),
            x.view_as(x.reshape(4, 2, 6, 8)),
            aten._unsafe_view(x, [8, 48]),
        ),
        (IMAGE,),
    ),
    "squeezes": (
        lambda x: (x.squeeze(), x.squeeze(1), x.squeeze((0, 3)), x.unsqueeze(-1), x.squeeze(2)),
        ((1, 1, 3, 1, 5),),
    ),
    "transposes": (
        lambda x, y: (
            x.permute(0, 2, -1, 1),
            x.transpose(1, -1),
            x.mT,
            y.t(),
            y.T,
            x[:1].transpose(0, 1).contiguous(),
            x.movedim(1, 3),
        ),
        (IMAGE, MATRIX),
    ),
    "copies": (
        lambda x: (
            aten.alias(x.clone().detach().contiguous() + 1),
            x.to(torch.float32).type_as(x).float().to("cpu") * 2,
            aten.to.other(x, x) + aten.to.device(x, torch.device("cpu"), torch.float32),
            aten.to.other(x, x) + aten.to.dtype_layout(x, dtype=torch.float32),
            aten._to_copy(x, dtype=torch.float32),
        ),
        (IMAGE,),
    ),
    "dropouts": (
        nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()),
        (IMAGE,),
    ),
    "dropout_overloads": (
        lambda x: (
            aten.native_dropout(x, 0.5, False)[0] + 1,
            aten.feature_dropout(x, 0.5, False) + aten.alpha_dropout(x, 0.5, False),
        ),
        (IMAGE,),
    ),
    "expand": (lambda x, y: (x.expand(4, 3, 5), y.expand_as(x)), ((4, 1, 5), (1, 1, 5))),
    "cat": (
        lambda x, y: (torch.cat([x, y, IMAGE_PART], 1), torch.cat([x]), aten.cat([x, x])),
        (IMAGE, (2, 2, 6, 8)),
    ),
    "cat_empty": (lambda x: torch.cat([torch.zeros(0), x], 1), (MATRIX,)),
    "stack": (lambda x, y: (torch.stack([x, y], -1), torch.stack([x])), (MATRIX, MATRIX)),
    "repeat": (lambda x: (x.repeat(2, 1, 3), x.tile(2)), (MATRIX,)),
    "splits": (
        lambda x: (
            *x.split(3, 3),
            *x.split([1, 5], 2),
            *x.chunk(2, 1),
            *x.unbind(1)[1:3],
            *torch.split_with_sizes(x, [1, 3], -3),
            *aten.split.sizes(x, [1, 5], 2),
            *aten.unsafe_chunk(x, 3, 2),
            *aten.unsafe_split.Tensor(x, 4, 2),
            *x.chunk(1, 0),
        ),
        (IMAGE,),
    ),
    "slices": (
        lambda x: (
            x[:, 1:3, ::2, -3:],
            x[1],
            x[:, -1, :, 3],
            x[..., 100:],
            x.narrow(2, -4, 3),
            x.select(1, -2),
            x.flip(1, -1),
        ),
        (IMAGE,),
    ),
    "indices": (
        lambda x: (
            x[:, [3, 0, -1]],
            x[:, BLOCK],
            x.index_select(-1, COLUMNS),
            x[:, :, LINES, PLACES],
            x.roll(2, 3),
        ),
        (IMAGE,),
    ),
    "unsafe_index": (lambda x: aten._unsafe_index(x, [None, ORDER]), (IMAGE,)),
    "embedding": (
        lambda x: (
            F.embedding(torch.tensor([1, 0]), x) + F.embedding(torch.tensor([2, 1]), THREE_ROWS)
        ),
        (MATRIX,),
    ),
    "scatters": (
        lambda x, y: (
            torch.select_scatter(x, y, 1, -1),
            torch.slice_scatter(x, x[:, 1:3], 1, 2),
            torch.slice_scatter(x, x[..., :2], -1, 0, 2),
            torch.slice_scatter(x, x[..., :0], -1, 4, 3),
            aten.fill.Scalar(x[..., :2], 3)
            + aten.fill.Tensor(y[..., :2, None, None].sum(), y[0, 0, 0]),
        ),
        (IMAGE, (2, 6, 8)),
    ),
    "pads": (
        lambda x: (
            F.pad(x, (1, 2, 0, 3)),
            F.pad(x, (1, -2, -1, 0), value=0.5),
            F.pad(x, (1, 2, 3, 0), "reflect"),
            F.pad(x, (1, 2, 9, 0), "replicate"),
            F.pad(x, (3, 0, 1, 2), "circular"),
            F.pad(x, (0, 0)),
        ),
        (IMAGE,),
    ),
    "pad_overloads": (
        lambda x, y: (
            aten.constant_pad_nd(x, [1, 1], 2),
            aten.reflection_pad2d(x, [1, 2, 0, 1]),
            aten.replication_pad2d(x, [1, 2, 0, 1]),
            aten.reflection_pad1d(y, [1, 2]),
            aten.replication_pad1d(y, [1, 2]),
        ),
        (IMAGE, SIGNAL),
    ),
    "shuffles": (
        lambda x: (
            F.pixel_shuffle(x, 2),
            F.pixel_unshuffle(x, 2),
            F.pixel_unshuffle(x[:, :1], 2),
            F.channel_shuffle(x, 2),
            aten.native_channel_shuffle(x, 2),
        ),
        (IMAGE,),
    ),
    "likes": (
        lambda x: (
            x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 2),
            aten.copy(torch.empty_like(x), x[:1]) + aten.copy(x.new_empty(2, 4, 6, 8), x),
            x + x.new_zeros(8) + x.new_ones(8) + x.new_full((8,), 3.0),
        ),
        (IMAGE,),
    ),
    # interpolation
    "nearest": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, scale_factor=(1.3, 0.6)),
            F.interpolate(x, size=(44, 3)),
            F.interpolate(x, scale_factor=2, recompute_scale_factor=True),
        ),
        ((1, 2, 26, 6),),
    ),
    "nearest_exact": (
        lambda x: (
            F.interpolate(x, scale_factor=2.3, mode="nearest-exact"),
            F.interpolate(x, size=(11, 7), mode="nearest-exact"),
        ),
        ((1, 2, 26, 6),),
    ),
    "bilinear": (
        lambda x: (
            F.interpolate(x, scale_factor=(2, 1.1), mode="bilinear"),
            F.interpolate(x, size=(5, 11), mode="bilinear"),
            F.interpolate(x, size=(5, 11), mode="bilinear", align_corners=True),
            F.interpolate(x, size=(1, 16), mode="bilinear", align_corners=True),
        ),
        (IMAGE,),
    ),
    "line": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, size=7, mode="nearest-exact"),
            F.interpolate(x, scale_factor=1.5, mode="linear"),
        ),
        (SIGNAL,),
    ),
    "volume": (
        lambda x: (
            F.interpolate(x, scale_factor=2),
            F.interpolate(x, size=(5, 7, 3), mode="nearest-exact"),
            F.interpolate(x, size=(4, 3, 9), mode="trilinear"),
            F.interpolate(x, size=(4, 3, 9), mode="trilinear", align_corners=True),
        ),
        ((1, 2, 3, 4, 5),),
    ),
    "upsample_overloads": (
        lambda x: (
            aten.upsample_nearest2d.default(x, [9, 4]),
            aten.upsample_nearest2d.default(x, [12, 9], 2.0, 1.2),
            aten._upsample_nearest_exact2d.default(x, [9, 4]),
            aten.upsample_bilinear2d.default(x, [9, 4], False),
            aten.upsample_bilinear2d.default(x, [12, 9], False, 2.0, 1.2),
        ),
        (IMAGE,),
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


def module_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = CASES[name][0]
    return randomize(model) if isinstance(model, nn.Module) else Function(model)


def inputs_of(name: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    inputs = (torch.randn(shape, generator=generator) for shape in CASES[name][1])
    return tuple(x.abs() + 0.1 if name in POSITIVE else x for x in inputs)


@functools.cache
def forms(name: str) -> tuple[ExportedProgram, ExportedProgram]:
    """A case's program in training IR and in core ATen."""
    exported = export(module_of(name), inputs_of(name))
    return exported, decompose(exported, (), name)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_both_forms_compute_what_the_module_computes(name: str) -> None:
    inputs = inputs_of(name)
    wanted = eager(module_of(name), inputs)
    for program in forms(name):
        assert_computes(read_torch(program), inputs, wanted)


def test_every_lowering_is_run_by_a_case() -> None:
    run = {
        str(node.target)
        for name in CASES
        for program in forms(name)
        for node in program.graph.nodes
    }
    assert sorted(set(LOWERINGS) - run) == []


class Shared(fx.Interpreter):
    """Runs a program and notes the operators that share memory without declaring it."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self.undeclared: set[str] = set()

    def run_node(self, n: fx.Node) -> object:
        result: object = super().run_node(n)
        schema = schema_of(n)
        if schema is not None and not any(a.alias_info for a in schema.arguments):
            operands = [self.env[operand] for operand in n.all_input_nodes]
            if storages(result) & storages(operands):
                self.undeclared.add(str(n.target))
        return result


def storages(tensors: object) -> set[int]:
    leaves = torch.utils._pytree.tree_leaves(tensors)
    return {x.untyped_storage().data_ptr() for x in leaves if isinstance(x, Tensor) and x.numel()}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_no_other_lowered_operator_shares_memory_without_declaring_it() -> None:
    undeclared: set[str] = set()
    for name in CASES:
        for program in forms(name):
            tensors = {**program.state_dict, **program.constants}
            inputs = iter(inputs_of(name))
            bound = [
                next(inputs) if spec.kind == InputKind.USER_INPUT else tensors[spec.target or ""]
                for spec in program.graph_signature.input_specs
            ]
            interpreter = Shared(program)
            with torch.no_grad():
                interpreter.run(*bound)
            undeclared |= interpreter.undeclared
    assert undeclared & set(LOWERINGS) == UNDECLARED_VIEWS


@pytest.mark.parametrize("name", LOWERINGS)
def test_a_lowering_takes_every_argument_of_the_operators_schema(name: str) -> None:
    namespace, packet, overload = name.split(".")
    operator = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    arguments = {argument.name: None for argument in operator._schema.arguments}
    inspect.signature(LOWERINGS[name]).bind(None, **arguments)
