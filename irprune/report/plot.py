"""A picture of memory over time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from irprune.ir.errors import UsageError
from irprune.passes.analysis.memory import Memory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")
MOST_LABELS = 40
"""Steps beyond which not each one is named."""
LABEL_POINTS = 7


def check_plot(path: Path) -> None:
    """Raise UsageError unless a picture can be drawn into such a file."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: pictures are drawn as {' or '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        hint = "pip install 'irprune[report]'"
        raise UsageError("pictures need matplotlib, which is not installed", hint=hint) from None


def picture(memory: Memory, suffix: str) -> bytes:
    """Buffers over the steps of the order, each at its place in the arena, the bottleneck marked.

    Args:
        memory: what to draw.
        suffix: one of ``FORMATS``.

    Returns:
        The contents of the file.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    steps = len(memory.nodes)
    figure = Figure(figsize=(_inches(steps), 7), layout="constrained")
    space, usage = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_buffers(space, memory)
    _draw_usage(usage, memory)
    figure.suptitle(f"{memory.graph.name}, as {memory.precision.value}")
    data = io.BytesIO()
    kind = suffix.lower().removeprefix(".")
    # The same memory gives the same bytes.
    with rc_context({"svg.hashsalt": "irprune"}):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(data, format=kind, dpi=120, metadata=metadata)
    return data.getvalue()


def _draw_buffers(axes: Axes, memory: Memory) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colors = colormaps["tab20"].colors  # type: ignore[attr-defined]  # a listed map has them
    for buffer, (first, last) in enumerate(memory.lifetimes):
        size, offset = memory.model.sizes[buffer] / 1024, memory.arena.offsets[buffer] / 1024
        steps = last - first + 1
        if steps == 0 or size == 0:
            continue
        box = Rectangle((first - 0.5, offset), steps, size, facecolor=colors[buffer % len(colors)])
        box.set(edgecolor="white", linewidth=0.8)
        axes.add_patch(box)
        label = _shortened(memory.names[buffer], steps / len(memory.nodes), len(memory.nodes))
        if size >= memory.arena.size / 1024 / 25:
            middle = first - 0.5 + steps / 2, offset + size / 2
            axes.text(*middle, label, ha="center", va="center", fontsize=LABEL_POINTS)
    axes.axhline(memory.arena.size / 1024, color="black", linestyle="--", linewidth=1)
    axes.set(ylabel="place in the arena, KiB", ylim=(0, max(memory.arena.size / 1024, 1) * 1.05))
    axes.set_title(f"arena {memory.arena.size:,} bytes", loc="left", fontsize=10)
    _mark_bottleneck(axes, memory)


def _inches(steps: int) -> float:
    """How wide a picture of so many steps is."""
    return min(6 + 0.22 * steps, 24)


def _shortened(name: str, share: float, steps: int) -> str:
    """As much of a name as a box has room for that takes a share of the width."""
    room = int(72 * 0.9 * _inches(steps) * share / (0.6 * LABEL_POINTS))
    if len(name) <= room:
        return name
    return f"{name[: room - 1]}…" if room >= 10 else ""


def _draw_usage(axes: Axes, memory: Memory) -> None:
    steps = range(len(memory.timeline.usage))
    axes.bar(steps, [used / 1024 for used in memory.timeline.usage], width=0.9, color="0.6")
    axes.axhline(memory.schedule.peak / 1024, color="tab:red", linestyle="--", linewidth=1)
    axes.set(ylabel="in use, KiB", xlim=(-0.5, max(len(steps), 1) - 0.5))
    axes.set_title(f"peak {memory.schedule.peak:,} bytes", loc="left", fontsize=10)
    _mark_bottleneck(axes, memory)
    if len(steps) <= MOST_LABELS:
        names = [node.source.name or node.name for node in memory.nodes]
        axes.set_xticks(list(steps), names, rotation=90, fontsize=LABEL_POINTS)
    else:
        axes.set_xlabel("step")


def _mark_bottleneck(axes: Axes, memory: Memory) -> None:
    if memory.timeline.usage:
        at = memory.timeline.bottleneck
        axes.axvspan(at - 0.5, at + 0.5, color="tab:red", alpha=0.2, linewidth=0)
