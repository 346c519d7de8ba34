"""Graphs as text, which ``irprune.ir.parser`` reads back to the same graph.

    graph "tiny" {
      input %x : i8[1,3,8,8] Quant(scale=(0.5,), zero_point=(3,))
      const %w : f32[8,3,3,3] = splat 0.5
      %y : f32[1,8,3,3] = Conv2d(stride=(2, 2), activation=Relu6()) (%x, %w) @ "conv" from "m" "c"
      output %y
    }

Attributes that have their default are left out, and so is the name of a node (after ``@``) that is
its first output's. Constants are ``splat`` of one element, a list in row-major order, or their
little-endian bytes in base64.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import MISSING, fields

import numpy as np

from irprune.ir.errors import InvalidType
from irprune.ir.graph import Graph, Node, Source, Value
from irprune.ir.op import Op
from irprune.ir.types import Array, DType, Quant, TensorType

LONGEST_LIST = 16
"""A constant of more elements is written in base64."""

BARE_NAME = re.compile(r"[A-Za-z0-9_./-]+")
"""Names of values that need no quotes."""


def show(graph: Graph) -> str:
    """The graph as text, one value a line; it names every bit of the graph.

    Raises:
        InvalidType: an attribute is no literal, enum or operator (``verify`` reports it too).
    """
    return "\n".join((f"graph {quoted(graph.name)} {{", *_lines(graph), "}", ""))


def quoted(text: str) -> str:
    """A string between double quotes, in one line of ASCII."""
    return json.dumps(text)


def expression(value: object) -> str:
    """An attribute, type description or operator as a constructor expression."""
    match value:
        case Op() | Quant():
            return f"{type(value).__name__}({', '.join(_arguments(value))})"
        case DType():
            return value.value
        case tuple():
            items = [expression(item) for item in value]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        case str():
            return quoted(value)
        case None | bool() | int() | float():
            return repr(value)
    raise InvalidType(f"{value!r} has no text form")


def _lines(graph: Graph) -> Iterator[str]:
    for value in graph.inputs:
        yield f"  input {_declared(value)}"
    for value, array in graph.constants.items():
        yield f"  const {_declared(value)} = {_elements(array)}"
    for node in graph.nodes:
        yield f"  {_node(node)}"
    for value in graph.outputs:
        yield f"  output {_name(value)}"


def _node(node: Node) -> str:
    outputs = ", ".join(map(_declared, node.outputs))
    inputs = ", ".join(map(_name, node.inputs))
    text = f"{outputs} = {expression(node.op)} ({inputs})"
    if node.name != node.outputs[0].name:
        text += f" @ {quoted(node.name)}"
    if node.source != Source():
        text += f" from {quoted(node.source.file)} {quoted(node.source.name)}"
    return text


def _name(value: Value) -> str:
    return f"%{value.name if BARE_NAME.fullmatch(value.name) else quoted(value.name)}"


def _declared(value: Value) -> str:
    return f"{_name(value)} : {_type(value.type)}"


def _type(t: TensorType) -> str:
    return f"{t} {expression(t.quant)}" if t.quant is not None else str(t)


def _arguments(owner: Op | Quant) -> Iterator[str]:
    for f in fields(owner):
        text = expression(getattr(owner, f.name))
        if f.default is MISSING or text != expression(f.default):
            yield f"{f.name}={text}"


def _elements(array: Array) -> str:
    """The shortest form from which the elements come back bit by bit."""
    flat = np.ascontiguousarray(array).reshape(-1)
    stored = flat.view(np.uint8).reshape(flat.size, flat.itemsize)
    if flat.size and (stored == stored[0]).all() and _exact(flat[:1]):
        return f"splat {_element(flat[0])}"
    if flat.size <= LONGEST_LIST and _exact(flat):
        return f"[{', '.join(map(_element, flat))}]"
    little = flat.astype(flat.dtype.newbyteorder("<"), copy=False)
    return f'base64 "{b64encode(little.tobytes()).decode("ascii")}"'


def _element(x: np.generic) -> str:
    """The shortest decimal that is nearest to this element in its own type."""
    return repr(float(str(x))) if x.dtype.kind == "f" else str(x)


def _exact(flat: Array) -> bool:
    """Whether decimal numbers say it all; they do not say which NaN."""
    return flat.dtype.kind != "f" or all(
        flat.dtype.type(_element(x)).tobytes() == x.tobytes() for x in flat
    )
