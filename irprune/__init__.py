"""irprune: what a neural network costs on a microcontroller, and how to make it fit.

The public names load on first use, so that importing irprune costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irprune.backends.compile import (
        Compiled,
        CompileOptions,
        Compression,
        Numbers,
        compile_tflite,
    )
    from irprune.backends.onnx import to_onnx, write_onnx
    from irprune.backends.pruned import read_plan, write_plan
    from irprune.backends.reference import run
    from irprune.backends.tflite import write_tflite
    from irprune.backends.tflite.footprint import footprint
    from irprune.backends.usage import compiled_usage
    from irprune.budget import Budget, Usage
    from irprune.devices import DEVICES, Device, device
    from irprune.frontends.load import load
    from irprune.ir.build import Builder
    from irprune.ir.errors import IrpruneError
    from irprune.ir.graph import Graph, Node, Value
    from irprune.ir.parser import parse
    from irprune.ir.plan import Mask, Plan
    from irprune.ir.printer import show
    from irprune.ir.verify import verify
    from irprune.passes.analysis.arena import Arena, arena, check_arena
    from irprune.passes.analysis.channels import Group, channels
    from irprune.passes.analysis.cost_model import CostModel
    from irprune.passes.analysis.deployment import Precision
    from irprune.passes.analysis.peak_model import PeakModel
    from irprune.passes.analysis.salience import Salience
    from irprune.passes.analysis.schedule import Schedule, schedule
    from irprune.passes.one_shot import PruneOptions, plan_for_budget, plan_for_ratio
    from irprune.passes.one_shot_sparsity import plan_for_size, plan_for_sparsity
    from irprune.passes.pipeline import deployed
    from irprune.passes.rewrite.apply_sparsity import apply_sparsity
    from irprune.passes.rewrite.apply_widths import apply_widths
    from irprune.passes.rewrite.reorder import reorder
    from irprune.report.report import Report, analyze
    from irprune.training.apply import apply_to_module, apply_to_optimizer
    from irprune.training.coded_size import compiled_bytes, encoded_bytes, estimated_bytes
    from irprune.training.fake_quantizer import FakeQuantizer
    from irprune.training.sparsity import SparsityLearner
    from irprune.training.sparsity_options import (
        Density,
        FixedSparsity,
        SparsityOptions,
        Threshold,
    )
    from irprune.training.sparsity_terms import (
        BoundedBytes,
        BoundedCost,
        LayerGap,
        LayerRange,
        MinimizedCost,
        Penalty,
        SparsityCost,
    )
    from irprune.training.width_pruner import WidthOptions, WidthPruner

_HOMES = {
    "Arena": "irprune.passes.analysis.arena",
    "BoundedBytes": "irprune.training.sparsity_terms",
    "BoundedCost": "irprune.training.sparsity_terms",
    "Budget": "irprune.budget",
    "Builder": "irprune.ir.build",
    "CompileOptions": "irprune.backends.compile",
    "Compiled": "irprune.backends.compile",
    "Compression": "irprune.backends.compile",
    "CostModel": "irprune.passes.analysis.cost_model",
    "DEVICES": "irprune.devices",
    "Density": "irprune.training.sparsity_options",
    "Device": "irprune.devices",
    "FakeQuantizer": "irprune.training.fake_quantizer",
    "FixedSparsity": "irprune.training.sparsity_options",
    "Graph": "irprune.ir.graph",
    "Group": "irprune.passes.analysis.channels",
    "IrpruneError": "irprune.ir.errors",
    "LayerGap": "irprune.training.sparsity_terms",
    "LayerRange": "irprune.training.sparsity_terms",
    "Mask": "irprune.ir.plan",
    "MinimizedCost": "irprune.training.sparsity_terms",
    "Node": "irprune.ir.graph",
    "Numbers": "irprune.backends.compile",
    "PeakModel": "irprune.passes.analysis.peak_model",
    "Penalty": "irprune.training.sparsity_terms",
    "Plan": "irprune.ir.plan",
    "Precision": "irprune.passes.analysis.deployment",
    "PruneOptions": "irprune.passes.one_shot",
    "Report": "irprune.report.report",
    "Salience": "irprune.passes.analysis.salience",
    "Schedule": "irprune.passes.analysis.schedule",
    "SparsityCost": "irprune.training.sparsity_terms",
    "SparsityLearner": "irprune.training.sparsity",
    "SparsityOptions": "irprune.training.sparsity_options",
    "Threshold": "irprune.training.sparsity_options",
    "Usage": "irprune.budget",
    "Value": "irprune.ir.graph",
    "WidthOptions": "irprune.training.width_pruner",
    "WidthPruner": "irprune.training.width_pruner",
    "analyze": "irprune.report.report",
    "apply_sparsity": "irprune.passes.rewrite.apply_sparsity",
    "apply_to_module": "irprune.training.apply",
    "apply_to_optimizer": "irprune.training.apply",
    "apply_widths": "irprune.passes.rewrite.apply_widths",
    "arena": "irprune.passes.analysis.arena",
    "channels": "irprune.passes.analysis.channels",
    "check_arena": "irprune.passes.analysis.arena",
    "compile_tflite": "irprune.backends.compile",
    "compiled_bytes": "irprune.training.coded_size",
    "compiled_usage": "irprune.backends.usage",
    "deployed": "irprune.passes.pipeline",
    "device": "irprune.devices",
    "encoded_bytes": "irprune.training.coded_size",
    "estimated_bytes": "irprune.training.coded_size",
    "footprint": "irprune.backends.tflite.footprint",
    "load": "irprune.frontends.load",
    "parse": "irprune.ir.parser",
    "plan_for_budget": "irprune.passes.one_shot",
    "plan_for_ratio": "irprune.passes.one_shot",
    "plan_for_size": "irprune.passes.one_shot_sparsity",
    "plan_for_sparsity": "irprune.passes.one_shot_sparsity",
    "read_plan": "irprune.backends.pruned",
    "reorder": "irprune.passes.rewrite.reorder",
    "run": "irprune.backends.reference",
    "schedule": "irprune.passes.analysis.schedule",
    "show": "irprune.ir.printer",
    "to_onnx": "irprune.backends.onnx",
    "verify": "irprune.ir.verify",
    "write_onnx": "irprune.backends.onnx",
    "write_plan": "irprune.backends.pruned",
    "write_tflite": "irprune.backends.tflite",
}

__all__ = [
    "DEVICES",
    "Arena",
    "BoundedBytes",
    "BoundedCost",
    "Budget",
    "Builder",
    "CompileOptions",
    "Compiled",
    "Compression",
    "CostModel",
    "Density",
    "Device",
    "FakeQuantizer",
    "FixedSparsity",
    "Graph",
    "Group",
    "IrpruneError",
    "LayerGap",
    "LayerRange",
    "Mask",
    "MinimizedCost",
    "Node",
    "Numbers",
    "PeakModel",
    "Penalty",
    "Plan",
    "Precision",
    "PruneOptions",
    "Report",
    "Salience",
    "Schedule",
    "SparsityCost",
    "SparsityLearner",
    "SparsityOptions",
    "Threshold",
    "Usage",
    "Value",
    "WidthOptions",
    "WidthPruner",
    "analyze",
    "apply_sparsity",
    "apply_to_module",
    "apply_to_optimizer",
    "apply_widths",
    "arena",
    "channels",
    "check_arena",
    "compile_tflite",
    "compiled_bytes",
    "compiled_usage",
    "deployed",
    "device",
    "encoded_bytes",
    "estimated_bytes",
    "footprint",
    "load",
    "parse",
    "plan_for_budget",
    "plan_for_ratio",
    "plan_for_size",
    "plan_for_sparsity",
    "read_plan",
    "reorder",
    "run",
    "schedule",
    "show",
    "to_onnx",
    "verify",
    "write_onnx",
    "write_plan",
    "write_tflite",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'irprune' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
