"""ONNX models damaged in their structure: operands, attributes, opsets, shapes, element types."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

SIZES = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 7, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
REALS = (-math.inf, -1.0, 0.0, 1e-45, 0.5, 3e38, math.inf, math.nan)
WORDS = ("", "SAME_UPPER", "VALID", "linear", "edge", "bidirectional", "NOTSET", "\n")
TYPES = (*(1, 2, 3, 6, 7, 9, 10, 11) * 4, *range(24), 1000)
"""Element types: mostly those that are common."""

Mutation = Callable[[random.Random, ModelProto], None]


def mutated(model: ModelProto, rng: random.Random, operators: Sequence[str]) -> ModelProto:
    """A copy of a model with one to three things changed.

    Args:
        model: any model with a node.
        rng: decides what changes.
        operators: names that a node may get.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    for mutation in rng.choices(MUTATIONS, k=rng.randint(1, 3)):
        mutation(rng, changed)
    if rng.random() < 0.05:
        rng.choice(changed.graph.node).op_type = rng.choice(operators)
    return changed


def _names(rng: random.Random, model: ModelProto) -> None:
    """Operands or results of a node dropped, repeated, left out or exchanged for others."""
    graph = model.graph
    node = rng.choice(graph.node)
    known = ["", *(v.name for v in (*graph.input, *graph.initializer))]
    if rng.random() < 0.05:
        known += [v.name for v in graph.output]
    names = node.input if rng.random() < 0.9 else node.output
    kept = list(names)
    match rng.randrange(4):
        case 0:
            kept = rng.sample(kept, rng.randint(0, len(kept)))
        case 1:
            kept += rng.choices(known, k=rng.randint(1, 3))
        case 2:
            rng.shuffle(kept)
        case _ if kept:
            kept[rng.randrange(len(kept))] = rng.choice(("", *known * 3, "absent"))
    names[:] = kept


def _attributes(rng: random.Random, model: ModelProto) -> None:
    """An attribute dropped, added, retyped or given another number."""
    node = rng.choice(model.graph.node)
    if not node.attribute or rng.random() < 0.2:
        schema = onnx.defs.get_schema(node.op_type) if onnx.defs.has(node.op_type) else None
        name = rng.choice(sorted(schema.attributes) if schema and schema.attributes else ["to"])
        if all(a.name != name for a in node.attribute):
            node.attribute.append(_attribute(rng, name))
        return
    at = rng.randrange(len(node.attribute))
    attribute = node.attribute[at]
    match attribute.type:
        case AttributeProto.INT if rng.random() < 0.8:
            attribute.i = rng.choice(SIZES)
        case AttributeProto.INTS if rng.random() < 0.8:
            sizes = list(attribute.ints) or [0]
            sizes[rng.randrange(len(sizes))] = rng.choice(SIZES)
            attribute.ints[:] = rng.choice((sizes, sizes, sizes[1:], [*sizes, 1]))
        case AttributeProto.FLOAT if rng.random() < 0.8:
            attribute.f = rng.choice(REALS)
        case AttributeProto.STRING if rng.random() < 0.8:
            attribute.s = rng.choice(WORDS).encode()
        case AttributeProto.TENSOR if rng.random() < 0.8:
            _tensor(rng, attribute.t)
        case _ if rng.random() < 0.5:
            del node.attribute[at]
        case _:
            attribute.CopyFrom(_attribute(rng, attribute.name))


def _attribute(rng: random.Random, name: str) -> AttributeProto:
    """An attribute of any kind."""
    value: object = rng.choice(
        (
            rng.choice(SIZES),
            rng.choices(SIZES, k=rng.randint(1, 4)),
            rng.choice(REALS),
            rng.choices(REALS, k=2),
            rng.choice(WORDS),
            rng.choices(WORDS, k=2),
        )
    )
    return helper.make_attribute(name, value)


def _opset(rng: random.Random, model: ModelProto) -> None:
    """Another version of the operators."""
    model.opset_import[0].version = rng.choice((*range(7, 29), 0, 2**31))


def _ports(rng: random.Random, model: ModelProto) -> None:
    """Another size, rank or element type of an input or output."""
    ports = [*model.graph.input, *model.graph.output[: rng.random() < 0.2]]
    if not ports:
        return
    kind = rng.choice(ports).type.tensor_type
    sizes = [d.dim_value for d in kind.shape.dim]
    match rng.randrange(4):
        case 0:
            kind.elem_type = rng.choice(TYPES)
            return
        case 1 if sizes:
            sizes[rng.randrange(len(sizes))] = rng.choice(SIZES)
        case 2 if sizes:
            del sizes[rng.randrange(len(sizes))]
        case _:
            sizes.insert(rng.randint(0, len(sizes)), rng.choice((0, 1, 2, 5)))
    del kind.shape.dim[:]
    for size in sizes:
        kind.shape.dim.add().dim_value = size


def _constants(rng: random.Random, model: ModelProto) -> None:
    """What is known of a constant."""
    if model.graph.initializer:
        _tensor(rng, rng.choice(model.graph.initializer))


def _tensor(rng: random.Random, tensor: TensorProto) -> None:
    """Another element, shape, element type or amount of bytes of a tensor."""
    whole = tensor.data_type == TensorProto.INT64 and bool(tensor.raw_data)
    dims = list(tensor.dims)
    match rng.randrange(5):
        case 0 | 1 if whole:
            words = [tensor.raw_data[i : i + 8] for i in range(0, len(tensor.raw_data), 8)]
            size = rng.choice(SIZES).to_bytes(8, "little", signed=True)
            words[rng.randrange(len(words))] = size
            tensor.raw_data = b"".join(words)
        case 2:
            tensor.dims[:] = rng.choice(([math.prod(dims)], [1, *dims], [*dims, 1], dims[::-1]))
        case 3:
            tensor.dims[:] = rng.choice(([], [0], dims[1:], [2**40]))
            tensor.raw_data = tensor.raw_data[: math.prod(tensor.dims) * rng.choice((1, 2, 4, 8))]
        case 4 if rng.random() < 0.5:
            tensor.data_type = rng.choice(TYPES)
        case _ if tensor.raw_data:
            content = bytearray(tensor.raw_data)
            for _ in range(rng.randint(1, 8)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            tensor.raw_data = bytes(content)


MUTATIONS: tuple[Mutation, ...] = (_names, _attributes, _attributes, _opset, _ports, _constants)
