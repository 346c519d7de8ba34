"""Sparse models: how small they get on a device, and files of the kind that they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from irprune.backends.files import write_atomically
from irprune.backends.pruned import expect_output, write_pruned
from irprune.backends.tflite import with_constants, write_tflite
from irprune.backends.tflite.table import has_kernel
from irprune.frontends.tflite import read_tflite
from irprune.ir.errors import IrpruneError
from irprune.ir.graph import Graph, Value
from irprune.ir.plan import Plan
from irprune.ir.types import Array, Bytes
from irprune.passes.analysis.calibration import calibrate, real_activations
from irprune.passes.analysis.deployment import Precision, default_precision
from irprune.passes.pipeline import REALS, deployed, lowering, run
from irprune.passes.rewrite.apply_sparsity import apply_sparsity
from irprune.passes.rewrite.quantize import quantize


def is_exact(graph: Graph) -> bool:
    """Whether ``packed_size`` knows the scales of a model: one that is quantized has them."""
    return default_precision(deployed(graph)) is Precision.MODEL


def packed_size(graph: Graph) -> Callable[[Plan], Bytes]:
    """What a model takes of flash under a plan: bytes of the file that is compiled compressed.

    That is the file that ``compile_tflite`` writes with ``Compression.PRUNE`` and without a memory
    plan. For a float model it is that of its int8 form, with ranges of a random input in place of
    calibration: other samples give other scales, and with them a few bytes more or less.

    Args:
        graph: the model, as it was read; calls take plans for it.
    """
    lowered = run(deployed(graph), lowering())
    quantized = is_exact(graph)
    sample = [_sample(value) for value in lowered.inputs]
    ranges = {} if quantized else {v.name: r for v, r in calibrate(lowered, [sample]).items()}

    def size(plan: Plan) -> Bytes:
        final = run(deployed(apply_sparsity(graph, plan)), lowering())
        if not quantized:
            known = {value: ranges[value.name] for value in real_activations(final)}
            final = quantize(final, known, has_kernel=has_kernel)
        return Bytes(len(write_tflite(run(final, REALS), pack=True)))

    return size


def _sample(value: Value) -> Array:
    """A random input of reals; integers, which may be indices, are zero."""
    t = value.type
    if not t.dtype.is_float:
        return np.zeros(t.shape, t.dtype.numpy)
    return np.random.default_rng(0).normal(size=t.shape).astype(t.dtype.numpy)


def write_sparse(graph: Graph, plan: Plan, path: Path, source: str, *, force: bool = False) -> None:
    """Write a model under the masks of a plan.

    A TFLite file that comes from one is that file with other weights, and all else as it was.

    Args:
        graph: the model, as it was read.
        plan: the weights that stay.
        path: the file to write, .onnx or .tflite.
        source: the model's file or name.
        force: whether that file may be overwritten.

    Raises:
        UsageError: the file cannot be written, or not from such a source.
        UnsupportedOp: the file's format has no such operators, or keeps the weights in a form that
            cannot be edited.
    """
    expect_output(path, source, force=force)
    if path.suffix != ".tflite":
        write_pruned(apply_sparsity(graph, plan), path, source, force=force)
        return
    data = Path(source).read_bytes()
    try:
        before = read_tflite(data, source)
        edited = with_constants(data, before, apply_sparsity(before, plan).constants)
    except IrpruneError as error:
        raise error.at(source) from None
    write_atomically(path, edited, source=Path(source), force=force)
