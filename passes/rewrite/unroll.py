"""Recurrent cells as one set of layers a time step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from irprune.ir import ops
from irprune.ir.graph import Value
from irprune.ir.ops.recurrent import Recurrent
from irprune.ir.types import Array
from irprune.passes.rewrite.formula import Formula

Cell = Callable[[Value, tuple[Value, ...]], tuple[Value, ...]]
"""From a time step's input and the states before it to the states after it."""


def unroll(f: Formula) -> None:
    """Spell a recurrent cell out; one with computed weights or with peepholes stays."""
    op = f.node.op
    assert isinstance(op, ops.LSTM | ops.GRU)
    operands = 4 if op.biased else 3
    weights = [f.array(value) for value in f.node.inputs[1:operands]]
    rest = f.node.inputs[operands:]
    if any(array is None for array in weights) or len(rest) not in (0, op.states):
        return
    arrays = [array for array in weights if array is not None]
    if not op.biased:
        arrays.append(np.zeros((op.directions, 2 * op.gates * op.hidden), arrays[0].dtype))
    time, batch, features = f.x.type.shape
    steps = _split(f, f.x, 0, time, (batch, features))
    runs = [_direction(f, op, d, steps, arrays, rest) for d in range(op.directions)]
    state = (1, 1, batch, op.hidden)
    rows = [
        f.add(ops.Reshape(state), states[0])
        for at in range(time)
        for states in (run[at] for run in runs)
    ]
    _join(f, rows, f.node.outputs[0].type.shape, 0)
    for number in range(op.states):
        last = [_last(run, op, d)[number] for d, run in enumerate(runs)]
        finals = [f.add(ops.Reshape((1, batch, op.hidden)), value) for value in last]
        _join(f, finals, f.node.outputs[1 + number].type.shape, 1 + number)


def _join(f: Formula, parts: Sequence[Value], shape: tuple[int, ...], output: int) -> None:
    if len(parts) == 1:
        f.end(ops.Reshape(shape), parts[0], output=output)
    else:
        f.end(ops.Reshape(shape), f.add(ops.Concat(0), *parts), output=output)


def _split(f: Formula, x: Value, axis: int, count: int, shape: tuple[int, ...]) -> list[Value]:
    """Equal parts of a value, each under a shape."""
    size = x.type.shape[axis] // count
    parts = f.add_several(ops.Split(axis, (size,) * count), x) if count > 1 else (x,)
    return [part if part.type.shape == shape else f.add(ops.Reshape(shape), part) for part in parts]


def _last(run: Sequence[tuple[Value, ...]], op: Recurrent, direction: int) -> tuple[Value, ...]:
    """The states after the last step that a direction takes."""
    return run[0 if _is_backward(op, direction) else -1]


def _is_backward(op: Recurrent, direction: int) -> bool:
    return op.direction == "reverse" or direction == 1


def _direction(
    f: Formula,
    op: ops.LSTM | ops.GRU,
    direction: int,
    steps: Sequence[Value],
    arrays: Sequence[Array],
    initial: Sequence[Value],
) -> list[tuple[Value, ...]]:
    """The states after each time step, in the order of time."""
    batch = f.x.type.shape[1]
    shape = (batch, op.hidden)
    weights = [array[direction] for array in arrays]
    cell = _lstm(f, weights) if isinstance(op, ops.LSTM) else _gru(f, weights, op.reset_after)
    state: tuple[Value, ...] = (
        tuple(_split(f, value, 0, op.directions, shape)[direction] for value in initial)
        or (f.constant("zero", np.zeros(shape, f.x.type.dtype.numpy)),) * op.states
    )
    found = []
    for x in reversed(steps) if _is_backward(op, direction) else steps:
        state = cell(x, state)
        found.append(state)
    return found[::-1] if _is_backward(op, direction) else found


def _dense(f: Formula, name: str, w: Array, b: Array | None = None) -> Callable[[Value], Value]:
    """A dense layer, its weights the same in every step."""
    operands = [f.constant(name, np.ascontiguousarray(w))]
    operands += [] if b is None else [f.constant(f"{name}.bias", b)]
    return lambda x: f.add(ops.Dense(), x, *operands)


def _lstm(f: Formula, weights: Sequence[Array]) -> Cell:
    """ONNX's LSTM without peepholes; gates stacked input, output, forget, cell."""
    w, r, b = weights
    of_x, of_h = _dense(f, "W", w, np.add(*np.split(b, 2))), _dense(f, "R", r)

    def step(x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        h, c = state
        total = f.add(ops.Add(), of_x(x), of_h(h))
        i, o, forget, g = _split(f, total, 1, 4, c.type.shape)
        kept = f.add(ops.Mul(), f.add(ops.Sigmoid(), forget), c)
        new = f.add(ops.Mul(), f.add(ops.Sigmoid(), i), f.add(ops.Tanh(), g))
        c = f.add(ops.Add(), kept, new)
        return f.add(ops.Mul(), f.add(ops.Sigmoid(), o), f.add(ops.Tanh(), c)), c

    return step


def _gru(f: Formula, weights: Sequence[Array], reset_after: bool) -> Cell:
    """ONNX's GRU; gates stacked update, reset, hidden."""
    w, r, b = weights
    wb, rb = np.split(b, 2)
    hidden = len(wb) // 3
    of_x, gates = _dense(f, "W", w, wb), _dense(f, "R", r[:-hidden], rb[:-hidden])
    of_hidden = _dense(f, "Rh", r[-hidden:], rb[-hidden:])

    def step(x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        (h,) = state
        xz, xr, xh = _split(f, of_x(x), 1, 3, h.type.shape)
        hz, hr = _split(f, gates(h), 1, 2, h.type.shape)
        z = f.add(ops.Sigmoid(), f.add(ops.Add(), xz, hz))
        reset = f.add(ops.Sigmoid(), f.add(ops.Add(), xr, hr))
        if reset_after:
            past = f.add(ops.Mul(), reset, of_hidden(h))
        else:
            past = of_hidden(f.add(ops.Mul(), reset, h))
        candidate = f.add(ops.Tanh(), f.add(ops.Add(), xh, past))
        update = f.add(ops.Mul(), z, f.add(ops.Sub(), h, candidate))
        return (f.add(ops.Add(), candidate, update),)

    return step
