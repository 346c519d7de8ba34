"""How small a model's weights get, and how each figure is known; in a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from irprune.backends.vela.codec import encoded
from irprune.backends.vela.package import is_installed
from irprune.passes.analysis.entropy import CodedWeights, Size, coded_weights
from irprune.report.report import Report
from irprune.report.terminal import plain, print_titled

Json: TypeAlias = dict[str, object]
Sizes = Mapping[str, Size | None]

HEADINGS = {
    "udc_eq4_printed": "b + H2(s)",
    "mask_and_values": "s b + H2(s)",
    "entropy": "entropy",
    "ethos_u": "Ethos-U55, U65",
    "mlw_codec": "mlw_codec",
}
KIND = 14
"""Letters of a line of a column's kind."""
ZEROS = "bytes; a .tflite file holds zeros like other weights, and is as large with them"
BOUNDS = (
    "bounds are of the entropy of weights one by one, not of an encoder: headers and filling take "
    "more, and a code of runs of zeros can take less"
)


@dataclass(frozen=True)
class CompressedTable:
    """What a terminal shows of a model's coded weights."""

    title: str
    table: Table
    notes: tuple[str, ...]

    def print(self, out: Console) -> None:
        """Show it."""
        print_titled(out, self.title, self.table)
        for note in self.notes:
            out.print(note)


def compressed_table(report: Report) -> CompressedTable:
    """A row for each tensor of weights, and the total.

    Raises:
        InvalidType: weights are not finite.
    """
    found = coded_weights(report.graph)
    sizes = [_sizes(tensor) for tensor in found]
    table = Table()
    table.add_column("weights", overflow="fold")
    for heading in ("elements", "not 0", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for key, size in _total(sizes).items():
        kind = [] if size is None else wrap(f"({size.kind})", KIND)
        table.add_column("\n".join([HEADINGS[key], *kind]), justify="right", no_wrap=True)
    for tensor, row in zip(found, sizes, strict=True):
        table.add_row(
            plain(tensor.value.name),
            f"{tensor.integers.size:,}",
            f"{100 * tensor.density:.1f} %",
            f"{tensor.raw:,}",
            *map(_text, row.values()),
        )
    table.add_section()
    elements, raw = _sums(found)
    table.add_row("total", f"{elements:,}", "", f"{raw:,}", *map(_text, _total(sizes).values()))
    stored = sum(report.packed.values())
    packed = f"bytes; without zeros, as the file has some of them, these take {stored:,}"
    notes = (packed if report.packed else ZEROS, BOUNDS)
    return CompressedTable(f"{report.name}, weights compressed", table, notes)


def compressed(report: Report) -> Json:
    """The same as data: sizes in bytes with their kinds, null where there is none."""
    found = coded_weights(report.graph)
    sizes = [_sizes(tensor) for tensor in found]
    elements, raw = _sums(found)
    return {
        "tensors": [
            {
                "name": tensor.value.name,
                "elements": tensor.integers.size,
                "bits": tensor.bits,
                "density": tensor.density,
                "bytes": tensor.raw,
                "packed": report.packed.get(tensor.value.name),
                "sizes": _as_json(row),
            }
            for tensor, row in zip(found, sizes, strict=True)
        ],
        "total": {"elements": elements, "bytes": raw, "sizes": _as_json(_total(sizes))},
    }


def _sizes(found: CodedWeights) -> Sizes:
    """All sizes of one tensor; what Vela's encoder takes only where it is installed."""
    sizes: dict[str, Size | None] = {
        "udc_eq4_printed": found.printed,
        "mask_and_values": found.mask_and_values,
        "entropy": found.entropy,
        "ethos_u": found.estimated,
    }
    return sizes | {"mlw_codec": encoded(found)} if is_installed() else sizes


def _total(rows: Sequence[Sizes]) -> Sizes:
    """The sums of sizes of one kind; none where a tensor has none."""
    found: dict[str, Size | None] = {}
    for key in rows[0] if rows else ():
        column = [row[key] for row in rows]
        known = [size for size in column if size is not None]
        found[key] = type(known[0]).total(known) if len(known) == len(column) else None
    return found


def _sums(found: Sequence[CodedWeights]) -> tuple[int, int]:
    return sum(c.integers.size for c in found), sum(c.raw for c in found)


def _text(size: Size | None) -> str:
    return "-" if size is None else f"{size.bytes:,.0f}"


def _as_json(sizes: Sizes) -> Json:
    return {
        key: None if size is None else {"bytes": size.bytes, "kind": size.kind}
        for key, size in sizes.items()
    }
