"""The channel groups of a graph: in a terminal, as JSON, and as a picture for Graphviz."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from irprune.ir.graph import Graph, readers
from irprune.passes.analysis.channels import Group, channels
from irprune.report.terminal import plain, print_titled


def print_groups(out: Console, graph: Graph) -> None:
    """A row for each group: its width, who makes and who reads it, its weights, why it stays."""
    found = channels(graph)
    table = Table(caption="width: what can go one by one; each may be several channels")
    table.add_column("group", overflow="fold")
    for heading in ("width", "channels", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("made by", "read by", "stays because"):
        table.add_column(heading, overflow="fold")
    for group in found.groups:
        table.add_row(
            plain(group.name),
            f"{group.width:,}",
            f"{group.indices.size:,}",
            f"{_parameters(graph, group):,}",
            plain(_some(group.layers)),
            plain(_some(_read_by(graph, group))),
            plain(group.frozen),
        )
    free, count = len(found.free), len(found.groups)
    print_titled(out, f"{graph.name}: {free} of {count} channel groups can lose channels", table)


def groups_as_json(graph: Graph) -> str:
    """The groups; ``frozen`` is null where channels may be removed."""
    found = [
        {
            "name": group.name,
            "width": group.width,
            "channels": group.indices.tolist(),
            "value": group.place[0].name,
            "axis": group.place[1],
            "layers": group.layers,
            "read_by": _read_by(graph, group),
            "parameters": _parameters(graph, group),
            "places": [
                {"value": value.name, "axis": axis, "each": each}
                for (value, axis), each in group.places.items()
            ],
            "frozen": group.frozen or None,
        }
        for group in channels(graph).groups
    ]
    return json.dumps({"name": graph.name, "groups": found}, indent=2)


def groups_as_dot(graph: Graph) -> str:
    """Layers as boxes, groups as ellipses between those that make and those that read them."""
    lines = ["digraph {", "  rankdir=LR;"]
    layers: dict[str, None] = {}
    for number, group in enumerate(channels(graph).groups):
        label = f"{group.name}\n{group.width}" + ("\nfrozen" if group.frozen else "")
        style = ", style=dashed" if group.frozen else ""
        lines.append(f"  g{number} [label={json.dumps(label, ensure_ascii=False)}{style}];")
        for ends, arrow in ((group.layers, "{1} -> {0}"), (_read_by(graph, group), "{0} -> {1}")):
            for layer in ends:
                layers.setdefault(layer)
                lines.append(
                    f"  {arrow.format(f'g{number}', json.dumps(layer, ensure_ascii=False))};"
                )
    lines += [f"  {json.dumps(layer, ensure_ascii=False)} [shape=box];" for layer in layers]
    return "\n".join([*lines, "}"])


def _read_by(graph: Graph, group: Group) -> list[str]:
    """The layers whose weights take these channels in."""
    weights = {value for value, _ in group.places if value in graph.constants}
    nodes = {node for value in weights for node in readers(graph)[value] if node.op.linear}
    return [n.name for n in graph.nodes if n in nodes and n.name not in group.layers]


def _parameters(graph: Graph, group: Group) -> int:
    """Elements of constants in all the slices that belong to the group's channels."""
    return sum(
        value.type.elements // value.type.shape[axis] * each * group.width
        for (value, axis), each in group.places.items()
        if value in graph.constants
    )


def _some(names: tuple[str, ...] | list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
