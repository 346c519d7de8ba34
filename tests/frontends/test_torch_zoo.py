import pytest
import torch

from irprune import zoo
from irprune.frontends.torch_export import read_torch
from tests.torch_models import assert_computes, eager, randomize


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_computes_what_torch_computes(name: str) -> None:
    torch.manual_seed(0)
    module, examples = zoo.build(name)
    inputs = tuple(torch.randn_like(x) for x in examples)
    randomize(module)
    graph = read_torch(module, examples)
    wanted = eager(module, inputs)
    size = max(float(y.abs().max()) for y in wanted)
    assert_computes(graph, inputs, wanted, atol=1e-4 * max(size, 1))
    paths = {path for path, _ in module.named_modules()}
    assert {node.source.name for node in graph.nodes} <= paths | {n.name for n in graph.nodes}
