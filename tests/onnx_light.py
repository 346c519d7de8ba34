"""The light models of the onnx package, with weights of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))

QUICK = [path for path in LIGHT if path.stem not in ("light_vgg19", "light_zfnet512")]
"""Those to run whole: the two have the operators of AlexNet, and a billion more multiplications."""


def with_random_weights(path: Path, rng: np.random.Generator) -> onnx.ModelProto:
    """The model, each ConstantOfShape replaced by weights that keep the signal's scale."""
    model = onnx.load(path)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    variances = {n.input[4] for n in kept if n.op_type == "BatchNormalization"}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(shapes[node.input[0]])
            fan_in = max(1, int(np.prod(shape[1:])))
            array = rng.normal(0, np.sqrt(2 / fan_in) if len(shape) > 1 else 0.1, shape)
            array = np.abs(array) + 1 if node.output[0] in variances else array
            graph.initializer.append(
                numpy_helper.from_array(array.astype(np.float32), node.output[0])
            )
    del graph.node[:]
    graph.node.extend(kept)
    return model
