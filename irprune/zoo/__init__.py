"""The reference architectures, in plain torch."""

from irprune.zoo.registry import Value, ZooEntry, build, entry, names, parse_spec

__all__ = ["Value", "ZooEntry", "build", "entry", "names", "parse_spec"]
