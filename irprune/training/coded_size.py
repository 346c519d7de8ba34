"""What the coded weights of a graph take, for a learner of sparsity to ask."""

from __future__ import annotations

from collections.abc import Sequence

from irprune.backends.compile import compile_tflite
from irprune.backends.vela import optimise
from irprune.backends.vela.codec import encoded
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph
from irprune.ir.types import Array
from irprune.passes.analysis.deployment import weights
from irprune.passes.analysis.entropy import coded_weights
from irprune.passes.pipeline import deployed
from irprune.training.mask_costs import SizeCheck


def estimated_bytes(graph: Graph) -> float:
    """Bytes of an Ethos-U's streams of a float graph's weights, as irprune estimates them."""
    sizes = (tensor.estimated for tensor in coded_weights(deployed(graph)))
    return sum(size.bytes for size in sizes if size is not None)


def encoded_bytes(graph: Graph) -> float:
    """Bytes of an Ethos-U's streams of a float graph's weights, as ``mlw_codec`` encodes them.

    Not what Vela's compiler takes, which has another encoder of the same codes: that is a few
    percent more or less (3 % more were seen of a small model). For a budget of the model on the
    device ask ``compiled_bytes``, which takes more time.

    Raises:
        UsageError: Vela is not installed.
    """
    sizes = map(encoded, coded_weights(deployed(graph)))
    return sum(size.bytes for size in sizes if size is not None)


def compiled_bytes(accelerator: str, samples: Sequence[Sequence[Array]]) -> SizeCheck:
    """A check that compiles a float graph to int8, and lets Vela's compiler encode its weights.

    What it finds is what is stored on the device, ``Optimised.weights``; ``encoded_bytes`` is
    quicker and a few percent off. Vela runs in a process of its own each time that it is asked.

    Args:
        accelerator: its name, as ``ethos-u55-128``.
        samples: calibration samples, arrays for the graph's inputs; one is enough, as scales of
            weights do not depend on them.

    Returns:
        The check. It raises UsageError where Vela is not installed, does not know the accelerator,
        fails, or leaves a layer's weights to the CPU; and as ``compile_tflite`` does.
    """

    def taken(graph: Graph) -> float:
        compiled = compile_tflite(graph, samples)
        found = optimise(compiled.data, compiled.model, accelerator)
        stored = set(weights(compiled.model.graph))
        left = [each.node.name for each in found.on_cpu if stored.intersection(each.node.inputs)]
        if left:
            raise UsageError(
                f"weights of {', '.join(left)} are left to the CPU, and not encoded",
                where=graph.name,
                hint=f"docs/ethos-u.md has the limits of {accelerator}",
            )
        return found.weights.bytes

    return taken
