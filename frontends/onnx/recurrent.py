"""LSTM and GRU."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

import numpy as np

from irprune.frontends.lowering import transposition
from irprune.frontends.onnx.call import Call, expect_rank
from irprune.frontends.onnx.scope import Operand, repeated
from irprune.ir.arrays import held
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Value
from irprune.ir.ops import GRU, LSTM
from irprune.ir.ops.recurrent import Direction
from irprune.ir.types import Shape


def lstm(call: Call) -> tuple[Value, ...]:
    """LSTM over whole sequences, with the standard activations."""
    hidden, direction = _cell(call, ("sigmoid", "tanh", "tanh"))
    call.expect(call.int_("input_forget", 0) == 0, "coupled gates are not supported")
    return _run(call, LSTM(hidden, direction))


def gru(call: Call) -> tuple[Value, ...]:
    """GRU over whole sequences, with the standard activations."""
    hidden, direction = _cell(call, ("sigmoid", "tanh"))
    return _run(call, GRU(hidden, direction, bool(call.int_("linear_before_reset", 0))))


def _cell(call: Call, standard: tuple[str, ...]) -> tuple[int, Direction]:
    """The hidden size and the direction; UnsupportedOp for anything but the standard cell."""
    recurrent = call.operand(2)
    expect_rank(recurrent, 3)
    hidden = recurrent.type.shape[2]
    if call.int_("hidden_size", hidden) != hidden:
        raise InvalidType(f"hidden_size is not that of the weights, {hidden}")
    direction = cast(Direction, call.text("direction", *get_args(Direction)))
    directions = 2 if direction == "bidirectional" else 1
    given = call.text_list("activations") or standard * directions
    call.expect(
        tuple(name.lower() for name in given) == standard * directions,
        f"activations {', '.join(given)} are not supported",
    )
    call.expect(not call.has_attribute("clip"), "clipping of cells is not supported")
    return hidden, direction


def _run(call: Call, op: LSTM | GRU) -> tuple[Value, ...]:
    """The cell's outputs, with time before batch inside whatever the layout outside is."""
    batch_first = bool(call.int_("layout", 0))
    x = call.operand(0)
    expect_rank(x, 3)
    if batch_first:
        x = _swapped(call, x, "time")
    time, batch, _ = x.type.shape
    lengths = call.numbers(4, "sequence_lens") if call.has(4) else ()
    call.expect(set(lengths) <= {time}, "sequences of several lengths are not supported")
    operands = [x, call.operand(1), call.operand(2)]
    bias = call.optional(3)
    if bias is None or _is_zero(call, bias, (op.directions, 2 * op.gates * op.hidden)):
        op = replace(op, biased=False)
    else:
        operands.append(bias)
    operands += _states(call, op, (op.directions, batch, op.hidden), batch_first)
    if op.peepholes and call.has(7):
        operands.append(call.operand(7))
    y, *last = call.emit_all(op, *operands, part="time_first" if batch_first else "")
    if not batch_first:
        return y, *last
    swapped = call.emit(transposition(y.type.shape, (2, 0, 1, 3)), y)
    return swapped, *(_swapped(call, state, output=1 + i) for i, state in enumerate(last))


def _states(call: Call, op: LSTM | GRU, shape: Shape, batch_first: bool) -> list[Operand]:
    """The initial states; none where they are zero, as they are where none is given."""
    given = [call.optional(5 + i) for i in range(op.states)]
    zero = call.constant(repeated(np.zeros((), call.operand(0).type.dtype.numpy), shape), "zero")
    states: list[Operand] = []
    for i, state in enumerate(given):
        if state is not None and batch_first:
            expect_rank(state, 3)
            state = _swapped(call, state, f"state{i}")
        states.append(zero if state is None else state)
    return [] if all(_is_zero(call, state, shape) for state in states) else states


def _is_zero(call: Call, operand: Operand, shape: Shape) -> bool:
    """Whether a bias or state of the right shape adds nothing."""
    array = call.scope.array(operand)
    return array is not None and array.shape == shape and not held(array).any()


def _swapped(call: Call, x: Operand, part: str = "", output: int = 0) -> Value:
    """A rank-3 operand with its first two axes in each other's place."""
    return call.emit(transposition(x.type.shape, (1, 0, 2)), x, part=part, output=output)
