"""Recurrent layers cost what they are made of, whichever way they come."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import irprune
from tests.exporting import make_distinct

LAYERS = {
    "lstm": nn.LSTM(8, 16, batch_first=True),
    "lstm_without_biases": nn.LSTM(8, 16, bias=False),
    "lstm_deep": nn.LSTM(8, 16, num_layers=2, bidirectional=True),
    "gru": nn.GRU(8, 16, batch_first=True),
    "gru_without_biases": nn.GRU(8, 16, bias=False, bidirectional=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_costs_the_same_from_torch_and_onnx(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name].eval()
    make_distinct(layer)
    x = torch.ones((1, 5, 8) if layer.batch_first else (5, 1, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all are about torch's own exporter
        torch.onnx.export(layer, (x,), tmp_path / "m.onnx", dynamo=False)
    graphs = irprune.load(layer, example_inputs=(x,)), irprune.load(tmp_path / "m.onnx")
    costs = [irprune.analyze(graph).costs for graph in graphs]
    biases = sum(p.numel() for key, p in layer.named_parameters() if "bias" in key)
    parameters = sum(p.numel() for p in layer.parameters())
    for found in costs:
        assert found.parameters == parameters
        assert found.model_size == parameters + 3 * biases
        assert found.macs_weights == 5 * (parameters - biases)
    assert costs[0].peak_sram == costs[1].peak_sram


def test_the_peak_of_a_layer() -> None:
    """At the LSTM its input, its output and both last states are live, and nothing else ever is."""
    graph = irprune.load(LAYERS["lstm"].eval(), example_inputs=(torch.ones(1, 5, 8),))
    assert irprune.analyze(graph).costs.peak_sram == 5 * 8 + 5 * 16 + 16 + 16


def test_zero_biases_and_states_are_none() -> None:
    node = onnx.helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["y"], hidden_size=2)
    shapes = {"w": (1, 6, 3), "r": (1, 6, 2), "b": (1, 12), "h": (1, 1, 2)}
    tensors = [
        onnx.helper.make_tensor(
            key, onnx.TensorProto.FLOAT, shape, [float(key in "wr")] * torch.Size(shape).numel()
        )
        for key, shape in shapes.items()
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (4, 1, 3))
    y = onnx.ValueInfoProto(name="y")
    graph = onnx.helper.make_graph([node], "net", [x], [y], tensors)
    opsets = [onnx.helper.make_opsetid("", 14)]
    read = irprune.load(onnx.helper.make_model(graph, opset_imports=opsets))
    assert irprune.analyze(read).costs.parameters == 6 * 3 + 6 * 2
    layer = nn.GRU(3, 2)
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            parameter.fill_(float("weight" in key))
    read = irprune.load(layer.eval(), example_inputs=(torch.ones(4, 1, 3),))
    assert irprune.analyze(read).costs.parameters == 6 * 3 + 6 * 2
