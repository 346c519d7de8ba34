"""Weights without their zeros, and the operators that unpack them on the device.

TFLite-Micro's DECODE unpacks into the arena, and what it makes is needed by the operator after it
alone, so each layer has a DECODE of its own just before it (the rule of the runtime where it has
memory of its own for this: tensorflow/lite/micro/compression/decode_insert.py of tflite-micro).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from irprune.backends.tflite.record import Constant, Record
from irprune.frontends.tflite.compression import DECODE, HEADER, packed
from irprune.frontends.tflite.file import ModelFile
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Array, Bytes, DType, TensorType

WEIGHTS: Mapping[str, int] = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
"""Operators that take weights which are computed, and which operand they are."""

OVERHEAD = 256
"""No fewer bytes than a file grows by, for each operator that reads them, with packed weights.

Tensors, buffers and operators take about 130, of the first some 60 more.
"""

Step = tuple[Record, Sequence[Value]]
"""An operator of a file and what it makes."""

Pairs = Mapping[Value | Constant, tuple[Constant, Constant]]
"""Weights, and what DECODE makes them of."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor that is stored without its zeros.

    Attributes:
        name: the tensor.
        elements: how many it has.
        zeros: how many of them are left out.
        before: bytes of it as it is.
        after: bytes of what is stored instead.
    """

    name: str
    elements: int
    zeros: int
    before: Bytes
    after: Bytes


def smallest(
    graph: Graph, steps: Sequence[Step], write: Callable[[Sequence[Step]], bytes]
) -> bytes:
    """The file with those weights packed that make it smaller, each unpacked before it is read.

    Where it is doubtful whether a tensor saves what it costs, the file is written with and without
    it. Weights that something else reads too stay as they are.

    Args:
        graph: the graph.
        steps: its operators and what they make.
        write: makes a file of operators.
    """
    found = dict(packable(graph, steps))
    readers = Counter(_weights(record) for record, _ in steps)
    best = write(unpacking(steps, found))
    for weights, pair in tuple(found.items()):
        if _saved(weights, pair) <= readers[weights] * OVERHEAD:
            fewer = {other: found[other] for other in found if other is not weights}
            data = write(unpacking(steps, fewer))
            if len(data) <= len(best):
                found, best = fewer, data
    plain = write(steps)
    return best if len(best) < len(plain) else plain


def packed_tensors(data: bytes) -> tuple[Packed, ...]:
    """What is packed in a TFLite file, in the order in which it is first unpacked."""
    file = ModelFile(data)
    made: dict[tuple[int, int], int] = {}
    for operator in file.operators:
        if operator.kind == f"CUSTOM {DECODE}":
            pairs = zip(operator.inputs[0::2], operator.inputs[1::2], strict=True)
            for pair, output in zip(pairs, operator.outputs, strict=True):
                made.setdefault(pair, output)
    return tuple(_described(file, output, *pair) for pair, output in made.items())


def unpacking(steps: Sequence[Step], pairs: Pairs) -> list[Step]:
    """The operators, and before each that reads weights of a pair the one that unpacks them."""
    found: list[Step] = []
    for record, made in steps:
        weights = _weights(record)
        if weights is None or weights not in pairs:
            found.append((record, made))
            continue
        unpacked = Value(weights.name, weights.type)
        operands = tuple(unpacked if o is weights else o for o in record.operands)
        found.append((Record(DECODE, pairs[weights]), (unpacked,)))
        found.append((replace(record, operands=operands), made))
    return found


def _weights(record: Record) -> Value | Constant | None:
    """The operand of an operator that may be packed."""
    return record.operands[WEIGHTS[record.kind]] if record.kind in WEIGHTS else None


def packable(
    graph: Graph, steps: Sequence[Step]
) -> Iterator[tuple[Value | Constant, tuple[Constant, Constant]]]:
    """The weights that take fewer bytes packed, and what DECODE makes them of."""
    read = Counter(operand for record, _ in steps for operand in record.operands)
    read.update(graph.outputs)
    weighed = Counter(_weights(record) for record, _ in steps)
    for weights, readers in weighed.items():
        if weights is None or readers < read[weights]:
            continue
        array, zero_point = _array(graph, weights), _zero_point(weights.type)
        if array is None or zero_point is None:
            continue
        bits, rest = packed(array, zero_point)
        # Without names: nobody meets them but as parts of what has the name.
        pair = Constant("", bits), Constant("", rest)
        if _saved(weights, pair) > 0:
            yield weights, pair


def _saved(weights: Value | Constant, pair: tuple[Constant, Constant]) -> int:
    """Bytes of weights less those that are stored instead."""
    return weights.type.nbytes - sum(part.type.nbytes for part in pair)


def _array(graph: Graph, weights: Value | Constant) -> Array | None:
    return weights.array if isinstance(weights, Constant) else graph.constants.get(weights)


def _zero_point(t: TensorType) -> int | None:
    """The number that is left out of weights; None where the runtime would not unpack them."""
    if t.quant is None:
        return 0 if t.dtype in (DType.F32, DType.I8) else None
    if t.dtype is not DType.I8:
        return None
    by_channel = len(t.quant.scale) > 1
    first_or_last = t.quant.axis in ((None, 0, t.rank - 1) if by_channel else (None, 0))
    zero_points = set(t.quant.zero_point)
    if not first_or_last or len(zero_points) > 1 or (by_channel and zero_points != {0}):
        return None
    return zero_points.pop()


def _described(file: ModelFile, output: int, encoded: int, ancillary: int) -> Packed:
    made = file.tensor(output)
    bits, rest = file.tensor(encoded).type, file.tensor(ancillary).type
    present = (rest.nbytes - HEADER) // made.type.dtype.itemsize
    return Packed(
        name=made.name,
        elements=made.type.elements,
        zeros=made.type.elements - present,
        before=made.type.nbytes,
        after=Bytes(bits.nbytes + rest.nbytes),
    )
