"""The zoo, run by the reference interpreter and by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import irprune
from irprune import zoo
from tests.exporting import exported, make_distinct


@pytest.mark.parametrize("name", zoo.names())
def test_the_interpreter_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)  # some weights give outputs that hardly differ
    module, examples = zoo.build(name)
    make_distinct(module)
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(x.shape, generator=generator).numpy() for x in examples]
    model = exported(module, examples, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    feed = {port.name: x for port, x in zip(session.get_inputs(), inputs, strict=True)}
    (wanted,) = session.run(None, feed)
    assert np.ptp(wanted) > 1e-2  # outputs that hardly differ would agree with anything
    for graph in (irprune.load(model), irprune.load(module, examples)):
        for form in (graph, irprune.deployed(graph)):
            (found,) = irprune.run(form, inputs)
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
