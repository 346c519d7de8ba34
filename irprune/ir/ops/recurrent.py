"""Recurrent cells over a sequence, in ONNX's stacking of the weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from irprune.ir.op import Dims, Op, expect, expect_operands, expect_rank, expect_reals, op, product
from irprune.ir.ops.pointwise import sigmoid
from irprune.ir.types import Array, TensorType, dims

Direction = Literal["forward", "reverse", "bidirectional"]


class Recurrent(Op):
    """A cell stepped over time, in one or both directions.

    Operands: x (time, batch, in), W (directions, gates*hidden, in), R (directions, gates*hidden,
    hidden), B (directions, 2*gates*hidden: of W, then of R), then the initial states (directions,
    batch, hidden), then optionally the weights of peepholes, if the cell knows any (directions,
    peepholes*hidden). Outputs: y (time, directions, batch, hidden), then the last states.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    peepholes: ClassVar[int] = 0
    hidden: int
    direction: Direction

    linear = True
    bias = 3

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        least = 4 + self.states
        expect_operands(inputs, least, least + 1 if self.peepholes else least)
        expect_reals(inputs)
        x = inputs[0]
        expect_rank(x, 3)
        time, batch, features = x.shape
        expect(time > 0 and self.hidden > 0, "has no steps or no hidden units")
        n = self._directions
        state = (n, batch, self.hidden)
        rows = self.gates * self.hidden
        wanted = [(n, rows, features), (n, rows, self.hidden), (n, 2 * rows)]
        wanted += [state] * self.states + [(n, self.peepholes * self.hidden)]
        for t, shape in zip(inputs[1:], wanted, strict=False):
            expect(t.shape == shape, f"operand {dims(t.shape)} is not {dims(shape)}")
        y = TensorType((time, n, batch, self.hidden), x.dtype)
        return (y, *(TensorType(state, x.dtype) for _ in range(self.states)))

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        time, batch, _ = inputs[0]
        return time * batch * (product(inputs[1]) + product(inputs[2]))

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, initial = args[0], args[4 : 4 + self.states]
        weights = (*args[1:4], *args[4 + self.states :])
        ys, lasts = [], []
        for d in range(self._directions):
            backward = self.direction == "reverse" or d == 1
            steps = x[::-1] if backward else x
            state = tuple(s[d] for s in initial)
            rows = []
            for step in steps:
                state = self.step(step, state, [weight[d] for weight in weights])
                rows.append(state[0])
            ys.append(np.stack(rows[::-1] if backward else rows))
            lasts.append(state)
        finals = (np.stack(states) for states in zip(*lasts, strict=True))
        return (np.stack(ys, axis=1), *finals)

    @abstractmethod
    def step(
        self, x: Array, state: tuple[Array, ...], weights: Sequence[Array]
    ) -> tuple[Array, ...]:
        """The states after one time step of one direction; the first is the output."""

    @property
    def _directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1


@op
class LSTM(Recurrent):
    """Long short-term memory; gates stacked input, output, forget, cell.

    Peepholes, stacked input, output, forget, let the gates see the cell (Gers & Schmidhuber 2000).
    """

    hidden: int
    direction: Direction = "forward"

    gates = 4
    states = 2
    peepholes = 3

    def step(
        self, x: Array, state: tuple[Array, ...], weights: Sequence[Array]
    ) -> tuple[Array, ...]:
        h, c = state
        w, r, b, *peepholes = weights
        wb, rb = np.split(b, 2)
        i, o, f, g = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=-1)
        pi, po, pf = np.split(peepholes[0], 3) if peepholes else np.zeros((3, 1), x.dtype)
        c = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(g)
        return sigmoid(o + po * c) * np.tanh(c), c


@op
class GRU(Recurrent):
    """Gated recurrent unit; gates stacked update, reset, hidden.

    ``reset_after``: the reset gate is applied after the recurrent product (torch's form).
    """

    hidden: int
    direction: Direction = "forward"
    reset_after: bool = False

    gates = 3
    states = 1

    def step(
        self, x: Array, state: tuple[Array, ...], weights: Sequence[Array]
    ) -> tuple[Array, ...]:
        (h,) = state
        w, r, b = weights
        wb, rb = np.split(b, 2)
        xz, xr, xh = np.split(x @ w.T + wb, 3, axis=-1)
        rz, rr, rh = np.split(r, 3)
        bz, br, bh = np.split(rb, 3)
        z = sigmoid(xz + h @ rz.T + bz)
        reset = sigmoid(xr + h @ rr.T + br)
        if self.reset_after:
            candidate = np.tanh(xh + reset * (h @ rh.T + bh))
        else:
            candidate = np.tanh(xh + (reset * h) @ rh.T + bh)
        return ((1 - z) * candidate + z * h,)
