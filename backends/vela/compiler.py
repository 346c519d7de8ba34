"""A compiled model, optimised for an Ethos-U by Vela, and what Vela reports of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from irprune.backends.vela.limits import Unmet, listed, unmet
from irprune.backends.vela.package import importing
from irprune.budget import Budget
from irprune.frontends.tflite import TFLiteModel
from irprune.ir.errors import UsageError
from irprune.ir.graph import Node
from irprune.ir.types import Bytes, Macs
from irprune.passes.analysis.entropy import Exact

ON_CPU = "Passthrough"
"""Vela's operator that leaves one as it was."""
REASON = re.compile(r"operator: \S+, ofm: '(.*)'\nReason: (.+)")
"""Vela's warning of an operator that it leaves to the CPU, by the first tensor it makes."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Layer:
    """What one node takes on the accelerator.

    Attributes:
        node: the node in the plain model.
        weights: its weights as encoded, which other layers may read, too; 0 bytes of a node
            without.
        cycles: an estimate of Vela's.
        macs: as Vela counts them.
    """

    node: Node
    weights: Exact
    cycles: int
    macs: Macs


@dataclass(frozen=True)
class OnCpu:
    """A node that Vela leaves to the CPU, its reason, and the limit that we know of, or ''."""

    node: Node
    reason: str
    limit: str


@dataclass(frozen=True)
class Optimised:
    """A model for an Ethos-U.

    Attributes:
        accelerator: its name.
        data: the TFLite file, in which what the accelerator runs is one or several operators.
        memories: bytes used of each memory in the system that Vela assumes, at the peak.
        read_only: bytes of commands, weights and tables.
        weights: all weights as encoded, as often as they are stored: Vela stores what several
            layers read once where these are scheduled alike, and else for each.
        cycles: an estimate of Vela's of one inference.
        layers: the nodes on the accelerator that it reports on, in order.
        on_cpu: the others.
    """

    accelerator: str
    data: bytes
    memories: Mapping[str, Bytes]
    read_only: Bytes
    weights: Exact
    cycles: int
    layers: tuple[Layer, ...]
    on_cpu: tuple[OnCpu, ...]

    @property
    def sram(self) -> Bytes:
        """Bytes of SRAM at the peak."""
        return self.memories.get("Sram", Bytes(0))

    def excess(self, budget: Budget) -> str:
        """What of a budget is exceeded, with the numbers; empty where it is kept."""
        needs = (("SRAM", self.sram, budget.sram), ("flash", len(self.data), budget.flash))
        return " and ".join(
            f"needs {needed:,} bytes of {resource} on {self.accelerator}, there are {available:,}"
            for resource, needed, available in needs
            if available is not None and needed > available
        )


def accelerators() -> tuple[str, ...]:
    """The accelerators that Vela knows.

    Raises:
        UsageError: Vela is not installed.
    """
    with importing():
        from ethosu.vela.architecture_features import Accelerator
    return tuple(str(accelerator.value) for accelerator in Accelerator)


def expect_accelerator(name: str) -> None:
    """Raise UsageError where Vela is not installed or has no accelerator of this name."""
    known = accelerators()
    if name not in known:
        raise UsageError(f"there is no accelerator '{name}'", hint=f"one of {', '.join(known)}")


def beside(path: Path) -> Path:
    """Where the optimised file goes, beside the plain one."""
    return path.with_stem(f"{path.stem}_vela")


def optimise(
    data: bytes, model: TFLiteModel, accelerator: str, sram: int | None = None
) -> Optimised:
    """Optimise a TFLite file for an accelerator, in the system that Vela assumes for it.

    Args:
        data: the file.
        model: the same as it was read.
        accelerator: its name.
        sram: bytes of SRAM that Vela tries to keep to.

    Raises:
        UsageError: Vela is not installed, does not know the accelerator, or fails; or the file
            has a memory plan.
    """
    expect_accelerator(accelerator)
    if model.plan is not None:  # Vela would leave it in the new file, whose tensors are others
        raise UsageError(
            "has a memory plan, and Vela makes its own",
            where=model.graph.name,
            hint="compile it without --plan",
        )
    found = unmet(model.graph, accelerator)
    with TemporaryDirectory(prefix="irprune-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(data)
        command = [sys.executable, "-m", __name__.replace("compiler", "worker")]
        done = subprocess.run(
            [*command, name, accelerator, str(sram or 0)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            failure = _failure(folder, done.returncode, said)
            why = f"; these break limits: {listed(found)}" if found else ""
            raise UsageError(failure + why, where=model.graph.name)
        return read_report(folder, model, accelerator, said, found)


def read_report(
    folder: Path, model: TFLiteModel, accelerator: str, said: str, found: Sequence[Unmet]
) -> Optimised:
    """What the worker has left in its folder, with what it has said.

    Args:
        folder: the folder.
        model: the model.
        accelerator: the accelerator.
        said: the worker's output.
        found: the limits that the model breaks.
    """
    report = json.loads((folder / "report.json").read_text())
    optimised = (folder / "optimised.tflite").read_bytes()
    nodes = dict(zip(model.operators, model.graph.nodes, strict=True))
    sources = {row["id"]: nodes.get(int(row["ext_key"])) for row in report["source"]}
    rows: dict[Node, list[Row]] = {node: [] for node in model.graph.nodes}
    for row in report["perf"]:
        node = sources.get(row["source_id"])
        if node is not None:
            rows[node].append(row)
    details = {row["id"]: row for row in report["perf_debug"]}
    reasons: dict[str, str] = dict(REASON.findall(said))
    limits = {broken.node: broken.limit.sentence for broken in found}
    return Optimised(
        accelerator=accelerator,
        data=optimised,
        memories={memory: Bytes(peak) for memory, peak in report["memories"].items()},
        read_only=Bytes(report["read_only"]),
        weights=Exact(report["weights"]),
        cycles=report["cycles"],
        layers=tuple(
            _layer(node, found, details)
            for node, found in rows.items()
            if found and not _is_on_cpu(found)
        ),
        on_cpu=tuple(
            OnCpu(
                node,
                reasons.get(node.outputs[0].name, "no reason given"),
                limits.get(node, ""),
            )
            for node, found in rows.items()
            if _is_on_cpu(found)
        ),
    )


def _failure(folder: Path, code: int, said: str) -> str:
    """What Vela has to say, or at least how it ended."""
    error = folder / "error"
    if error.exists():
        return f"Vela: {error.read_text().strip()}"
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("Warning:")]
    last = (lines or ["nothing said"])[-1]
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"Vela crashes ({how}): {last}"


def _is_on_cpu(rows: Sequence[Row]) -> bool:
    return any(row["operator"] == ON_CPU for row in rows)


def _layer(node: Node, rows: Sequence[Row], details: Mapping[str, Row]) -> Layer:
    """A node's figures; one may be several of the accelerator's operations."""
    weights = (details.get(row["id"], {}).get("weight_total_bytes") for row in rows)
    return Layer(
        node=node,
        weights=Exact(sum(int(taken or 0) for taken in weights)),
        cycles=sum(int(row["op_cycles"]) for row in rows),
        macs=Macs(sum(int(row["mac_count"]) for row in rows)),
    )
