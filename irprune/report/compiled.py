"""What compiling has made, in a terminal and as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from irprune.backends.compile import Compiled
from irprune.backends.tflite.compression import Packed
from irprune.backends.tflite.footprint import footprint
from irprune.backends.vela import Optimised
from irprune.passes.analysis.quantization_error import LayerError
from irprune.report.optimised import optimised
from irprune.report.terminal import in_kib, plain, print_titled

WORST = 5
"""How many layers are shown where not all are asked for."""


def print_compiled(out: Console, compiled: Compiled, *, per_layer: bool) -> None:
    """The file, its memory, what runs on reals, and the layers that quantization hurts most."""
    name = compiled.model.graph.name
    print_titled(out, name, _summary(compiled))
    if compiled.packed:
        print_titled(out, f"{name}, weights without zeros", _packed(compiled.packed))
    elif compiled.plain is not None:
        out.print("No weights are smaller without their zeros: make more (irprune sparsify).")
    if compiled.errors:
        worst = sorted(compiled.errors, key=lambda error: error.sqnr)[:WORST]
        shown = compiled.errors if per_layer else worst
        title = "quantization error" if per_layer else "where quantization hurts most"
        print_titled(out, f"{name}, {title}", _errors(shown))


def compiled_as_json(compiled: Compiled, made: Optimised | None) -> str:
    """Sizes in bytes, errors in dB; an error of nothing at all is null.

    Args:
        compiled: the compiled model.
        made: the same for an accelerator, if there is one.
    """
    uncompressed = compiled.plain
    found = {
        "name": compiled.model.graph.name,
        "file_size": len(compiled.data),
        "constants": _constants(compiled),
        "peak_sram": compiled.memory.schedule.peak,
        "arena": compiled.memory.arena.size,
        "tflite_micro_arena": {
            "head": compiled.footprint.head,
            "tail": compiled.footprint.tail,
            "setup": compiled.footprint.setup,
            "total": compiled.footprint.total,
        },
        "uncompressed": None
        if uncompressed is None
        else {
            "file_size": len(uncompressed),
            "tflite_micro_head": footprint(uncompressed).head,
        },
        "compressed": [
            {
                "name": packed.name,
                "elements": packed.elements,
                "zeros": packed.zeros,
                "before": packed.before,
                "after": packed.after,
            }
            for packed in compiled.packed
        ],
        "optimised": None if made is None else optimised(made),
        "planned": compiled.model.plan is not None,
        "operators": dict(_operators(compiled)),
        "on_reals": [{"name": node.name, "op": type(node.op).__name__} for node in compiled.reals],
        "inputs": [_port(value.name, str(value.type)) for value in compiled.model.graph.inputs],
        "outputs": [_port(value.name, str(value.type)) for value in compiled.model.graph.outputs],
        "layers": [
            {
                "name": error.name,
                "op": error.kind,
                "sqnr_db": error.sqnr if math.isfinite(error.sqnr) else None,
                "largest_error": error.largest,
            }
            for error in compiled.errors
        ],
    }
    return json.dumps(found, indent=2)


def _port(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "type": kind}


def _constants(compiled: Compiled) -> int:
    whole = sum(array.nbytes for array in compiled.model.graph.constants.values())
    return whole - sum(compiled.model.saved.values())


def _operators(compiled: Compiled) -> Counter[str]:
    return Counter(type(node.op).__name__ for node in compiled.model.graph.nodes)


def _summary(compiled: Compiled) -> Table:
    table = Table(show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("unit")
    size, arena = len(compiled.data), compiled.memory.arena.size
    table.add_row("file", f"{size:,}", in_kib(size))
    if compiled.plain is not None:
        saved = f"{100 * (1 - size / len(compiled.plain)):.1f} % less"
        table.add_row("  without compression", f"{len(compiled.plain):,}", saved)
    constants = _constants(compiled)
    table.add_row("  constants", f"{constants:,}", in_kib(constants))
    head = "activations, unpacked weights" if compiled.packed else "activations"
    table.add_row(f"{head}, placed best", f"{arena:,}", in_kib(arena))
    taken = compiled.footprint
    table.add_row("TFLite-Micro's arena", f"{taken.total:,}", in_kib(taken.total))
    table.add_row(f"  head: {head}", f"{taken.head:,}", in_kib(taken.head))
    if compiled.plain is not None:
        before = footprint(compiled.plain).head
        table.add_row("  head without compression", f"{before:,}", in_kib(before))
    table.add_row("  tail, in 64-bit builds", f"{taken.tail:,}", in_kib(taken.tail))
    if taken.setup > taken.head + taken.tail:
        table.add_row("  until tensors have places", f"{taken.setup:,}", in_kib(taken.setup))
    planned = "yes" if compiled.model.plan is not None else "no (see --plan)"
    table.add_row("  plan in the file", planned, "")
    for value in compiled.model.graph.inputs:
        table.add_row("input", plain(f"{value.name} {value.type}"), "")
    for value in compiled.model.graph.outputs:
        table.add_row("output", plain(f"{value.name} {value.type}"), "")
    kinds = ", ".join(f"{kind} x{count}" for kind, count in sorted(_operators(compiled).items()))
    table.add_row("operators", plain(kinds), "")
    if compiled.reals:
        names = ", ".join(f"{type(node.op).__name__} '{node.name}'" for node in compiled.reals)
        table.add_row("on reals", plain(names), "")
    return table


def _packed(tensors: Sequence[Packed]) -> Table:
    table = Table()
    table.add_column("tensor", overflow="fold")
    for heading in ("zeros", "bytes before", "after", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in tensors:
        zeros, left = one.zeros / one.elements, one.after / one.before
        table.add_row(
            plain(one.name),
            f"{100 * zeros:.1f} %",
            f"{one.before:,}",
            f"{one.after:,}",
            f"{100 * left:.1f} %",
        )
    return table


def _errors(errors: Sequence[LayerError]) -> Table:
    table = Table()
    table.add_column("value", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("SQNR", justify="right", no_wrap=True)
    table.add_column("largest error", justify="right", no_wrap=True)
    for error in errors:
        ratio = f"{error.sqnr:.1f} dB" if math.isfinite(error.sqnr) else "exact"
        if error.sqnr == -math.inf:
            ratio = "all noise"
        table.add_row(plain(error.name), error.kind, ratio, f"{error.largest:.3g}")
    return table
