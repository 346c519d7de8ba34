"""LSTM and GRU."""

from __future__ import annotations

from typing import cast, get_args

import numpy as np

from irprune.frontends.onnx.call import Call, expect_rank
from irprune.frontends.onnx.scope import Operand, repeated
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Value
from irprune.ir.ops import GRU, LSTM, Transpose
from irprune.ir.ops.recurrent import Direction
from irprune.ir.types import Shape

_SWAP_BATCH = Transpose((1, 0, 2))
_Y_BATCH_FIRST = Transpose((2, 0, 1, 3))


def lstm(call: Call) -> tuple[Value, ...]:
    """LSTM over whole sequences, with the standard activations."""
    hidden, direction = _cell(call, ("sigmoid", "tanh", "tanh"))
    call.expect(call.int_("input_forget", 0) == 0, "coupled gates are not supported")
    call.expect(not call.has(7), "peepholes are not supported")
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
        x = call.emit(_SWAP_BATCH, x, part="time")
    time, batch, _ = x.type.shape
    lengths = call.numbers(4, "sequence_lens") if call.has(4) else ()
    call.expect(set(lengths) <= {time}, "sequences of several lengths are not supported")
    directions = 2 if op.direction == "bidirectional" else 1
    biases = (directions, 2 * op.gates * op.hidden)
    states = (directions, batch, op.hidden)
    operands = [x, call.operand(1), call.operand(2), _or_zeros(call, 3, "B", x, biases)]
    for i in range(op.states):
        state = call.optional(5 + i)
        if state is None:
            state = _zeros(call, f"initial_{'hc'[i]}", x, states)
        elif batch_first:
            state = call.emit(_SWAP_BATCH, state, part=f"state{i}")
        operands.append(state)
    y, *last = call.emit_all(op, *operands, part="time_first" if batch_first else "")
    if not batch_first:
        return y, *last
    return call.emit(_Y_BATCH_FIRST, y), *(
        call.emit(_SWAP_BATCH, state, output=1 + i) for i, state in enumerate(last)
    )


def _or_zeros(call: Call, index: int, part: str, like: Operand, shape: Shape) -> Operand:
    """An optional operand, zeros where it is absent."""
    operand = call.optional(index)
    return _zeros(call, part, like, shape) if operand is None else operand


def _zeros(call: Call, part: str, like: Operand, shape: Shape) -> Value:
    return call.constant(repeated(np.zeros((), like.type.dtype.numpy), shape), part)
