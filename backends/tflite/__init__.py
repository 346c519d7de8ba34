"""Edit TFLite files: the order of operators, and the memory plan that TFLite-Micro follows."""

from irprune.backends.tflite.edit import reordered, with_plan
from irprune.backends.tflite.planning import memory_plan, operator_order, scheduled

__all__ = ["memory_plan", "operator_order", "reordered", "scheduled", "with_plan"]
