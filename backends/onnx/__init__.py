"""Write ONNX files, and edit the order of their nodes."""

from irprune.backends.onnx.order import write_reordered
from irprune.backends.onnx.writer import to_onnx, write_onnx

__all__ = ["to_onnx", "write_onnx", "write_reordered"]
