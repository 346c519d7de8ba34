"""Plans: their JSON, what they may say of a graph, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import irprune
from irprune.ir import ops
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph
from irprune.ir.plan import Plan, fingerprint, loads
from irprune.ir.printer import show
from irprune.ir.types import DType, Quant
from irprune.passes.rewrite.apply_widths import apply_widths


def graph(seed: int = 0, width: int = 6) -> Graph:
    """A convolution of two groups behind one of six channels, and a dense layer."""
    rng, b = np.random.default_rng(seed), Builder("net")

    def weights(*shape: int) -> irprune.Value:
        return b.constant("w", rng.normal(size=shape).astype(np.float32))

    x = b.input("x", (1, 3, 4, 4))
    y = b.add(ops.Conv2d(), x, weights(width, 3, 1, 1), name="first")
    y = b.add(ops.Conv2d(groups=2), y, weights(4, width // 2, 1, 1), name="second")
    y = b.add(ops.Dense(), b.add(ops.Flatten(), y), weights(2, 64), name="head")
    return b.finish([y])


def plan(**kept: tuple[int, ...]) -> Plan:
    return Plan(fingerprint(graph()), kept)


def test_a_plan_survives_its_json() -> None:
    made = plan(first=(0, 2, 3, 5), second=(1, 3))
    assert loads(made.dumps()) == made
    assert json.loads(made.dumps())["version"] == 1


def test_what_stays() -> None:
    """Units of two channels, one in each group; the flattened pixels go with theirs."""
    before = graph()
    after = apply_widths(before, plan(first=(0, 2, 3, 5), second=(1, 3)))
    shapes = [value.type.shape for value in after.constants]
    assert shapes == [(4, 3, 1, 1), (2, 2, 1, 1), (2, 32)]
    first, second, head = before.constants.values()
    one, two, three = after.constants.values()
    np.testing.assert_array_equal(one, first[[0, 2, 3, 5]])
    np.testing.assert_array_equal(two, second[[1, 3]][:, [0, 2]])
    np.testing.assert_array_equal(three, head.reshape(2, 4, 16)[:, [1, 3]].reshape(2, 32))


def test_all_stays() -> None:
    before = graph()
    assert apply_widths(before, plan()) is before
    assert apply_widths(before, plan(first=(0, 1, 2, 3, 4, 5))) is before


def test_a_plan_is_for_an_architecture_not_for_its_weights() -> None:
    made = plan(first=(0, 3))
    assert show(graph(1)) != show(graph(0))
    assert apply_widths(graph(1), made).constants
    with pytest.raises(InvalidPlan, match="is for another graph"):
        apply_widths(graph(0, width=8), made)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"first": (0, 1, 3)}, "'first': parts channels 1, 4, which are tied"),
        ({"first": (0, 3, 6)}, r"'first': has no channel 6 \(its channels lie in 0 to 5\)"),
        ({"first": (-1,)}, "'first': has no channel -1"),
        ({"first": (0, 3, 0)}, "'first': names channel 0 twice"),
        ({"first": ()}, r"'first': would have no channels left \(made by first\)"),
        ({"head": (0,)}, "'head': cannot lose channels: the model's output 'head' has them"),
        ({"third": (0,)}, "no channel group 'third'"),
    ],
)
def test_plans_that_do_not_fit(kept: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(InvalidPlan, match=words):
        apply_widths(graph(), plan(**kept))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "is no plan of irprune"),
        ('{"kind": "irprune plan", "version": 1, "graph": 3, "kept": {}}', "is no plan"),
        ('{"kind": "irprune plan", "version": 9, "graph": "", "kept": {}}', "has version 9"),
        (
            '{"kind": "irprune plan", "version": 1, "graph": "", "kept": {"a": [true]}}',
            "channels of 'a' are no list",
        ),
        (
            '{"kind": "irprune plan", "version": 1, "graph": "", "kept": {"a": [1.5]}}',
            "channels of 'a' are no list",
        ),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_text_that_is_no_plan(text: str, words: str) -> None:
    with pytest.raises(InvalidPlan, match=words):
        loads(text)


def test_what_is_repeated_stays_one_element() -> None:
    """As a constant that was expanded: it is stored once, whatever its width."""
    b = Builder("repeated")
    x = b.input("x", (1, 3))
    w = b.constant("w", np.ones((4, 3), np.float32))
    again = b.constant("again", np.broadcast_to(np.full((1, 1), 2, np.float32), (1, 4)))
    y = b.add(ops.Mul(), b.add(ops.Dense(), x, w, name="made"), again)
    v = b.constant("v", np.ones((2, 4), np.float32))
    net = b.finish([b.add(ops.Dense(), y, v)])
    after = apply_widths(net, Plan(fingerprint(net), {"made": (1, 3)}))
    (left,) = (array for value, array in after.constants.items() if value.name == "again")
    assert (left.shape, left.strides[1]) == ((1, 2), 0)


def test_scales_of_channels_go_with_them() -> None:
    """Of weights quantized channel by channel, and in the attribute that quantizes so."""
    b = Builder("scales")
    x = b.input("x", (1, 3))
    w = b.constant("w", np.ones((4, 3), np.float32))
    each = Quant((0.1, 0.2, 0.3, 0.4), (0, 1, 2, 3), 1)
    y = b.add(ops.Quantize(DType.I8, each), b.add(ops.Dense(), x, w, name="made"))
    v = b.constant("v", np.ones((2, 4), np.float32))
    net = b.finish([b.add(ops.Dense(), b.add(ops.Dequantize(), y), v)])
    after = apply_widths(net, Plan(fingerprint(net), {"made": (1, 3)}))
    left = Quant((0.2, 0.4), (1, 3), 1)
    quantize = after.nodes[1]
    assert isinstance(quantize.op, ops.Quantize)
    assert (quantize.op.quant, quantize.output.type.quant) == (left, left)
