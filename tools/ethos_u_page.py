"""Writes docs/ethos-u.md from the limits that irprune checks.

tools/ethos_u_page.py    from the root of the project, with its Python
"""

from __future__ import annotations

from pathlib import Path

from irprune.backends.vela.limits import LIMITS, PLACED
from irprune.ir.op import OPS, Op

PAGE = Path(__file__).parents[1] / "docs" / "ethos-u.md"

HEAD = """\
# What an Ethos-U55 or U65 cannot do

`irprune compile --target ethos-u55-128` checks a model against these limits before Arm's Vela \
sees it, and names every operator that breaks one: it stays on the CPU, and the accelerator is \
left and entered again around it. Where Vela refuses a model as a whole, the operators that break \
a limit are named with its message. They are what Vela 5.2 checks, said of irprune's operators; of \
an Ethos-U85, Vela alone decides.

This page is made from `backends/vela/limits.py` by `tools/ethos_u_page.py`.
"""


def names(kinds: tuple[type[Op], ...]) -> str:
    """The operators of some classes, as the text form prints them."""
    found = sorted(name for name, kind in OPS.items() if issubclass(kind, kinds))
    return ", ".join(f"`{name}`" for name in found)


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Of every operator\n"]
    parts += [f"* {limit.sentence}" for limit in LIMITS if not limit.kinds]
    parts += [f"\nThose placed: {names(PLACED)}.\n", "## Of some\n"]
    parts += ["| operators | limit |", "|---|---|"]
    parts += [f"| {names(limit.kinds)} | {limit.sentence} |" for limit in LIMITS if limit.kinds]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
