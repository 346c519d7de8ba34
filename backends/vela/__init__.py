"""Arm Ethos-U: its limits, and Arm's compiler for it, Vela."""

from irprune.backends.vela.compiler import (
    Layer,
    OnCpu,
    Optimised,
    accelerators,
    expect_accelerator,
    optimise,
)

__all__ = ["Layer", "OnCpu", "Optimised", "accelerators", "expect_accelerator", "optimise"]
