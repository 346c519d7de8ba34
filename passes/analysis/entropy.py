"""How small weights get where zeros and repeated values are coded away, as NPUs do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self, TypeAlias

import numpy as np

from irprune.ir import ops
from irprune.ir.analysis import analysis
from irprune.ir.errors import InvalidType
from irprune.ir.graph import Graph, Node, Value
from irprune.ir.types import Array, Bytes, DType
from irprune.passes.analysis.deployment import weights
from irprune.passes.analysis.weight_coding import (
    is_depthwise,
    stream_size,
    volume,
    weight_stream,
)
from irprune.passes.rewrite.scales import Layer, quantized_weights

Density: TypeAlias = float | Mapping[Value, float]
"""The share of weights that are not pruned: of all, or of each constant."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of coded weights; its class says how it is known, and only one kind is summed."""

    bytes: float
    kind: ClassVar[str]

    @classmethod
    def total(cls, sizes: Iterable[Self]) -> Self:
        """The sum of sizes of this kind."""
        return cls(sum(size.bytes for size in sizes))


class UpperBound(Size):
    """What the entropy of weights one by one is at the most.

    No bound of what an encoder takes: headers and filling come on top, and runs of zeros as one
    code may be below.
    """

    kind = "upper bound of entropy"


class LowerBound(Size):
    """What codes take at the least that have one codeword for each weight, the entropy of order 0.

    Those that code runs or whole streams may be below.
    """

    kind = "lower bound, one by one"


class Estimate(Size):
    """What a model of an encoder says that it takes."""

    kind = "estimate"


class Exact(Size):
    """What an encoder has taken."""

    kind = "exact"


@dataclass(frozen=True)
class CodedWeights:
    """How small one constant's weights get.

    Attributes:
        value: the constant.
        integers: its weights as deployed, volume of outputs x height x width x inputs, the zero
            point subtracted. Float weights are rounded to 8 bits, as ``quantize`` would.
        depthwise: whether each output reads one input.
        bits: the width of a weight.
        input_bits: the width of what it is multiplied by.
    """

    value: Value
    integers: Array
    depthwise: bool
    bits: int
    input_bits: int

    @property
    def raw(self) -> Bytes:
        """Bytes as they are."""
        return Bytes(self.integers.size * self.bits // 8)

    @property
    def density(self) -> float:
        """The share of weights that are not zero; 1 of none at all."""
        return float(np.count_nonzero(self.integers)) / max(1, self.integers.size)

    @property
    def printed(self) -> UpperBound:
        """UDC's upper bound of the entropy as printed."""
        return UpperBound(self._bytes(printed_bits_per_weight(self.bits, self.density)))

    @property
    def mask_and_values(self) -> UpperBound:
        """The tighter one: a mask, and the weights that are not zero."""
        return UpperBound(self._bytes(bits_per_weight(self.bits, self.density)))

    @property
    def entropy(self) -> LowerBound:
        """What no code of weights one by one goes below, its table apart."""
        return LowerBound(self._bytes(entropy(self.integers)))

    @cached_property
    def estimated(self) -> Estimate | None:
        """What an Ethos-U's stream takes; None of 16-bit weights, which it does not read.

        Too low where almost no weights are left (``stream_size``).
        """
        if self.bits > 8:
            return None
        stream = weight_stream(self.integers, depthwise=self.depthwise, bits=self.input_bits)
        return Estimate(stream_size(stream))

    def _bytes(self, bits: float) -> float:
        return self.integers.size * bits / 8


def binary_entropy(p: float) -> float:
    """H2(p) in bits: -p log2(p) - (1 - p) log2(1 - p), and 0 at both ends."""
    return float(-sum(q * np.log2(q) for q in (p, 1 - p) if q > 0))


def bits_per_weight(bits: float, density: float) -> float:
    """An upper bound of the entropy of a weight, in bits: s b + H2(s).

    A mask is coded, and after it the weights that are not zero (Fedorov et al., UDC, Eq. 4; as
    printed there, b + H2(s), it is looser by (1 - s) b).

    Args:
        bits: the width b of a quantized weight.
        density: the share s of weights that are not pruned, from 0 to 1.
    """
    return density * bits + binary_entropy(density)


def printed_bits_per_weight(bits: float, density: float) -> float:
    """The same bound as it is printed in UDC's Eq. 4: b + H2(s)."""
    return bits + binary_entropy(density)


def entropy(array: Array) -> float:
    """The empirical entropy of order 0 of an array's elements, in bits an element."""
    _, counts = np.unique(array, return_counts=True)
    shares = counts / max(1, array.size)
    return float(abs(np.sum(shares * np.log2(shares))))


@analysis
def coded_weights(graph: Graph) -> tuple[CodedWeights, ...]:
    """How small the weights of each convolution, dense layer and cell get.

    Args:
        graph: the graph, in the form that would be deployed.

    Raises:
        InvalidType: float weights that are not finite.
    """
    readers: dict[Value, Node] = {}
    for node in graph.nodes:
        for value in node.inputs:
            readers.setdefault(value, node)
    found = weights(graph)
    for value in found:
        if not np.all(np.isfinite(graph.constants[value])):
            raise InvalidType(f"'{value.name}' is not finite", where=graph.name)
    return tuple(_coded(readers[value], value, graph.constants[value]) for value in found)


def _coded(node: Node, value: Value, array: Array) -> CodedWeights:
    integers = volume(node, _integers(node, value, array).astype(np.int64))
    bits, input_bits = (_bits(v.type.dtype) for v in (value, node.inputs[0]))
    return CodedWeights(value, integers, is_depthwise(node), bits, input_bits)


def _bits(dtype: DType) -> int:
    """The width of numbers as deployed."""
    return 16 if dtype in (DType.I16, DType.U16) else 8


def _integers(node: Node, value: Value, array: Array) -> Array:
    """Weights as integers of which 0 stands for 0."""
    if array.dtype.kind != "f":
        return array - value.type.quant.along(array.ndim)[1] if value.type.quant else array
    layer = node.op if isinstance(node.op, Layer) else ops.Dense()
    stored, _ = quantized_weights(layer, array, node.inputs[0].type, None)
    return stored


def compressed_size(graph: Graph, bits: float = 8, density: Density = 1.0) -> float:
    """Bytes of the weights of convolutions, dense layers and cells, coded; biases are left out.

    Args:
        graph: the graph, in the form that would be deployed.
        bits: the width of a quantized weight.
        density: the share of weights that are not pruned: of all, or of each constant.
    """
    return float(sum(v.type.elements * bytes_per_weight(v, bits, density) for v in weights(graph)))


def bytes_per_weight(value: Value, bits: float, density: Density) -> float:
    """Bytes of one weight of a constant, by ``bits_per_weight``."""
    share = density[value] if isinstance(density, Mapping) else density
    return bits_per_weight(bits, share) / 8
