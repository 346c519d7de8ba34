"""irprune: what a neural network costs on a microcontroller, and how to make it fit.

The public names load on first use, so that importing irprune costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irprune.backends.reference import run
    from irprune.budget import Budget
    from irprune.devices import DEVICES, Device, device
    from irprune.frontends.load import load
    from irprune.ir.build import Builder
    from irprune.ir.errors import IrpruneError
    from irprune.ir.graph import Graph, Node, Value
    from irprune.ir.parser import parse
    from irprune.ir.printer import show
    from irprune.ir.verify import verify
    from irprune.passes.analysis.deployment import Precision
    from irprune.passes.pipeline import deployed
    from irprune.report.report import Report, analyze

_HOMES = {
    "Budget": "irprune.budget",
    "Builder": "irprune.ir.build",
    "DEVICES": "irprune.devices",
    "Device": "irprune.devices",
    "Graph": "irprune.ir.graph",
    "IrpruneError": "irprune.ir.errors",
    "Node": "irprune.ir.graph",
    "Precision": "irprune.passes.analysis.deployment",
    "Report": "irprune.report.report",
    "Value": "irprune.ir.graph",
    "analyze": "irprune.report.report",
    "deployed": "irprune.passes.pipeline",
    "device": "irprune.devices",
    "load": "irprune.frontends.load",
    "parse": "irprune.ir.parser",
    "run": "irprune.backends.reference",
    "show": "irprune.ir.printer",
    "verify": "irprune.ir.verify",
}

__all__ = [
    "DEVICES",
    "Budget",
    "Builder",
    "Device",
    "Graph",
    "IrpruneError",
    "Node",
    "Precision",
    "Report",
    "Value",
    "analyze",
    "deployed",
    "device",
    "load",
    "parse",
    "run",
    "show",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'irprune' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
