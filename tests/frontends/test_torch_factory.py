"""Factories: a person's own code, called by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import irprune
from irprune.ir.errors import InvalidModel

NETS = """
import sys
import torch
from torch import nn

class Loud(nn.Module):
    def forward(self, x):
        print("in forward")
        return x + 1

class Quitting(nn.Module):
    def forward(self, x):
        sys.exit(0)

class Unprintable(Exception):
    def __str__(self):
        raise ValueError

def loud():
    print("in factory")
    return Loud(), (torch.ones(2),)

def quitting():
    return Quitting(), (torch.ones(2),)

class Mixed(nn.Module):
    def forward(self, image, scale=2.0, index=None, *rest, flag=True):
        indices = [] if index is None else [index + index]
        return [image * scale, *indices, *rest]

def mixed():
    return Mixed(), (torch.ones(1, 4, dtype=torch.float64), 3.0, torch.ones(2, dtype=torch.int64))

def bare():
    return Mixed()

def no_tuple():
    return Mixed(), [torch.ones(2)]

def rest():
    return Mixed(), (torch.ones(1, 4), 3.0, None, torch.ones(3))

def exits(): sys.exit(0)
def stops(): raise StopIteration
def closes(): raise GeneratorExit("closed")
def asserts(): assert 1 + 1 == 3
def looks_up(): return {}["missing"]
def recurses(): return recurses()
def unprintable(): raise Unprintable
def runs_on(): raise RuntimeError("on and on\\n" * 200)
def compiles(): return eval("1 +")
def interrupts(): raise KeyboardInterrupt
"""


Shapes = dict[str, tuple[int, ...]]


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder, the current one, with factories in nets.py and a file that is not Python."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "half.py").write_text("def net():\n    return (1,\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("nets", "half"):
        sys.modules.pop(name, None)


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(NETS.splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("factory", "raised"),
    [
        ("exits", "SystemExit: 0"),
        ("stops", "StopIteration"),
        ("closes", "GeneratorExit: closed"),
        ("asserts", "AssertionError"),
        ("looks_up", "KeyError: 'missing'"),
        ("recurses", "RecursionError: maximum recursion depth exceeded"),
        ("unprintable", "Unprintable: <exception str() failed>"),
        ("runs_on", "RuntimeError: on and on on and on"),
    ],
)
def test_whatever_a_factory_raises_is_one_line_with_its_place(
    nets: Path, factory: str, raised: str
) -> None:
    with pytest.raises(InvalidModel) as caught:
        irprune.load(f"nets:{factory}")
    said = str(caught.value)
    assert said.startswith(f"nets:{factory}: cannot be imported and called: {raised}")
    assert f", at {nets}/nets.py:{line_of(f'def {factory}')}: def {factory}(" in said
    assert "\n" not in said
    assert len(said) < 1000


def test_code_that_cannot_even_start_has_its_place_too(nets: Path) -> None:
    with pytest.raises(InvalidModel, match=rf"never closed, at {nets}/half\.py:2: return \(1,"):
        irprune.load("half:net")
    with pytest.raises(InvalidModel, match=r"SyntaxError: invalid syntax, at <string>:1: 1 \+"):
        irprune.load("nets:compiles")


@pytest.mark.usefixtures("nets")
def test_what_forward_raises_is_one_line_with_its_place() -> None:
    with pytest.raises(InvalidModel, match=r"^Quitting: .* SystemExit: 0, at .*: sys\.exit\(0\)"):
        irprune.load("nets:quitting")


@pytest.mark.usefixtures("nets")
def test_an_interrupt_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        irprune.load("nets:interrupts")


@pytest.mark.usefixtures("nets")
def test_what_foreign_code_prints_is_kept_out_of_the_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    irprune.load("nets:loud")
    assert capsys.readouterr() == ("", "in factory\nin forward\n")


def test_an_operator_of_ones_own_may_fail_on_constants() -> None:
    @torch.library.custom_op("irprune_test::fails", mutates_args=())
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise StopIteration("no more")

    fails.register_fake(torch.empty_like)
    wanted = r"irprune_test\.fails\.default of constants fails: StopIteration: no more, at "

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.add(x, fails(torch.ones(2)))

    with pytest.raises(InvalidModel, match=wanted):
        irprune.load(Net(), (torch.ones(2),))


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("factory", "shapes", "inputs"),
    [
        ("mixed", {}, {"image": "f64[1,4]", "index": "i64[2]"}),
        ("mixed", {"image": (1, 9)}, {"image": "f64[1,9]", "index": "i64[2]"}),
        ("mixed", {"index": (1,), "image": (2, 9)}, {"image": "f64[2,9]", "index": "i64[1]"}),
        ("bare", {"image": (2, 3)}, {"image": "f32[2,3]"}),
        ("bare", {"index": (1,), "image": (2, 3)}, {"image": "f32[2,3]", "index": "f32[1]"}),
        ("rest", {}, {"image": "f32[1,4]", "rest_0": "f32[3]"}),
        ("rest", {"image": (2, 3)}, {"image": "f32[2,3]", "rest_0": "f32[3]"}),
    ],
)
def test_shapes_are_for_the_arguments_of_forward_by_name(
    factory: str, shapes: Shapes, inputs: dict[str, str]
) -> None:
    graph = irprune.load(f"nets:{factory}", shapes=shapes)
    assert {value.name: str(value.type) for value in graph.inputs} == inputs


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("factory", "shapes", "said"),
    [
        ("mixed", {"x": (1, 4)}, r"no input 'x' \(it takes image, scale, index\)"),
        ("mixed", {"flag": (1, 4)}, "no input 'flag'"),
        ("mixed", {"rest": (1, 4)}, "no input 'rest'"),
        ("mixed", {"scale": (1,)}, "input 'scale' is a float, no tensor"),
        ("mixed", {"image": (3, 100_000, 100_000)}, r"3x100000x100000 has more than 2147483647"),
        ("mixed", {"image": (-3, 4)}, "negative dimension"),
        ("bare", {}, r"input 'image' is not known \(let the factory return .* or give --shape"),
        ("bare", {"index": (2,)}, "input 'image' is not known"),
        ("no_tuple", {}, "its example inputs are a list, no tuple"),
    ],
)
def test_other_shapes_are_refused(factory: str, shapes: Shapes, said: str) -> None:
    with pytest.raises(irprune.IrpruneError, match=f"^nets:{factory}: .*{said}"):
        irprune.load(f"nets:{factory}", shapes=shapes)
