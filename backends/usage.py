"""What a model takes on the device once it is compiled."""

from __future__ import annotations

import numpy as np

from irprune.backends.compile import CompileOptions, compile_tflite
from irprune.budget import Usage
from irprune.ir.graph import Graph
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.costs import node_macs


def compiled_usage(graph: Graph) -> Usage:
    """What a model takes as an int8 TFLite file with a memory plan in TFLite-Micro.

    SRAM is the head of the runtime's arena, flash the file, MACs those of its operators. They
    depend on the weights only as far as equal ones are stored once.

    Args:
        graph: the model as it was read, on reals.

    Raises:
        UnsupportedOp: TFLite-Micro lacks operators.
    """
    generator = np.random.default_rng(0)
    sample = [
        generator.standard_normal(value.type.shape).astype(value.type.dtype.numpy)
        for value in graph.inputs
    ]
    compiled = compile_tflite(graph, [sample], CompileOptions(plan=True))
    macs = sum(node_macs(node) for node in compiled.model.graph.nodes)
    return Usage(compiled.footprint.head, Bytes(len(compiled.data)), Macs(macs))
