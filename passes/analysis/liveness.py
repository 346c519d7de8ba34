"""Which buffers are in memory at each step of a graph's order, and the peak they reach.

The convention is that of docs/design.md §4: at a step there are in memory the buffers live on entry
and the node's new outputs. Graph inputs are live from before the first step to their last use,
graph outputs to the end; a view shares the buffer of its operand; an input or output that nobody
reads lives one step; an Add may write into an operand of exactly its output's size that is not
read later and is no graph output.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from irprune.ir.analysis import analysis
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import Precision, stored_bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What one node does to memory, in buffer indices.

    Attributes:
        reads: buffers it reads, each once; constants have no buffer.
        makes: buffers of its outputs; () for a view.
        after: steps that make its operands, views among them, each once; it runs after those.
        overwrites: whether its output may be written over a buffer it reads.
    """

    reads: tuple[int, ...]
    makes: tuple[int, ...]
    after: tuple[int, ...] = ()
    overwrites: bool = False


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """A graph as the memory sees it.

    Attributes:
        sizes: bytes of each buffer.
        inputs: buffers that hold the graph inputs.
        outputs: buffers that hold graph outputs.
        steps: one a node, in the order of the graph.
    """

    sizes: tuple[Bytes, ...]
    inputs: frozenset[int]
    outputs: frozenset[int]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Memory over the steps of an order.

    Attributes:
        order: step indices, as run.
        live: for each step of the order, the buffers in memory; one that is overwritten is not.
        replaced: for each step of the order, the buffer its output is written over; None for none.
        usage: for each step of the order, the bytes in memory.
        start: bytes in memory before the first step: those of the graph inputs.
    """

    order: tuple[int, ...]
    live: tuple[frozenset[int], ...]
    replaced: tuple[int | None, ...]
    usage: tuple[Bytes, ...]
    start: Bytes

    @property
    def peak(self) -> Bytes:
        """The most bytes in memory at any step; of a graph without steps, at any time."""
        return max((self.start, *self.usage))

    @property
    def bottleneck(self) -> int:
        """The position in the order of the first step that reaches the peak."""
        return self.usage.index(self.peak)


@analysis
def buffers(graph: Graph) -> Mapping[Value, int]:
    """The buffer index of every activation; values that share memory share an index."""
    index: dict[Value, int] = {}
    count = 0
    for value in graph.inputs:
        index[value], count = count, count + 1
    for node in graph.nodes:
        alias = node.op.alias()
        if alias is not None:
            if node.inputs[alias] in index:
                index[node.output] = index[node.inputs[alias]]
            continue
        for value in node.outputs:
            index[value], count = count, count + 1
    return index


@analysis
def memory_model(
    graph: Graph, precision: Precision, *, exclude_inputs: bool = False
) -> MemoryModel:
    """The graph's buffers and steps.

    Args:
        graph: the graph, its order that of its nodes.
        precision: how wide its numbers are.
        exclude_inputs: count graph inputs as no memory at all (the convention of µNAS).
    """
    index = buffers(graph)
    sizes = [Bytes(0)] * (max(index.values(), default=-1) + 1)
    for value, at in index.items():
        sizes[at] = stored_bytes(value.type, precision)
    inputs = frozenset(index[value] for value in graph.inputs)
    if exclude_inputs:
        sizes = [Bytes(0) if at in inputs else size for at, size in enumerate(sizes)]
    outputs = frozenset(index[value] for value in graph.outputs if value in index)
    return MemoryModel(tuple(sizes), inputs, outputs, _steps(graph, index))


def with_scratch(model: MemoryModel, scratch: Sequence[tuple[int, Bytes]]) -> MemoryModel:
    """A memory model whose steps need further buffers, each while its step runs.

    Args:
        model: the memory model.
        scratch: the step and the size of each; their indices follow those of the model.
    """
    steps, count = list(model.steps), len(model.sizes)
    for buffer, (at, _) in enumerate(scratch, count):
        steps[at] = replace(steps[at], makes=(*steps[at].makes, buffer))
    sizes = (*model.sizes, *(size for _, size in scratch))
    return MemoryModel(sizes, model.inputs, model.outputs, tuple(steps))


def timeline(model: MemoryModel, order: Sequence[int] | None = None) -> Timeline:
    """Memory over the steps of ``order`` (by default the graph's own).

    The order must run each step once, after the steps it reads from.
    """
    order = range(len(model.steps)) if order is None else order
    waiting = _reader_counts(model)
    live = set(model.inputs)
    sets, all_replaced, usage = [], [], []
    for position, at in enumerate(order):
        step = model.steps[at]
        for buffer in step.reads:
            waiting[buffer] -= 1
        replaced = overwritten(model, step, waiting) if step.overwrites else None
        live = (live - {replaced}) | set(step.makes)
        sets.append(frozenset(live))
        all_replaced.append(replaced)
        usage.append(Bytes(sum(model.sizes[b] for b in live)))
        for buffer in (*step.reads, *step.makes, *(model.inputs if position == 0 else ())):
            if waiting[buffer] == 0 and buffer not in model.outputs:
                live.discard(buffer)
    start = Bytes(sum(model.sizes[b] for b in model.inputs))
    return Timeline(tuple(order), tuple(sets), tuple(all_replaced), tuple(usage), start)


def overwritten(model: MemoryModel, step: Step, waiting: Sequence[int]) -> int | None:
    """The buffer an in-place step writes over; None where it needs a new one.

    Args:
        model: the memory model.
        step: a step whose output may overwrite an operand.
        waiting: for each buffer, how many steps still have to read it after this one.
    """
    (made,) = step.makes
    for buffer in step.reads:
        dead = waiting[buffer] == 0 and buffer not in model.outputs
        if dead and model.sizes[buffer] == model.sizes[made]:
            return buffer
    return None


def imprecise_peak(model: MemoryModel, *, in_place: bool = False) -> Bytes:
    """The under-approximation of earlier work: the largest inputs + outputs of one operator.

    With ``in_place``, an operator that may overwrite an operand of its output's size counts its
    inputs only. Views are no operators here.
    """
    return max(
        (imprecise_bytes(model, s, in_place=in_place) for s in model.steps), default=Bytes(0)
    )


def imprecise_bytes(model: MemoryModel, step: Step, *, in_place: bool = False) -> Bytes:
    """Inputs + outputs of one step, the term that ``imprecise_peak`` maximizes."""
    if not step.makes:
        return Bytes(0)
    read = sum(model.sizes[b] for b in step.reads)
    made = sum(model.sizes[b] for b in step.makes)
    fits = any(model.sizes[b] == made for b in step.reads)
    return Bytes(read if in_place and step.overwrites and fits else read + made)


def _steps(graph: Graph, index: Mapping[Value, int]) -> tuple[Step, ...]:
    made_at: dict[Value, int] = {}
    steps = []
    for at, node in enumerate(graph.nodes):
        operands = [v for v in dict.fromkeys(node.inputs) if v in index]
        reads = tuple(dict.fromkeys(index[v] for v in operands))
        after = tuple(dict.fromkeys(made_at[v] for v in node.inputs if v in made_at))
        view = node.op.alias() is not None
        makes = () if view else tuple(index[v] for v in node.outputs)
        steps.append(Step(reads, makes, after, node.op.overwrites()))
        made_at |= dict.fromkeys(node.outputs, at)
    return tuple(steps)


def _reader_counts(model: MemoryModel) -> list[int]:
    counts = [0] * len(model.sizes)
    for buffer in chain.from_iterable(step.reads for step in model.steps):
        counts[buffer] += 1
    return counts


def expect_order(needs: Sequence[Collection[int]], order: Sequence[int]) -> None:
    """Raise UsageError unless an order runs each step once, after those that it needs."""
    if sorted(order) != list(range(len(needs))):
        raise UsageError(f"the order does not run each of {len(needs)} nodes once")
    done: set[int] = set()
    for step in order:
        if not done.issuperset(needs[step]):
            raise UsageError(f"the order runs node {step} before what makes its operands")
        done.add(step)
