"""Rewrites in order, with the reason for each place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from irprune.ir.analysis import analysis
from irprune.ir.graph import Graph
from irprune.ir.verify import verify
from irprune.passes.rewrite.channels_last import channels_last
from irprune.passes.rewrite.drop_dead import drop_dead
from irprune.passes.rewrite.drop_identities import drop_identities
from irprune.passes.rewrite.explicit_padding import explicit_padding
from irprune.passes.rewrite.fold_batchnorm import fold_batchnorm
from irprune.passes.rewrite.fold_constants import fold_constants, fold_dequantized
from irprune.passes.rewrite.fold_scales import fold_scales
from irprune.passes.rewrite.fuse_activations import fuse_activations
from irprune.passes.rewrite.fuse_quantization import fuse_quantization
from irprune.passes.rewrite.recognize_activations import recognize_activations
from irprune.passes.rewrite.spell_out import spell_out
from irprune.passes.rewrite.spell_out_reals import spell_out_reals
from irprune.passes.rewrite.split_groups import split_groups

Pass = Callable[[Graph], Graph]
"""A rewrite: another graph of the same interface, or the same object where it changes nothing."""


@dataclass(frozen=True)
class Step:
    """A rewrite, and why it has its place in the order."""

    rewrite: Pass
    reason: str


DEPLOYMENT = (
    Step(drop_dead, "a reader that reaches no output would keep its operand from being fused"),
    Step(fold_constants, "what is computed from constants is a constant to the steps after"),
    Step(drop_identities, "formulas and sequences are seen through what does nothing"),
    Step(recognize_activations, "a formula is whole yet: x + 3 is not in a bias, x has no gate"),
    Step(fuse_activations, "a scale or shift before an activation takes it to where it is folded"),
    Step(fuse_quantization, "activations are in the operators whose outputs are quantized"),
    Step(drop_dead, "dequantized values that nobody reads any more are gone"),
    Step(drop_identities, "what was quantized in between is read by arithmetic of integers now"),
    Step(fold_dequantized, "what is still dequantized belongs to operators that run on reals"),
    Step(fold_batchnorm, "every weight that can be is a constant; scales have their activations"),
    Step(fold_scales, "what no layer before could take up is left for the one after"),
)
"""From a model as it was read to the form that would be deployed."""


def lowering(*, keep_io_layout: bool = False) -> tuple[Step, ...]:
    """From the deployed form to operators and forms that TFLite-Micro has.

    Args:
        keep_io_layout: whether inputs and outputs keep their layout.
    """
    to_channels_last = partial(channels_last, keep_io_layout=keep_io_layout)
    return (
        Step(split_groups, "parts of transposed convolutions are of one group as TFLite's are"),
        Step(to_channels_last, "what is spelled out next is spelled along the axes that it has"),
        Step(spell_out, "new layers may be padded; activations stand where they can be fused"),
        Step(explicit_padding, "layers are in NHWC, which pads are written for"),
        Step(fold_constants, "constants that were transposed or gathered are constants again"),
        Step(drop_identities, "what was cut in parts of one is whole"),
    )


REALS = (
    Step(spell_out_reals, "what has no integers is known to be on reals, once all is quantized"),
    Step(fold_constants, "constants of the new layers are computed here, not on the device"),
    Step(drop_dead, "nothing is run that nobody reads"),
)
"""What is left to lower after quantization, or without it."""


def run(graph: Graph, steps: Sequence[Step]) -> Graph:
    """The graph after the steps, in order, each result verified.

    Raises:
        InvalidGraph: a step broke an invariant, which is a mistake in the step.
    """
    for step in steps:
        after = step.rewrite(graph)
        if after is not graph:
            verify(after)
        graph = after
    return graph


def deployed(graph: Graph) -> Graph:
    """The form of a model that would be deployed, computed once for each graph.

    Constants are folded, batch normalization is in the weights, activations are fused, quantized
    operators run on integers; the function and the interface are the model's.
    """
    return _deployed(graph) or graph


@analysis
def _deployed(graph: Graph) -> Graph | None:
    """The deployed form; None where it is the graph itself, which a cached result must not name."""
    after = run(graph, DEPLOYMENT)
    return None if after is graph else after
