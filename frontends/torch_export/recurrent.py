"""LSTM and GRU layers, their weights restacked in ONNX's order of gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from irprune.frontends.torch_export.call import Call, Operand, Result, lower, shape_of
from irprune.frontends.torch_export.selection import sliced
from irprune.frontends.torch_export.shape import transposed
from irprune.ir.graph import Value
from irprune.ir.ops import GRU, LSTM, Concat, Reshape

# torch stacks input, forget, cell, output, and reset, update, new.
_LSTM_GATES = (0, 3, 1, 2)
_GRU_GATES = (1, 0, 2)


@lower("aten.lstm.input")
def lstm(
    call: Call,
    input: Operand,
    hx: Sequence[Operand],
    params: Sequence[Operand],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Result:
    """Outputs of the last layer, then the last states of every layer."""
    hidden = shape_of(hx[0])[-1]
    call.require(shape_of(hx[1])[-1] == hidden, "projects its state")
    op = LSTM(hidden, "bidirectional" if bidirectional else "forward")
    layers = _Layers(call, op, _LSTM_GATES, params, has_biases, num_layers)
    call.require(not (train and dropout), "is in training mode (call eval() before exporting)")
    return layers.run(input, hx, batch_first)


@lower("aten.gru.input")
def gru(
    call: Call,
    input: Operand,
    hx: Operand,
    params: Sequence[Operand],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Result:
    """Outputs of the last layer, then the last state of every layer."""
    hidden = shape_of(hx)[-1]
    op = GRU(hidden, "bidirectional" if bidirectional else "forward", reset_after=True)
    layers = _Layers(call, op, _GRU_GATES, params, has_biases, num_layers)
    call.require(not (train and dropout), "is in training mode (call eval() before exporting)")
    return layers.run(input, [hx], batch_first)


class _Layers:
    """Layers of one cell, one on the other.

    Args:
        call: the call that is lowered.
        op: the cell.
        gates: where torch stacks each of the op's gates.
        params: for each layer and direction its weights of the input and of the state, and as
            many biases.
        has_biases: whether there are biases.
        count: the number of layers.
    """

    def __init__(
        self,
        call: Call,
        op: LSTM | GRU,
        gates: tuple[int, ...],
        params: Sequence[Operand],
        has_biases: bool,
        count: int,
    ) -> None:
        tensors = [p for p in params if isinstance(p, torch.Tensor)]
        call.require(len(tensors) == len(params), "computes its weights")
        self._call = call
        self._op = op
        self._gates = gates
        self._params = tensors
        self._has_biases = has_biases
        self._count = count
        self._directions = op.directions

    def run(self, x: Operand, states: Sequence[Operand], batch_first: bool) -> Result:
        """The outputs in torch's layout, then the last states."""
        call = self._call
        swap = (1, 0, 2)
        y = transposed(call, x, swap) if batch_first else call.value(x)
        lasts: list[tuple[Value, ...]] = []
        for layer in range(self._count):
            weights = self._weights(layer)
            op = replace(self._op, biased=len(weights) == 3)
            starts = [self._rows(state, layer) for state in states]
            given = [] if all(map(_is_zero, starts)) else starts
            y, *last = call.add_node(op, y, *weights, *given)
            lasts.append(tuple(last))
            time, _, batch, hidden = y.type.shape
            swapped = y if self._directions == 1 else transposed(call, y, (0, 2, 1, 3))
            y = call.add(Reshape((time, batch, self._directions * hidden)), swapped)
        finals = [call.add(Concat(0), *s) if len(s) > 1 else s[0] for s in zip(*lasts, strict=True)]
        return (transposed(call, y, swap) if batch_first else y, *finals)

    def _rows(self, state: Operand, layer: int) -> Operand:
        """A layer's part of an initial state."""
        rows = range(layer * self._directions, (layer + 1) * self._directions)
        if isinstance(state, torch.Tensor):
            return state[rows.start : rows.stop]
        return sliced(self._call, state, 0, rows)

    def _weights(self, layer: int) -> tuple[Value, ...]:
        """W, R and, unless it is zero, B of a layer, each under the module path of torch's own."""
        each = 4 if self._has_biases else 2
        first = layer * self._directions * each
        groups = [self._params[first + d * each :][:each] for d in range(self._directions)]
        w, r = ([group[i] for group in groups] for i in (0, 1))
        b = [bias for group in groups for bias in group[2:]]
        derived = self._call.derived
        weights = derived(self._stacked, w), derived(self._stacked, r)
        return weights if all(map(_is_zero, b)) else (*weights, derived(self._biases, b))

    def _stacked(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The directions' weights, their gates in the op's order."""
        return torch.stack([self._reordered(w) for w in weights])

    def _biases(self, biases: Sequence[torch.Tensor]) -> torch.Tensor:
        """The directions' biases, each direction's two end to end."""
        return self._stacked(biases).reshape(self._directions, -1)

    def _reordered(self, rows: torch.Tensor) -> torch.Tensor:
        """The gates in the op's order."""
        parts = rows.detach().chunk(len(self._gates))
        return torch.cat([parts[gate] for gate in self._gates])


def _is_zero(x: Operand) -> bool:
    """Whether a bias or state adds nothing to what the cell makes without it."""
    return isinstance(x, torch.Tensor) and not x.any()
