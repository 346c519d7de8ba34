"""Memory over the steps of an order, in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from irprune.passes.analysis.memory import Memory
from irprune.report.terminal import in_kib, memory_bar, plain, print_titled


def print_memory(out: Console, memory: Memory, planned: int | None) -> None:
    """Every step with what is in memory, then the peaks, the proof and the arena.

    Args:
        out: where to print.
        memory: the schedule and its arena.
        planned: bytes that the memory plan in the file takes; None where it has none.
    """
    print_titled(out, f"{memory.graph.name}, in the best order", _steps(out, memory))
    out.print("SRAM is what is in memory while the step runs; the bottleneck is marked")
    print_titled(out, memory.graph.name, _summary(memory, planned))
    if memory.schedule.advice:
        out.print(Text(f"not proven: {memory.schedule.advice}, or give it a longer --time-limit"))


def _steps(out: Console, memory: Memory) -> Table:
    table = Table()
    table.add_column("step", justify="right")
    table.add_column("layer", overflow="fold")
    table.add_column("op", no_wrap=True)
    table.add_column("buffers", justify="right", no_wrap=True)
    table.add_column("SRAM", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    peak = memory.timeline.peak
    for at, node in enumerate(memory.nodes):
        used = memory.timeline.usage[at]
        table.add_row(
            str(at),
            plain(node.source.name or node.name),
            type(node.op).__name__,
            str(len(memory.timeline.live[at])),
            f"{used:,}",
            memory_bar(out, used, peak),
            style="bold red" if used == peak > 0 else None,
        )
    return table


def _summary(memory: Memory, planned: int | None) -> Table:
    plan, arena = memory.schedule, memory.arena
    table = Table(show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_row("counted as", memory.precision.value, "")
    table.add_row("peak SRAM, given order", f"{memory.given_peak:,}", in_kib(memory.given_peak))
    table.add_row("peak SRAM, best order", f"{plan.peak:,}", in_kib(plan.peak))
    proof = "no order needs less" if plan.proven else f"up to {plan.peak - plan.lower_bound:,} over"
    table.add_row("  lower bound", f"{plan.lower_bound:,}", f"bytes, {proof}")
    table.add_row("arena", f"{arena.size:,}", f"bytes, places aligned to {arena.alignment}")
    proof = (
        "no arena is smaller" if arena.proven else f"up to {arena.size - arena.lower_bound:,} over"
    )
    table.add_row("  lower bound", f"{arena.lower_bound:,}", f"bytes, {proof} in this order")
    if planned is not None:
        table.add_row("plan in the file", f"{planned:,}", in_kib(planned))
    return table
