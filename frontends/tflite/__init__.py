"""Read TFLite files, float or fully quantized."""

from irprune.frontends.tflite.read import read_tflite

__all__ = ["read_tflite"]
