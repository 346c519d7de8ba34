"""What is decided about a graph, as data: which channels and weights stay. Rewrites do it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from irprune.ir.analysis import analysis
from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph, values
from irprune.ir.printer import expression
from irprune.ir.types import Array, Shape, dims

VERSION = 2
"""Of the JSON form; it changes where an older reader would misunderstand a newer file.

2 are plans with masks; without, they are written as 1.
"""

_KIND = "irprune plan"


@dataclass(frozen=True, slots=True)
class Mask:
    """Which weights of a tensor stay.

    Attributes:
        shape: the tensor's.
        bits: one for each element, set where it stays, the first in the highest bit of a byte.
    """

    shape: Shape
    bits: bytes

    def __post_init__(self) -> None:
        elements = math.prod(self.shape)
        if min(self.shape, default=0) < 0 or len(self.bits) != math.ceil(elements / 8):
            raise InvalidPlan(f"{len(self.bits)} bytes are no mask of {dims(self.shape)}")

    @staticmethod
    def of(stays: Array) -> Mask:
        """The mask of an array that is True where an element stays."""
        return Mask(tuple(stays.shape), np.packbits(stays).tobytes())

    @property
    def stays(self) -> Array:
        """The array that is True where an element stays."""
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=math.prod(self.shape))
        return bits.astype(bool).reshape(self.shape)


@dataclass(frozen=True)
class Plan:
    """The channels and weights that stay in a graph.

    Attributes:
        graph: the ``fingerprint`` of the graph it is for.
        kept: of each channel group (``passes.analysis.channels``) that loses some, by its name, the
            indices that stay, sorted, counted at the group's place.
        masks: of each constant that loses single weights, by its name, which stay. They are of the
            whole constant, channels that go among them.
    """

    graph: str
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: tuple(indices) for name, indices in self.kept.items()}
        object.__setattr__(self, "kept", MappingProxyType(kept))
        object.__setattr__(self, "masks", MappingProxyType(dict(self.masks)))

    def dumps(self) -> str:
        """The plan as JSON, which ``loads`` reads back; bits of masks are in base 64."""
        kept = {name: list(indices) for name, indices in self.kept.items()}
        version = VERSION if self.masks else 1
        document = {"kind": _KIND, "version": version, "graph": self.graph, "kept": kept}
        if self.masks:
            document["masks"] = {
                name: {"shape": list(mask.shape), "bits": base64.b64encode(mask.bits).decode()}
                for name, mask in self.masks.items()
            }
        return json.dumps(document, indent=1) + "\n"


def loads(text: str) -> Plan:
    """The plan that JSON text describes.

    Raises:
        InvalidPlan: it describes none, or one of a newer version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidPlan(f"is not JSON: {error}", hint="write it with irprune") from None
    match document:
        case {"kind": str(kind), "version": int(version)} if kind == _KIND and version > VERSION:
            raise InvalidPlan(
                f"has version {version}, this irprune reads up to {VERSION}", hint="update irprune"
            )
        case {"kind": str(kind), "graph": str(graph), "kept": dict(kept)} if kind == _KIND:
            for name, indices in kept.items():
                if not _are_indices(indices):
                    raise InvalidPlan(f"channels of '{name}' are no list of whole numbers")
            masks = document.get("masks", {})
            if not isinstance(masks, dict):
                raise InvalidPlan("its masks have no names")
            return Plan(graph, kept, {name: _mask(name, found) for name, found in masks.items()})
        case _:
            raise InvalidPlan("is no plan of irprune", hint="write it with irprune")


def _mask(name: str, document: object) -> Mask:
    match document:
        case {"shape": list(shape), "bits": str(bits)} if _are_indices(shape):
            try:
                return Mask(tuple(shape), base64.b64decode(bits, validate=True))
            except (ValueError, InvalidPlan) as error:
                raise InvalidPlan(f"the mask of '{name}' is damaged: {error}") from None
        case _:
            raise InvalidPlan(f"the mask of '{name}' is no shape with bits")


def _are_indices(items: object) -> bool:
    return isinstance(items, list) and all(type(item) is int for item in items)


@analysis
def fingerprint(graph: Graph) -> str:
    """A hash of what a plan depends on: operators, types, names and edges, but no weights.

    So a plan holds for the same architecture after more training.
    """
    number = {value: i for i, value in enumerate(values(graph))}
    parts: list[object] = [
        [(value.name, str(value.type), expression(value.type.quant or ())) for value in number],
        [number[value] for value in graph.inputs],
        [number[value] for value in graph.outputs],
        [number[value] for value in graph.constants],
    ]
    for node in graph.nodes:
        edges = [[number[v] for v in ends] for ends in (node.inputs, node.outputs)]
        parts.append((node.name, expression(node.op), edges))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
