"""What coded weights of a float graph take: as much as those of the file that it becomes."""

from __future__ import annotations

import pytest
import torch

import irprune
from irprune import zoo
from irprune.backends.vela import optimise
from irprune.backends.vela.codec import encoded
from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes
from irprune.passes.analysis.entropy import coded_weights
from irprune.training.coded_size import compiled_bytes, encoded_bytes, estimated_bytes
from irprune.training.sparsity_terms import BoundedBytes
from tests.sparse_nets import IMAGE, learned
from tests.stripes import batches


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_bytes_are_those_of_the_compiled_model(sparsity: float) -> None:
    module, inputs = zoo.from_spec("resnet8")
    with torch.no_grad():  # normalization that is not that of the start
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
    graph = irprune.load(module, inputs)
    graph = irprune.apply_sparsity(graph, irprune.plan_for_sparsity(graph, sparsity))
    file = irprune.compile_tflite(graph, [[inputs[0].numpy()]]).model.graph
    stored = coded_weights(file)
    exact = sum(size.bytes for size in map(encoded, stored) if size)
    estimate = sum(c.estimated.bytes for c in stored if c.estimated)
    assert encoded_bytes(graph) == pytest.approx(exact, rel=1e-3)
    assert estimated_bytes(graph) == pytest.approx(estimate, rel=1e-3)
    assert estimate == pytest.approx(exact, rel=0.05)


SAMPLES = [[x[:1].numpy()] for x, _ in batches(4, 1)]


def test_a_budget_of_what_the_codec_encodes_is_met() -> None:
    """By the compiled model, whose scales are those of other samples."""
    bound = Bytes(1500)
    learner = learned([BoundedBytes(bound)], 10, check=encoded_bytes)[1]
    sparse = learner.finish().eval()
    file = irprune.compile_tflite(irprune.load(sparse, IMAGE), SAMPLES).model.graph
    exact = sum(size.bytes for size in map(encoded, coded_weights(file)) if size)
    assert 0.95 * bound < exact <= bound
    assert learner.coded_bytes == pytest.approx(exact)


def test_a_budget_of_what_vela_stores_is_met() -> None:
    """By the file that Vela makes of the model, where the codec would have said otherwise."""
    bound, name = Bytes(1500), "ethos-u55-128"
    learner = learned([BoundedBytes(bound)], 0, check=compiled_bytes(name, SAMPLES[:1]))[1]
    graph = irprune.load(learner.finish().eval(), IMAGE)
    file = irprune.compile_tflite(graph, SAMPLES)
    found = optimise(file.data, file.model, name)
    taken = sum(layer.weights.bytes for layer in found.layers)
    assert 0.95 * bound < taken <= bound
    assert learner.coded_bytes == pytest.approx(taken)
    assert encoded_bytes(graph) != taken


def test_weights_that_are_left_to_the_cpu_are_named() -> None:
    wide = torch.nn.Conv2d(8, 4, 3, stride=4, padding=1)
    x = torch.ones(1, 8, 17, 17)
    with pytest.raises(UsageError, match=r"weights of .* are left to the CPU, and not encoded"):
        compiled_bytes("ethos-u55-128", [[x.numpy()]])(irprune.load(wide, (x,)))
