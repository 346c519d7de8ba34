"""Write ONNX files, and edit the order of their nodes."""

from irprune.backends.onnx.order import write_reordered

__all__ = ["write_reordered"]
