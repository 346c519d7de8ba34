"""What TFLite-Micro takes of its arena for a file.

The head is for tensors and scratch memory, planned from below; the tail is what is kept beside
them, allocated from above (``kept``). Before tensors have their places, what is needed to find
them lies there (tensorflow/lite/micro/micro_allocator.cc): of small models that is more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irprune.backends.tflite.kept import described, stacked, tail
from irprune.frontends.tflite import read_tflite_file
from irprune.frontends.tflite.file import ModelFile, Operator
from irprune.ir.types import Bytes, DType
from irprune.passes.analysis.offline_plan import RUNTIME, RuntimeModel, aligned

SCRATCH_REQUEST = 16
"""ScratchBufferRequest, at the head while operators are prepared, ..."""
MOST_REQUESTS = 12
"""... with room for so many of the next one."""
ALLOCATION = 32
"""AllocationInfo, of each tensor and each scratch buffer while they are planned."""
PLANNED = 40
"""What the greedy planner has of each that it finds a place for."""
SUBGRAPH = 8
"""Where in that list a subgraph's tensors are."""
TIMES_DESCRIBED = 2
"""How often at the most a kernel asks for the description of an operand while it is prepared."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of arena.

    Attributes:
        head: tensors and scratch memory.
        tail: all that is kept beside them.
        setup: what is needed at once until tensors have their places; the tail so far is in it.
    """

    head: Bytes
    tail: Bytes
    setup: Bytes

    @property
    def total(self) -> Bytes:
        """All bytes that the arena must have, if it begins at a multiple of 16.

        That is head and tail to the byte in a 64-bit build with the recording allocator, and no
        less than what others take. Where setting up needs more, it is a bound: how often kernels
        describe their operands while they are prepared is taken for the most that any does.
        """
        return Bytes(aligned(max(self.head + self.tail, self.setup)))


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Memory from one operator to another, ends included; perhaps at a place that a plan gives."""

    size: int
    first: int
    last: int
    offset: int | None


def footprint(data: bytes) -> Footprint:
    """What TFLite-Micro takes of its arena for a TFLite file.

    Tensors that no memory plan in the file places are put where its greedy planner puts them.

    Raises:
        InvalidModel: as ``read_tflite_file``.
        UnsupportedOp: as ``read_tflite_file``.
    """
    file, model = ModelFile(data), read_tflite_file(data)
    scratch = [list(_scratch(file, operator)) for operator in file.operators]
    buffers = list(_tensors(model.runtime, model.plan))
    for step, sizes in enumerate(scratch):
        buffers += [_Buffer(size, step, step, None) for size in sizes]
    count = sum(map(len, scratch))
    before, whole = tail(file, count)
    return Footprint(
        head=Bytes(_planned(buffers)),
        tail=Bytes(whole),
        setup=Bytes(
            aligned(before) + max(_planning(file, len(buffers), count), _preparing(file, count))
        ),
    )


def _planning(file: ModelFile, buffers: int, scratch: int) -> int:
    """Bytes below the tail while buffers get their places."""
    requests = SCRATCH_REQUEST * (scratch + MOST_REQUESTS)
    infos = SUBGRAPH + ALLOCATION * (file.tensor_count + scratch)
    return aligned(requests + infos) + PLANNED * buffers


def _preparing(file: ModelFile, scratch: int) -> int:
    """The most bytes below the tail while an operator is prepared."""
    operands = (
        [i for i in (*operator.inputs, *operator.outputs) if i >= 0] for operator in file.operators
    )
    most = max((_described(file, indices) for indices in operands), default=0)
    return SCRATCH_REQUEST * (scratch + MOST_REQUESTS) + most


def _described(file: ModelFile, tensors: Sequence[int]) -> int:
    once = [block for index in tensors for block in described(file.tensor(index))]
    return stacked(once * TIMES_DESCRIBED)


def _scratch(file: ModelFile, operator: Operator) -> Iterator[int]:
    """Sizes of the memory that an operator wants while it runs: sums, indices, axes."""
    made = file.tensor(operator.outputs[0]).type
    match operator.kind:
        case "MEAN" | "SUM" | "REDUCE_MAX":
            x, axes = (file.tensor(index).type for index in operator.inputs)
            if operator.kind != "REDUCE_MAX" and made.dtype is not DType.F32:
                yield 4 * made.elements
            yield from (4 * x.rank, 4 * axes.elements)
        case "MIRROR_PAD":
            yield from [4 * made.rank] * 2
        case "TRANSPOSE_CONV" if made.dtype is not DType.F32:
            yield (4 if made.dtype is DType.I8 else 8) * made.elements


def _tensors(model: RuntimeModel, plan: tuple[int, ...] | None) -> Iterator[_Buffer]:
    """The tensors in memory, from the first operator that needs one to the last."""
    first = dict.fromkeys(model.inputs, 0)
    last = dict(first)
    for step, operation in enumerate(model.operations):
        first |= dict.fromkeys(operation.makes, step)
        last |= dict.fromkeys((*operation.reads, *operation.makes), step)
    last |= dict.fromkeys(model.outputs, len(model.operations) - 1)
    for tensor, size in model.sizes.items():
        if tensor in first:
            placed = None if plan is None or plan[tensor] == RUNTIME else plan[tensor]
            yield _Buffer(size, first[tensor], last[tensor], placed)


def _planned(buffers: list[_Buffer]) -> int:
    """The size of TFLite-Micro's greedy plan: what has a place, then the largest first.

    Of equal ones it takes the last first (memory_planner/greedy_memory_planner.cc).
    """
    placed: list[tuple[int, _Buffer]] = []
    last_first = enumerate(buffers)
    for _, buffer in sorted(last_first, key=lambda b: (b[1].offset is None, -b[1].size, -b[0])):
        at = buffer.offset if buffer.offset is not None else _lowest(buffer, placed)
        placed.append((at, buffer))
    return max((at + aligned(buffer.size) for at, buffer in placed), default=0)


def _lowest(buffer: _Buffer, placed: list[tuple[int, _Buffer]]) -> int:
    """The lowest gap between what is placed and lives while the buffer does."""
    at = 0
    others = [o for o in placed if o[1].first <= buffer.last and buffer.first <= o[1].last]
    for start, other in sorted(others, key=lambda o: o[0]):
        if at + aligned(buffer.size) <= start:
            break
        at = max(at, start + aligned(other.size))
    return at
