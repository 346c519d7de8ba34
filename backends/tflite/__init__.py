"""Write TFLite files; edit the order of their operators, and the memory plan in them."""

from irprune.backends.tflite.edit import reordered, with_constants, with_plan
from irprune.backends.tflite.planning import memory_plan, operator_order, scheduled
from irprune.backends.tflite.writer import write_tflite

__all__ = [
    "memory_plan",
    "operator_order",
    "reordered",
    "scheduled",
    "with_constants",
    "with_plan",
    "write_tflite",
]
