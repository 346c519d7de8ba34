"""ONNX models, read through onnx-graphsurgeon into graphs."""

from irprune.frontends.onnx.read import read_onnx, read_onnx_bytes

__all__ = ["read_onnx", "read_onnx_bytes"]
