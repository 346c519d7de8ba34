"""The reference architectures, in plain torch.

Exporters may store equal tensors once, and the biases and batch norms of an untrained model are
equal where they are as long: its ONNX file can then be smaller than the module, and than the file
of the same model once it is trained.
"""

from irprune.zoo.registry import Value, ZooEntry, build, entry, from_spec, names, parse_spec

__all__ = ["Value", "ZooEntry", "build", "entry", "from_spec", "names", "parse_spec"]
