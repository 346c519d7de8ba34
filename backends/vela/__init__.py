"""Arm Ethos-U: its limits, and Arm's compiler for it, Vela."""

from irprune.backends.vela.compiler import (
    Layer,
    OnCpu,
    Optimised,
    accelerators,
    beside,
    expect_accelerator,
    optimise,
)
from irprune.backends.vela.limits import expect_work

__all__ = [
    "Layer",
    "OnCpu",
    "Optimised",
    "accelerators",
    "beside",
    "expect_accelerator",
    "expect_work",
    "optimise",
]
