"""What is decided about a graph, as data: which channels stay. Rewrites carry it out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from irprune.ir.analysis import analysis
from irprune.ir.errors import InvalidPlan
from irprune.ir.graph import Graph, values
from irprune.ir.printer import expression

VERSION = 1
"""Of the JSON form; it changes where an older reader would misunderstand a newer file."""

_KIND = "irprune plan"


@dataclass(frozen=True)
class Plan:
    """The channels that stay in a graph.

    Attributes:
        graph: the ``fingerprint`` of the graph it is for.
        kept: of each channel group (``passes.analysis.channels``) that loses some, by its name, the
            indices that stay, sorted, counted at the group's place.
    """

    graph: str
    kept: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        kept = {name: tuple(indices) for name, indices in self.kept.items()}
        object.__setattr__(self, "kept", MappingProxyType(kept))

    def dumps(self) -> str:
        """The plan as JSON, which ``loads`` reads back."""
        kept = {name: list(indices) for name, indices in self.kept.items()}
        document = {"kind": _KIND, "version": VERSION, "graph": self.graph, "kept": kept}
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
            return Plan(graph, kept)
        case _:
            raise InvalidPlan("is no plan of irprune", hint="write it with irprune")


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
