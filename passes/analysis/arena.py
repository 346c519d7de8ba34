"""An offset for every buffer of a graph, and a check that trusts none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from irprune.ir.analysis import analysis
from irprune.ir.errors import InvalidPlan, UsageError
from irprune.ir.graph import Graph, Node
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import Precision, default_precision, stored_bytes
from irprune.passes.analysis.liveness import (
    MemoryModel,
    Timeline,
    buffers,
    expect_order,
    memory_model,
    timeline,
)
from irprune.passes.analysis.packing import Block, pack

ALIGNMENT = 16
"""Of TFLite-Micro's buffers, in bytes (MicroArenaBufferAlignment)."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A place for every buffer.

    Attributes:
        order: step indices, as run; the plan holds for no other order.
        alignment: bytes that every offset is a multiple of.
        offsets: bytes below each buffer, by the indices of ``liveness.buffers``; a buffer that is
            written over has the offset of what replaces it.
        size: where the highest buffer ends, rounded up to the alignment.
        lower_bound: bytes that every plan of this order needs: its peak, of sizes rounded up to
            the alignment, or more where that was refuted.
    """

    order: tuple[int, ...]
    alignment: int
    offsets: tuple[Bytes, ...]
    size: Bytes
    lower_bound: Bytes

    @property
    def proven(self) -> bool:
        """Whether no plan of this order is smaller."""
        return self.size == self.lower_bound


@analysis
def arena(
    graph: Graph,
    order: tuple[int, ...] | None = None,
    *,
    precision: Precision | None = None,
    exclude_inputs: bool = False,
    alignment: int = ALIGNMENT,
    time_limit: float = 10.0,
) -> Arena:
    """The smallest arena that is found for an order of the nodes.

    Args:
        graph: the graph, in the form that would be deployed.
        order: node indices, as run; by default the graph's own order.
        precision: how wide its numbers are; by default int8 for a float graph, its own types for
            a quantized one.
        exclude_inputs: give graph inputs no memory at all.
        alignment: bytes that every offset shall be a multiple of.
        time_limit: seconds after which the best arena so far is returned, with a true bound.
    """
    precision = precision or default_precision(graph)
    model = memory_model(graph, precision, exclude_inputs=exclude_inputs)
    return best_arena(model, order, alignment=alignment, time_limit=time_limit)


def best_arena(
    model: MemoryModel,
    order: Sequence[int] | None = None,
    *,
    alignment: int = ALIGNMENT,
    time_limit: float = 10.0,
) -> Arena:
    """As ``arena``, for a memory model; the order is of its steps."""
    if alignment < 1:
        raise UsageError(f"an alignment of {alignment} bytes is none")
    if order is not None:
        expect_order([step.after for step in model.steps], order)
    run = timeline(model, order)
    blocks, block_of = _blocks(model, run, alignment)
    packing = pack(blocks, time_limit=time_limit)
    offsets = tuple(packing.offsets[block] for block in block_of)
    return Arena(run.order, alignment, offsets, packing.size, packing.lower_bound)


def check_arena(
    graph: Graph,
    plan: Arena,
    *,
    precision: Precision | None = None,
    exclude_inputs: bool = False,
) -> None:
    """Raise InvalidPlan unless the graph can run in the arena, in its order.

    Lifetimes are derived afresh from the graph, and every two buffers are compared.

    Args:
        graph: the graph.
        plan: offsets from anywhere.
        precision: as for ``arena``.
        exclude_inputs: as for ``arena``.
    """
    if plan.alignment < 1:
        raise _refusal(graph, f"an alignment of {plan.alignment} bytes is none")
    sizes = _sizes(graph, precision or default_precision(graph))
    if exclude_inputs:
        sizes |= dict.fromkeys((buffers(graph)[value] for value in graph.inputs), Bytes(0))
    tenants = _tenants(graph, plan, sizes)
    for tenant in tenants:
        if tenant.start < 0:
            raise _refusal(graph, f"{tenant} starts below the arena")
        if tenant.start % plan.alignment:
            raise _refusal(graph, f"{tenant} is not aligned to {plan.alignment} bytes")
        if tenant.end > plan.size:
            raise _refusal(graph, f"{tenant} leaves the arena of {plan.size} bytes")
    in_place = _in_place(graph)
    for (a, one), (b, other) in combinations(enumerate(tenants), 2):
        written_over = ((a, b) in in_place and one.succeeds(other)) or (
            (b, a) in in_place and other.succeeds(one)
        )
        if one.collides(other) and not written_over:
            raise _refusal(graph, f"{one} and {other} overlap")


@dataclass(frozen=True, slots=True)
class _Tenant:
    """A buffer as the check sees it: bytes ``start`` to ``end``, steps ``first`` to ``last``."""

    name: str
    start: int
    end: int
    first: int
    last: int

    def collides(self, other: _Tenant) -> bool:
        """Whether some byte belongs to both at some step."""
        bytes_meet = max(self.start, other.start) < min(self.end, other.end)
        return bytes_meet and max(self.first, other.first) <= min(self.last, other.last)

    def succeeds(self, other: _Tenant) -> bool:
        """Whether the step that makes this is the last to need the other's same bytes."""
        same = (self.start, self.end) == (other.start, other.end)
        return same and self.first == other.last

    def __str__(self) -> str:
        span = f"bytes {self.start} to {self.end}, steps {self.first} to {self.last}"
        return f"buffer '{self.name}' ({span})"


def _sizes(graph: Graph, precision: Precision) -> dict[int, Bytes]:
    """Bytes of each buffer."""
    return {at: stored_bytes(value.type, precision) for value, at in buffers(graph).items()}


def _tenants(graph: Graph, plan: Arena, sizes: Mapping[int, Bytes]) -> list[_Tenant]:
    """The buffers in the plan, by their indices; the last step of an output is past the end."""
    index = buffers(graph)
    names: dict[int, str] = {}
    for value, at in index.items():
        names.setdefault(at, value.name)
    if len(plan.offsets) != len(names):
        what = f"it places {len(plan.offsets)} buffers and the graph has {len(names)}"
        raise _refusal(graph, what)
    first = {index[value]: 0 for value in graph.inputs}
    last = dict(first)
    nodes = _in_order(graph, plan)
    for step, node in enumerate(nodes):
        for value in (*node.inputs, *node.outputs):
            if value in index:
                first.setdefault(index[value], step)
                last[index[value]] = step
    last |= {index[value]: len(nodes) for value in graph.outputs if value in index}
    return [
        _Tenant(names[at], start, start + sizes[at], first[at], last[at])
        for at, start in enumerate(plan.offsets)
    ]


def _in_order(graph: Graph, plan: Arena) -> list[Node]:
    """The nodes as the plan runs them, each once and after what it reads."""
    count = len(graph.nodes)
    if sorted(plan.order) != list(range(count)):
        what = f"its order of {len(plan.order)} steps is none of the graph's {count} nodes"
        raise _refusal(graph, what)
    ready = {*graph.inputs, *graph.constants}
    nodes = [graph.nodes[at] for at in plan.order]
    for step, node in enumerate(nodes):
        late = [value.name for value in node.inputs if value not in ready]
        if late:
            raise _refusal(graph, f"step {step}, {node}, runs before '{late[0]}' is made")
        ready.update(node.outputs)
    return nodes


def _in_place(graph: Graph) -> set[tuple[int, int]]:
    """Pairs of a buffer and one that its node may write it over."""
    index = buffers(graph)
    return {
        (index[node.output], index[value])
        for node in graph.nodes
        if node.op.overwrites()
        for value in node.inputs
        if value in index
    }


def _refusal(graph: Graph, what: str) -> InvalidPlan:
    hint = "the plan is damaged or of another model: make a new one"
    return InvalidPlan(what, where=graph.name, hint=hint)


def _blocks(
    model: MemoryModel, run: Timeline, alignment: int
) -> tuple[list[Block], tuple[int, ...]]:
    """The blocks to place, and the one of each buffer: that of what it is written over, if any."""
    home = list(range(len(model.sizes)))
    for at, replaced in zip(run.order, run.replaced, strict=True):
        if replaced is not None:
            home[model.steps[at].makes[0]] = home[replaced]
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, live in enumerate(run.live):
        for block in {home[buffer] for buffer in live}:
            first.setdefault(block, position)
            last[block] = position + 1
    index = {block: at for at, block in enumerate(sorted({*home}))}
    sizes = [-(-size // alignment) * alignment for size in model.sizes]
    blocks = [Block(first.get(b, 0), last.get(b, 1), Bytes(sizes[b])) for b in index]
    return blocks, tuple(index[block] for block in home)
