"""Evaluating single operators beside torch's."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from irprune.ir.op import Op
from irprune.ir.ops.conv import Layout, Padding, Pair
from irprune.ir.types import Array, type_of

torch.set_num_threads(1)


def evaluated(op: Op, *args: Array) -> tuple[Array, ...]:
    """The op's outputs, after a check that they are of the types it infers."""
    outputs = op.evaluate(args)
    assert [type_of(y) for y in outputs] == list(op.infer([type_of(x) for x in args]))
    return outputs


def assert_close(ours: Array, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Same shape and type, and values within a tolerance relative to the largest."""
    wanted = theirs.detach().numpy()
    assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
    finite = np.abs(wanted[np.isfinite(wanted)])
    largest = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(ours, wanted, rtol=tolerance, atol=tolerance * (largest + 1e-3))


def tensor(array: Array) -> torch.Tensor:
    """A torch tensor of its own memory."""
    return torch.from_numpy(np.array(array))


def uniform(seed: int, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    """Seeded float32 numbers."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def nhwc(x: Array) -> Array:
    """An NCHW array as NHWC."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def padded(x: Array, padding: Padding, value: float = 0.0) -> torch.Tensor:
    """An NCHW array as a tensor with elements around height and width."""
    (top, bottom), (left, right) = padding
    return F.pad(tensor(x), (left, right, top, bottom), value=value)


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    """Two integers within bounds."""
    return st.tuples(st.integers(least, most), st.integers(least, most))


seeds = st.integers(0, 2**16)
layouts: st.SearchStrategy[Layout] = st.sampled_from(["NCHW", "NHWC"])
