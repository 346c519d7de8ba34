"""Recurrent cells over a sequence, in ONNX's stacking of the weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from irprune.ir.channels import Axes, Kept, Ties
from irprune.ir.op import Dims, Op, expect, expect_operands, expect_rank, expect_reals, op, product
from irprune.ir.ops.pointwise import sigmoid
from irprune.ir.types import Array, Shape, TensorType, dims

T = TypeVar("T")
Direction = Literal["forward", "reverse", "bidirectional"]


class Recurrent(Op):
    """A cell stepped over time, in one or both directions.

    Operands: x (time, batch, in), W (directions, gates*hidden, in), R (directions, gates*hidden,
    hidden), B where ``biased`` (directions, 2*gates*hidden: of W, then of R), then the initial
    states, all or none (directions, batch, hidden), then optionally the weights of peepholes, if
    the cell knows any (directions, peepholes*hidden). What is absent is zero. Outputs: y (time,
    directions, batch, hidden), then the last states.
    """

    gates: ClassVar[int]
    states: ClassVar[int]
    peepholes: ClassVar[int] = 0
    hidden: int
    direction: Direction
    biased: bool

    linear = True

    @property
    def bias(self) -> int | None:
        return 3 if self.biased else None

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        least = 4 if self.biased else 3
        expect_operands(inputs, least, least + self.states + (1 if self.peepholes else 0))
        expect_reals(inputs)
        x = inputs[0]
        expect_rank(x, 3)
        time, batch, features = x.shape
        expect(time > 0 and self.hidden > 0, "has no steps or no hidden units")
        n = self.directions
        state = (n, batch, self.hidden)
        rows = self.gates * self.hidden
        wanted = [(n, rows, features), (n, rows, self.hidden)] + [(n, 2 * rows)] * self.biased
        wanted += [state] * len(self._initial(inputs)) + [(n, self.peepholes * self.hidden)]
        for t, shape in zip(inputs[1:], wanted, strict=False):
            expect(t.shape == shape, f"operand {dims(t.shape)} is not {dims(shape)}")
        y = TensorType((time, n, batch, self.hidden), x.dtype)
        return (y, *(TensorType(state, x.dtype) for _ in range(self.states)))

    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        time, batch, _ = inputs[0]
        return time * batch * (product(inputs[1]) + product(inputs[2]))

    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        (time, batch, features), w, r, *rest = inputs
        hidden = r[2]
        ties.freeze(time, "steps through it")
        directions = ties.fixed(self.directions, "reads in each direction")
        ties.tie(features, w[2])
        for rows in (w[1], r[1]):
            ties.tie(rows, np.tile(hidden, self.gates))
        for operand in inputs[1:]:
            ties.tie(operand[0], directions)
        for operand in rest:
            ties.tie(operand[-1], np.tile(hidden, len(operand[-1]) // len(hidden)))
        for state in self._initial(inputs):
            ties.tie(state[1], batch)
        state_ids = (directions, batch, hidden)
        return ((time, directions, batch, hidden), *[state_ids] * self.states)

    @abstractmethod
    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        """The cell with as many hidden units as are left."""

    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        x, n = args[0], self.directions
        none = np.zeros((n, 2 * self.gates * self.hidden), x.dtype)
        zero = np.zeros((n, x.shape[1], self.hidden), x.dtype)
        given = self._initial(args)
        peepholes = args[(4 if self.biased else 3) + len(given) :]
        weights = (*args[1:3], args[3] if self.biased else none, *peepholes)
        initial = given or (zero,) * self.states
        ys, lasts = [], []
        for d in range(n):
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

    def _initial(self, operands: Sequence[T]) -> Sequence[T]:
        """The initial states among the operands."""
        rest = operands[4 if self.biased else 3 :]
        return rest[: self.states] if len(rest) >= self.states else ()

    @abstractmethod
    def step(
        self, x: Array, state: tuple[Array, ...], weights: Sequence[Array]
    ) -> tuple[Array, ...]:
        """The states after one time step of one direction; the first is the output."""

    @property
    def directions(self) -> int:
        """How many directions the sequence is read in."""
        return 2 if self.direction == "bidirectional" else 1


@op
class LSTM(Recurrent):
    """Long short-term memory; gates stacked input, output, forget, cell.

    Peepholes, stacked input, output, forget, let the gates see the cell (Gers & Schmidhuber 2000).
    """

    hidden: int
    direction: Direction = "forward"
    biased: bool = True

    gates = 4
    states = 2
    peepholes = 3

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return replace(self, hidden=int(outputs[0][3].sum()))

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
    biased: bool = True

    gates = 3
    states = 1

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        return replace(self, hidden=int(outputs[0][3].sum()))

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
