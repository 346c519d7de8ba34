"""What Vela has made of a compiled model, in a terminal and as data for JSON."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from irprune.backends.vela import Optimised
from irprune.ir.graph import Node
from irprune.ir.types import Bytes
from irprune.report.terminal import in_kib, plain, print_titled


def print_optimised(out: Console, name: str, found: Optimised) -> None:
    """The file and its memory, the weights of each layer, and what is left to the CPU."""
    print_titled(out, f"{name} on {found.accelerator}, by Vela", _summary(found))
    weighted = [layer for layer in found.layers if layer.weights.bytes]
    if weighted:
        table = Table()
        table.add_column("layer", overflow="fold")
        table.add_column("op", no_wrap=True)
        for heading in ("weights", "encoded", "cycles"):
            table.add_column(heading, justify="right", no_wrap=True)
        for layer in weighted:
            table.add_row(
                plain(layer.node.name),
                type(layer.node.op).__name__,
                f"{stored(layer.node):,}",
                f"{layer.weights.bytes:,.0f}",
                f"{layer.cycles:,}",
            )
        print_titled(out, f"{name}, encoded weights", table)
        out.print("bytes, exact; cycles are estimates of Vela's")
    if found.on_cpu:
        table = Table()
        for heading in ("node", "makes", "op", "what Vela says", "limit"):
            table.add_column(heading, overflow="fold")
        for left in found.on_cpu:
            kind = type(left.node.op).__name__
            names = plain(left.node.name), plain(left.node.outputs[0].name)
            table.add_row(*names, kind, plain(left.reason), left.limit)
        print_titled(out, f"{name}, left to the CPU", table)


def optimised(found: Optimised) -> dict[str, object]:
    """The same as data; sizes in bytes."""
    return {
        "accelerator": found.accelerator,
        "file_size": len(found.data),
        "sram": found.sram,
        "memories": dict(found.memories),
        "read_only": found.read_only,
        "weights": {"bytes": found.weights.bytes, "kind": "exact"},
        "cycles": found.cycles,
        "layers": [
            {
                "name": layer.node.name,
                "op": type(layer.node.op).__name__,
                "weights": stored(layer.node),
                "encoded_weights": layer.weights.bytes,
                "cycles": layer.cycles,
                "macs": layer.macs,
            }
            for layer in found.layers
        ],
        "on_cpu": [
            {
                "name": left.node.name,
                "output": left.node.outputs[0].name,
                "op": type(left.node.op).__name__,
                "reason": left.reason,
                "limit": left.limit or None,
            }
            for left in found.on_cpu
        ],
    }


def stored(node: Node) -> Bytes:
    """Bytes of a layer's weights as they are."""
    t = node.inputs[1].type if node.op.linear else None
    return Bytes(t.elements * t.dtype.itemsize if t is not None else 0)


def _summary(found: Optimised) -> Table:
    table = Table(show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_row("file", f"{len(found.data):,}", in_kib(len(found.data)))
    table.add_row("SRAM", f"{found.sram:,}", in_kib(found.sram))
    for memory, peak in sorted(found.memories.items()):
        if memory != "Sram" and peak:
            table.add_row(memory, f"{peak:,}", in_kib(peak))
    table.add_row("commands and constants", f"{found.read_only:,}", in_kib(found.read_only))
    once = {layer.node.inputs[1]: layer.node for layer in found.layers if layer.node.op.linear}
    raw = sum(map(stored, once.values()))
    table.add_row("weights", f"{raw:,}", in_kib(raw))
    table.add_row("  encoded", f"{found.weights.bytes:,.0f}", in_kib(int(found.weights.bytes)))
    table.add_row("cycles", f"{found.cycles:,}", "an estimate of Vela's")
    count = f"{len(found.on_cpu):,}"
    table.add_row("operators left to the CPU", count, "listed below" if found.on_cpu else "")
    return table
