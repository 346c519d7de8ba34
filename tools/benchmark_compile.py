"""Time compiling to int8 beside onnxruntime's own quantizer, which makes ONNX of ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tools.benchmark import check, export_mobilenet, interleaved, irprune, python

SAMPLES = 32

MAKE_SAMPLES = """
import sys, numpy as np
np.save(sys.argv[1], np.random.default_rng(0).normal(size=(int(sys.argv[2]), 3, 50, 50)))
"""

QUANTIZE = """
import sys, numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
class Reader(CalibrationDataReader):
    def __init__(self, path):
        self.left = iter(np.load(path).astype(np.float32))
    def get_next(self):
        sample = next(self.left, None)
        return None if sample is None else {NAME: sample[None]}
import onnx
NAME = onnx.load(sys.argv[1]).graph.input[0].name
quantize_static(sys.argv[1], sys.argv[3], Reader(sys.argv[2]), per_channel=True)
"""


def measure_compiling(runs: int = 3) -> list[bool]:
    """MobileNetV2 of Table 3 from ONNX, calibrated on 32 samples; whole processes, one thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, samples = folder / "mobilenet_v2.onnx", folder / "samples.npy"
        export_mobilenet(model)
        interleaved(python("-c", MAKE_SAMPLES, str(samples), str(SAMPLES)), python("-c", ""), 1)
        ours = irprune(
            *("compile", str(model), "-o", str(folder / "out.tflite")),
            *("--calibration", str(samples), "--plan"),
        )
        theirs = python(
            *("-W", "ignore", "-c", QUANTIZE, str(model), str(samples), str(folder / "q.onnx"))
        )
        timing = interleaved(ours, theirs, runs)
    note = f"{timing.ratio:.2f} x onnxruntime's quantizer ({timing.baseline:.1f} s)"
    return [check("irprune compile mobilenet_v2.onnx, int8", timing.seconds, 5.0, "s", note)]
