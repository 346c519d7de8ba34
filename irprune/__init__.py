"""irprune: what a neural network costs on a microcontroller, and how to make it fit.

The public names load on first use, so that importing irprune costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irprune.backends.compile import Compiled, CompileOptions, Numbers, compile_tflite
    from irprune.backends.reference import run
    from irprune.backends.tflite import write_tflite
    from irprune.backends.tflite.footprint import footprint
    from irprune.budget import Budget
    from irprune.devices import DEVICES, Device, device
    from irprune.frontends.load import load
    from irprune.ir.build import Builder
    from irprune.ir.errors import IrpruneError
    from irprune.ir.graph import Graph, Node, Value
    from irprune.ir.parser import parse
    from irprune.ir.printer import show
    from irprune.ir.verify import verify
    from irprune.passes.analysis.arena import Arena, arena, check_arena
    from irprune.passes.analysis.deployment import Precision
    from irprune.passes.analysis.peak_model import PeakModel
    from irprune.passes.analysis.schedule import Schedule, schedule
    from irprune.passes.pipeline import deployed
    from irprune.passes.rewrite.reorder import reorder
    from irprune.report.report import Report, analyze

_HOMES = {
    "Arena": "irprune.passes.analysis.arena",
    "Budget": "irprune.budget",
    "Builder": "irprune.ir.build",
    "CompileOptions": "irprune.backends.compile",
    "Compiled": "irprune.backends.compile",
    "DEVICES": "irprune.devices",
    "Device": "irprune.devices",
    "Graph": "irprune.ir.graph",
    "IrpruneError": "irprune.ir.errors",
    "Node": "irprune.ir.graph",
    "Numbers": "irprune.backends.compile",
    "PeakModel": "irprune.passes.analysis.peak_model",
    "Precision": "irprune.passes.analysis.deployment",
    "Report": "irprune.report.report",
    "Schedule": "irprune.passes.analysis.schedule",
    "Value": "irprune.ir.graph",
    "analyze": "irprune.report.report",
    "arena": "irprune.passes.analysis.arena",
    "check_arena": "irprune.passes.analysis.arena",
    "compile_tflite": "irprune.backends.compile",
    "deployed": "irprune.passes.pipeline",
    "device": "irprune.devices",
    "footprint": "irprune.backends.tflite.footprint",
    "load": "irprune.frontends.load",
    "parse": "irprune.ir.parser",
    "reorder": "irprune.passes.rewrite.reorder",
    "run": "irprune.backends.reference",
    "schedule": "irprune.passes.analysis.schedule",
    "show": "irprune.ir.printer",
    "verify": "irprune.ir.verify",
    "write_tflite": "irprune.backends.tflite",
}

__all__ = [
    "DEVICES",
    "Arena",
    "Budget",
    "Builder",
    "CompileOptions",
    "Compiled",
    "Device",
    "Graph",
    "IrpruneError",
    "Node",
    "Numbers",
    "PeakModel",
    "Precision",
    "Report",
    "Schedule",
    "Value",
    "analyze",
    "arena",
    "check_arena",
    "compile_tflite",
    "deployed",
    "device",
    "footprint",
    "load",
    "parse",
    "reorder",
    "run",
    "schedule",
    "show",
    "verify",
    "write_tflite",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'irprune' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
