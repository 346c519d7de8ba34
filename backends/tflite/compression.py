"""Weights without their zeros, and the operators that unpack them on the device.

TFLite-Micro's DECODE unpacks into the arena, and what it makes is needed by the operator after it
alone, so each layer has a DECODE of its own just before it (the rule of the runtime where it has
memory of its own for this: tensorflow/lite/micro/compression/decode_insert.py of tflite-micro).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from irprune.backends.tflite.record import Constant, Operand, Record
from irprune.frontends.tflite.compression import DECODE, HEADER, packed, packed_size
from irprune.frontends.tflite.file import ModelFile
from irprune.ir.graph import Graph, Value
from irprune.ir.types import Bytes, DType, TensorType

WEIGHTS: Mapping[str, int] = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
}
"""Operators that take weights which are computed, and which operand they are."""

OVERHEAD = 384
"""No fewer bytes than a file grows by for the tensors, buffers and operator of a packed tensor.

The first of a file takes up to 344, others about 130.
"""

Step = tuple[Record, Sequence[Value]]
"""An operator of a file and what it makes."""


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


def saved(elements: int, present: int, itemsize: int = 1, readers: int = 1) -> int:
    """Bytes by which a file is smaller at the least with a tensor packed; negative for larger.

    Args:
        elements: how many the tensor has.
        present: how many of them are not zero.
        itemsize: bytes of an element.
        readers: operators that read it.
    """
    packed_bytes = packed_size(elements, present, itemsize)
    return elements * itemsize - packed_bytes - readers * OVERHEAD


def with_packed_weights(graph: Graph, steps: Sequence[Step]) -> list[Step]:
    """The operators of a graph, weights unpacked before each where that makes the file smaller.

    Weights that something else reads too stay as they are.

    Args:
        graph: the graph.
        steps: its operators and what they make.
    """
    pairs = dict(_pairs(graph, steps))
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


def packed_tensors(data: bytes) -> tuple[Packed, ...]:
    """What is packed in a TFLite file, in the order in which it is unpacked."""
    file = ModelFile(data)
    return tuple(
        _described(file, *pair)
        for operator in file.operators
        if operator.kind == f"CUSTOM {DECODE}"
        for pair in zip(operator.outputs, operator.inputs[0::2], operator.inputs[1::2], strict=True)
    )


def _weights(record: Record) -> Value | Constant | None:
    """The operand of an operator that may be packed."""
    return record.operands[WEIGHTS[record.kind]] if record.kind in WEIGHTS else None


def _pairs(
    graph: Graph, steps: Sequence[Step]
) -> Iterator[tuple[Operand, tuple[Constant, Constant]]]:
    """The weights that are smaller packed, and what DECODE makes them of."""
    read = Counter(operand for record, _ in steps for operand in record.operands)
    read.update(graph.outputs)
    weighed = Counter(_weights(record) for record, _ in steps)
    for weights, readers in weighed.items():
        if weights is None or readers < read[weights]:
            continue
        array = weights.array if isinstance(weights, Constant) else graph.constants.get(weights)
        zero_point = _zero_point(weights.type)
        if array is None or zero_point is None:
            continue
        bits, rest = packed(array, zero_point)
        present = (rest.size - HEADER) // array.itemsize
        if saved(array.size, present, array.itemsize, readers) > 0:
            # Without names: nobody meets them but as parts of what has the name.
            yield weights, (Constant("", bits), Constant("", rest))


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
