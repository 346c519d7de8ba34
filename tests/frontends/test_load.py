"""Which frontend reads what, and what none of them reads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import irprune
from irprune.frontends.load import parse_shapes
from irprune.ir.errors import InvalidModel, InvalidType, UsageError


def test_shapes_are_written_as_name_and_sizes() -> None:
    texts = ["x=1x3x96x96", "a=b=7", "serving:0=1x080"]
    assert parse_shapes(texts) == {"x": (1, 3, 96, 96), "a=b": (7,), "serving:0": (1, 80)}


@pytest.mark.parametrize(
    "text", ["x", "x=", "=1x2", "x=1x", "x=-1", "x=1X2", "x=1,2", "x=\N{SUPERSCRIPT TWO}", "x=0x3"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=rf"^'{text}' .*\(write input=1x3x96x96\)"):
        parse_shapes([text])


@pytest.mark.parametrize(
    "text", ["x=1x3x100000x100000", "x=2147483648", "x=99999999999999999999", f"x={'9' * 99}"]
)
def test_a_shape_of_too_many_elements_is_refused(text: str) -> None:
    with pytest.raises(InvalidType, match=f"^{text}: .*more than 2147483647 elements"):
        parse_shapes([text])
    assert parse_shapes(["x=2147483647"]) == {"x": (2**31 - 1,)}


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(UsageError, match="is no shape"):
        parse_shapes([f"x={'9' * 5000}"])


def test_an_input_is_given_one_shape() -> None:
    with pytest.raises(UsageError, match="the shape of 'x' is given twice"):
        parse_shapes(["x=1", "y=1", "x=1"])


@pytest.mark.parametrize(
    ("source", "hint"),
    [("zoo:res8", r"zoo:NAME\?input=3x96x96"), (nn.ReLU(), "its example inputs have")],
)
def test_shapes_are_not_ignored(source: object, hint: str) -> None:
    inputs = None if isinstance(source, str) else (torch.ones(2),)
    with pytest.raises(UsageError, match=f"takes no shapes of inputs .*{hint}"):
        irprune.load(source, inputs, shapes={"x": (1, 1, 49, 10)})


def test_example_inputs_are_not_ignored() -> None:
    with pytest.raises(UsageError, match="example inputs are for a torch module"):
        irprune.load("zoo:res8", (torch.ones(1, 1, 49, 10),))


def test_the_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="the model's name is empty"):
        irprune.load("")


@pytest.mark.parametrize("name", ["x.onnx", "x.tflite"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InvalidModel, match=rf"{name}: is no regular file \(name a model file\)"):
        irprune.load(tmp_path / name)


def test_a_zoo_name_means_the_same_weights_each_time() -> None:
    before = torch.get_rng_state()
    one, other = irprune.load("zoo:res8"), irprune.load("zoo:res8")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(one.constants.values(), other.constants.values(), strict=True)
    )
