"""An order of least peak by constraint programming, for graphs too wide for the search."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from irprune.ir.types import Bytes
from irprune.passes.analysis.ordering.moves import Sized
from irprune.passes.analysis.ordering.search import Found
from irprune.passes.analysis.ordering.structure import bits


def available() -> bool:
    """Whether OR-tools is installed."""
    return find_spec("ortools") is not None


def solve(
    sized: Sized, sizes: Sequence[int], hint: Sequence[int], bound: Bytes, seconds: float
) -> Found:
    """An order of least peak by CP-SAT, if it is below that of a known order.

    Every buffer is an interval over positions, and the intervals together take no more than the
    peak, which is minimized. An output that is written over an operand begins where that ends.

    Args:
        sized: steps and sizes.
        sizes: bytes of each buffer.
        hint: the best order known.
        bound: bytes that every order needs.
        seconds: when to stop.
    """
    from ortools.sat.python import cp_model

    known = sized.peak(hint)
    problem = _Problem(cp_model, sized, sizes, hint, bound, known)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(seconds, 0.01)
    solver.parameters.random_seed = 0
    status = solver.solve(problem.model)
    if status == cp_model.INFEASIBLE:
        return Found(None, known)
    bound = Bytes(max(bound, int(solver.best_objective_bound)))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Found(None, bound)
    position = [solver.value(variable) for variable in problem.position]
    order = tuple(sorted(range(len(position)), key=position.__getitem__))
    return Found(order, bound)


class _Problem:
    """The constraints, around the position of each step in the order."""

    def __init__(
        self,
        cp: Any,
        sized: Sized,
        sizes: Sequence[int],
        hint: Sequence[int],
        bound: Bytes,
        known: Bytes,
    ) -> None:
        self.model = cp.CpModel()
        self._sized = sized
        self._structure = sized.structure
        self._count = len(self._structure.steps)
        self.position = [
            self.model.new_int_var(0, self._count - 1, f"position{at}") for at in range(self._count)
        ]
        self.model.add_all_different(self.position)
        for at, mask in enumerate(self._structure.before):
            for earlier in bits(mask):
                self.model.add(self.position[earlier] < self.position[at])
        for place, at in enumerate(hint):
            self.model.add_hint(self.position[at], place)
        self._over: dict[int, list[Any]] = {}
        peak = self.model.new_int_var(bound, known - 1, "peak")
        intervals = [self._interval(buffer, sizes) for buffer in range(len(sizes))]
        self.model.add_cumulative(intervals, list(sizes), peak)
        for choices in self._over.values():
            self.model.add_at_most_one(choices)
        self.model.minimize(peak)

    def _interval(self, buffer: int, sizes: Sequence[int]) -> Any:
        """The positions at which a buffer is in memory."""
        structure, model = self._structure, self.model
        readers = [at for at, step in enumerate(structure.steps) if buffer in step.reads]
        makers = [at for at, step in enumerate(structure.steps) if buffer in step.makes]
        start = self.position[makers[0]] if makers else 0
        end: Any = self._count
        if buffer not in structure.outputs:
            end = model.new_int_var(0, self._count, f"end{buffer}")
            for reader in readers:
                over = self._overwriting(reader, buffer, sizes)
                model.add(end >= self.position[reader] + 1 - over)
            if not readers:
                model.add(end >= start + 1)
        length = model.new_int_var(0, self._count, f"length{buffer}")
        return model.new_interval_var(start, length, end, f"live{buffer}")

    def _overwriting(self, reader: int, buffer: int, sizes: Sequence[int]) -> Any:
        """Whether a step's output is written over this buffer: 0 or 1, or a variable."""
        structure, model = self._structure, self.model
        others = {r.buffer: r.others for r in structure.overwrites[reader]}
        if buffer not in others or sizes[buffer] != self._sized.steps[reader].made:
            return 0
        over = model.new_bool_var(f"over{reader}_{buffer}")
        self._over.setdefault(reader, []).append(over)
        for other in bits(others[buffer]):
            model.add(self.position[other] < self.position[reader]).only_enforce_if(over)
        return over
