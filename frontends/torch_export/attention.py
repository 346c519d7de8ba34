"""Scaled dot-product attention, as the two products and the softmax that it is."""

from __future__ import annotations

import math

import torch

from irprune.frontends.torch_export.call import Call, Operand, Result, lower, shape_of
from irprune.frontends.torch_export.normalization import softmax
from irprune.ir.graph import Value
from irprune.ir.ops import Add, MatMul, Mul


@lower("aten.scaled_dot_product_attention.default")
def scaled_dot_product_attention(
    call: Call,
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Result:
    """softmax(q @ k.T * scale + mask) @ v (Vaswani et al., Attention Is All You Need, eq. 1)."""
    call.require(dropout_p == 0, "drops out")
    call.require(not enable_gqa, "shares key heads")
    (*_, length, width), keys = shape_of(query), shape_of(key)[-2]
    mask = attn_mask
    if is_causal:
        mask = torch.ones(length, keys, dtype=torch.bool).tril()
    factor = 1 / math.sqrt(width) if scale is None else scale
    scaled = call.add(Mul(), query, call.same(factor))
    scores = call.add(MatMul(transpose_b=True), scaled, key)
    if mask is not None:
        scores = call.add(Add(), scores, _additive(call, mask))
    return call.add(MatMul(), softmax(call, scores, -1), value)


@lower("aten._safe_softmax.default")
def safe_softmax(call: Call, self: Value, dim: int, dtype: torch.dtype | None) -> Result:
    """A softmax of which no row may be masked whole: what decomposed attention has."""
    for mask in call.constants_added_to(0):
        _expect_unmasked_rows(call, mask)
    return softmax(call, self, dim)


def _additive(call: Call, mask: Operand) -> Operand:
    """A mask as what is added to the scores."""
    if isinstance(mask, Value):
        call.require(mask.type.dtype == call.dtype, "computes which positions to mask")
        return mask
    added = mask
    if mask.dtype == torch.bool:
        added = torch.zeros(mask.shape, dtype=call.element).masked_fill(~mask, -math.inf)
    _expect_unmasked_rows(call, added)
    return added


def _expect_unmasked_rows(call: Call, added: torch.Tensor) -> None:
    whole = added.isneginf().all(-1).any()
    call.require(not bool(whole), "masks every position of a row")
