"""TFLite-Micro as it runs on a device: with its own planner, and what that takes of the arena."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ai_edge_litert import schema_py_generated as schema
from tflite_micro.python.tflite_micro import runtime

from irprune.backends.runtimes import stderr_of
from irprune.ir.types import Array


class Run(NamedTuple):
    """Bytes of the arena's head (activations and scratch) and tail, and a run's outputs."""

    head: int
    tail: int
    total: int
    outputs: list[Array]


def tflm(model: bytes, inputs: Sequence[Array]) -> Run:
    """A run of a file, its tensors where the runtime's planner or the file's plan has put them."""
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=16 * len(model) + 2**20)
    for index, array in enumerate(inputs):
        interpreter.set_input(array, index)
    interpreter.invoke()
    count = schema.Model.GetRootAs(model).Subgraphs(0).OutputsLength()
    outputs = [interpreter.get_output(index) for index in range(count)]
    return Run(*_usage(interpreter.print_allocations), outputs)


def _usage(print_allocations: Callable[[], None]) -> tuple[int, int, int]:
    """Head, tail and total, which the runtime prints to the file descriptor 2."""
    text = stderr_of(print_allocations)
    used = {part: int(size) for part, size in re.findall(r"Arena allocation (\w+) (\d+) b", text)}
    return used["head"], used["tail"], used["total"]
