"""Every operator has every rule, and its rules agree with each other."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from irprune.backends.reference import run_all
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Graph, Node
from irprune.ir.op import OPS, Dims, Op
from irprune.ir.types import type_of
from tests.strategies import graphs, inputs_of


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_an_operator_has_every_rule(kind: type[Op]) -> None:
    assert not inspect.isabstract(kind)
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")  # a dataclass's own, for want of one
    for rule in ("infer", "macs", "evaluate"):
        assert getattr(kind, rule) is not getattr(Op, rule)


@pytest.mark.parametrize("name", OPS)
def test_rules_agree(name: str) -> None:
    @settings(max_examples=25)
    @given(graphs(kinds=[name]))
    def agree(graph: Graph) -> None:
        found = run_all(graph, inputs_of(graph))
        for node in graph.nodes:
            for value in node.outputs:
                t = type_of(found[value])
                assert (t.shape, t.dtype) == (value.type.shape, value.type.dtype)
            alias = node.op.alias()
            if alias is not None:  # the same bytes in the same order
                before, after = found[node.inputs[alias]], found[node.output]
                np.testing.assert_array_equal(before.ravel(), after.ravel())
            costs_are_arithmetic(node)

    agree()


def costs_are_arithmetic(node: Node) -> None:
    """The formula gives the same on ints, on arrays of several shapes and on torch tensors."""
    ins = [value.type.shape for value in node.inputs]
    outs = [value.type.shape for value in node.outputs]
    wanted = node.op.macs(ins, outs)
    assert isinstance(wanted, int)
    assert wanted >= 0

    def arrays(shapes: Sequence[Sequence[int]]) -> list[Dims]:
        return [[np.asarray([size, size]) for size in shape] for shape in shapes]

    def tensors(shapes: Sequence[Sequence[int]]) -> list[Dims]:
        return [[torch.tensor(float(size)) for size in shape] for shape in shapes]

    assert np.all(np.asarray(node.op.macs(arrays(ins), arrays(outs))) == wanted)
    assert float(node.op.macs(tensors(ins), tensors(outs))) == wanted


@pytest.mark.parametrize("kind", OPS.values(), ids=OPS)
def test_no_operator_takes_no_operands(kind: type[Op]) -> None:
    required = [
        p
        for p in inspect.signature(kind).parameters.values()
        if p.default is inspect.Parameter.empty
    ]
    if required:
        return
    with pytest.raises(InvalidType):
        kind().infer([])
