"""The limits against Vela itself, just within them and just beyond; and their manual page."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from irprune.backends.vela import optimise
from irprune.backends.vela.limits import LIMITS, PLACED, unmet
from irprune.frontends.tflite import read_tflite_file
from irprune.ir import ops
from irprune.ir.errors import UsageError
from irprune.ir.op import OPS
from tests.backends.vela.nets import IMAGE, Nets, beyond, refused, within

ROOT = Path(__file__).parents[3]
U55 = "ethos-u55-128"


@pytest.mark.parametrize("make", [within, beyond])
def test_vela_agrees(make: Callable[[], bytes]) -> None:
    data = make()
    model = read_tflite_file(data, "nets")
    report = optimise(data, model, U55)
    on_cpu = {found.node.name for found in report.on_cpu}
    assert {found.node.name for found in unmet(model.graph, U55)} == on_cpu
    expected = {node.name for node in model.graph.nodes} if make is beyond else set()
    assert on_cpu == expected
    written = schema.Model.GetRootAs(report.data).Subgraphs(0)
    kinds = [written.Operators(i).OpcodeIndex() for i in range(written.OperatorsLength())]
    codes = schema.ModelT.InitFromPackedBuf(report.data).operatorCodes
    left = [k for k in kinds if codes[k].builtinCode != schema.BuiltinOperator.CUSTOM]
    assert len(left) == len(on_cpu)


@pytest.mark.parametrize("data", refused())
def test_what_vela_refuses_is_named_with_its_limit(data: bytes) -> None:
    model = read_tflite_file(data, "nets")
    (broken,) = unmet(model.graph, U55)
    with pytest.raises(UsageError) as caught:
        optimise(data, model, U55)
    text = str(caught.value)
    assert text.startswith("nets: Vela: ")
    assert f"'{broken.node.name}': {broken.limit.sentence}" in text


def test_every_operator_that_is_placed_is_tried() -> None:
    kinds = {type(node.op) for node in read_tflite_file(within(), "nets").graph.nodes}
    kinds |= {ops.Dense, ops.Flatten, ops.Identity, ops.Squeeze, ops.Unsqueeze}
    assert {kind for kind in OPS.values() if issubclass(kind, PLACED)} <= kinds


def test_every_limit_is_broken_by_some_net() -> None:
    graphs = [read_tflite_file(data, "nets").graph for data in (beyond(), *refused())]
    broken = {found.limit.check.__name__ for graph in graphs for found in unmet(graph, U55)}
    rest = {limit.check.__name__ for limit in LIMITS} - broken
    # Of types: of floats below, and of what TFLite has no file for.
    assert rest == {
        "is_of_stored_integers",
        "is_narrow",
        "has_weights_of_bytes",
        "has_small_biases",
    }


def test_types() -> None:
    nets = Nets()
    nets.unary("TANH", dtype=np.float32)
    nets.pair("MAXIMUM", "MaximumMinimumOptions", dtype=np.int32)
    nets.op("ADD", [IMAGE, IMAGE, IMAGE], options="AddOptions")
    data = nets.finish()
    model = read_tflite_file(data, "nets")
    found = [(u.node.name, u.limit.check.__name__) for u in unmet(model.graph, U55)]
    assert found == [("TANH#0", "is_of_stored_integers"), ("MAXIMUM#1", "is_narrow")]
    on_cpu = optimise(data, model, U55).on_cpu
    assert [left.node.name for left in on_cpu] == ["TANH#0", "MAXIMUM#1"]
    assert all("DataType" in left.reason or "dataType" in left.reason for left in on_cpu)


def test_a_limit_is_one_sentence() -> None:
    for limit in LIMITS:
        assert re.fullmatch(r"[A-Z][^.]*\.", limit.sentence), limit.sentence
    assert len({limit.sentence for limit in LIMITS}) == len(LIMITS)


def test_the_manual_page_is_that_of_the_functions() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "ethos_u_page.py"))
    assert (ROOT / "docs" / "ethos-u.md").read_text() == tool["page"]()
