"""Torch modules as ONNX models, for tests that read both."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch


def make_distinct(module: torch.nn.Module) -> None:
    """Give every tensor values of its own: an exporter merges equal ones, as fresh biases are."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=1e-3)


def exported(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], path: Path
) -> onnx.ModelProto:
    """The module as ONNX, with its batch normalizations left for us to fold."""
    with warnings.catch_warnings():
        # Both are about torch's own exporter.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return onnx.load(path)
