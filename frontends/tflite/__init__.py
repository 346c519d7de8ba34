"""Read TFLite files, float or fully quantized."""

from irprune.frontends.tflite.model import TFLiteModel
from irprune.frontends.tflite.read import read_tflite, read_tflite_file

__all__ = ["TFLiteModel", "read_tflite", "read_tflite_file"]
