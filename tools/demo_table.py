"""The models of several training runs side by side.

python tools/demo_table.py FOLDER...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def main() -> None:
    table = Table(title="on the test images, and in TFLite-Micro")
    table.add_column("model")
    for heading in ("reals", "int8", "flash", "peak SRAM", "MACs", "arena"):
        table.add_column(heading, justify="right")
    for folder in map(Path, sys.argv[1:]):
        found = json.loads((folder / "summary.json").read_text())
        usage, arena = found["usage"], found["arena"]
        table.add_row(
            folder.name,
            f"{100 * found['float_accuracy']:.1f} %",
            f"{100 * found['int8_accuracy']:.1f} %",
            *(f"{usage[name]:,}" for name in ("flash", "sram", "macs")),
            f"{arena['head']:,} + {arena['tail']:,}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
