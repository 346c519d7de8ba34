"""The invariants of a graph, all checked at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from irprune.ir.analysis import analysis
from irprune.ir.attributes import attributes, mistyped
from irprune.ir.errors import InvalidGraph, IrpruneError
from irprune.ir.graph import Graph, Node, Value, values
from irprune.ir.op import OPS, Activated, Op
from irprune.ir.types import Array, TensorType, type_of


def verify(graph: Graph) -> None:
    """Raise InvalidGraph with every broken invariant of the graph; nothing where all hold."""
    found = problems(graph)
    if found:
        raise InvalidGraph(found, where=graph.name)


@analysis
def problems(graph: Graph) -> tuple[str, ...]:
    """Every broken invariant, in a clause each; () for a graph that is well formed.

    Names are there and unique (a node may share its name with a value). Every operand is a graph
    input, a constant or made by an earlier node, and nothing is made twice. Types are what the
    ops infer; quantization stands on integers alone. The arrays of constants are of their types
    and read-only. Ops are registered and their attributes of the declared types.
    """
    return (
        *_name_problems(graph),
        *_order_problems(graph),
        *(problem for value in dict.fromkeys(values(graph)) for problem in _type_problems(value)),
        *(
            problem
            for value, array in graph.constants.items()
            for problem in _constant_problems(value, array)
        ),
        *(
            f"node '{node.name}': {problem}"
            for node in graph.nodes
            for problem in _node_problems(node)
        ),
    )


def _name_problems(graph: Graph) -> Iterator[str]:
    for kind, names in (
        ("value", [value.name for value in dict.fromkeys(values(graph))]),
        ("node", [node.name for node in graph.nodes]),
    ):
        for name, count in Counter(names).items():
            if not name:
                yield f"a {kind} has no name"
            elif count > 1:
                yield f"{count} {kind}s are named '{name}'"


def _order_problems(graph: Graph) -> Iterator[str]:
    """Values that are made twice, or read before (or without) being made."""
    all_values = set(values(graph))
    made: set[Value] = set()
    for value in graph.inputs:
        if value in made:
            yield f"input '{value.name}' is listed twice"
        made.add(value)
    for value in graph.constants:
        if value in made:
            yield f"input '{value.name}' is also a constant"
        made.add(value)
    for node in graph.nodes:
        for value in dict.fromkeys(node.inputs):
            if value not in made:
                when = "before it is made" if value in all_values else "that nothing makes"
                yield f"node '{node.name}' reads '{value.name}' {when}"
        for value in node.outputs:
            if value in made:
                yield f"node '{node.name}' makes '{value.name}', which is made already"
            made.add(value)
    for value in dict.fromkeys(graph.outputs):
        if value not in made:
            yield f"output '{value.name}' is made by nothing"


def _type_problems(value: Value) -> Iterator[str]:
    quant, dtype = value.type.quant, value.type.dtype
    if quant is None:
        return
    if not dtype.is_integer:
        yield f"value '{value.name}' has a quantization but is {dtype.value}"
        return
    low, high = dtype.limits
    if not all(low <= zero_point <= high for zero_point in quant.zero_point):
        yield f"value '{value.name}' has a zero point outside of {dtype.value}"


def _constant_problems(value: Value, array: Array) -> Iterator[str]:
    actual, declared = type_of(array), value.type
    if not _agree(actual, declared):
        yield f"constant '{value.name}' is declared {declared} and holds {actual}"
    if array.flags.writeable:
        yield f"constant '{value.name}' can be written to"


def _node_problems(node: Node) -> Iterator[str]:
    ill_formed = tuple(_op_problems(node.op))
    if ill_formed:  # rules of such an op cannot be relied on, so they are not asked
        yield from ill_formed
        return
    try:
        inferred = node.op.infer([value.type for value in node.inputs])
    except IrpruneError as error:
        yield str(error)
        return
    yield from _inference_problems(node, inferred)
    yield from _activation_problems(node.op, inferred)
    yield from _alias_problems(node)


def _op_problems(op: Op) -> Iterator[str]:
    name = type(op).__name__
    if OPS.get(name) is not type(op):
        yield f"operator {name} is not registered"
        return
    values_by_name = attributes(op)
    yield from mistyped(type(op), values_by_name)
    for value in values_by_name.values():
        if isinstance(value, Op):
            yield from _op_problems(value)


def _inference_problems(node: Node, inferred: tuple[TensorType, ...]) -> Iterator[str]:
    if len(inferred) != len(node.outputs):
        yield f"has {len(node.outputs)} outputs where its op makes {len(inferred)}"
        return
    for value, wanted in zip(node.outputs, inferred, strict=True):
        if not _agree(value.type, wanted):
            yield f"output '{value.name}' is declared {value.type} and inferred {wanted}"
        if wanted.quant is not None and value.type.quant != wanted.quant:
            yield f"output '{value.name}' has not the quantization that its op settles"


def _activation_problems(op: Op, outputs: Iterable[TensorType]) -> Iterator[str]:
    activation = op.activation if isinstance(op, Activated) else None
    if activation is None:
        return
    for t in outputs:
        try:
            (activated,) = activation.infer([t])
        except IrpruneError as error:
            yield f"activation {type(activation).__name__}: {error}"
        else:
            if not _agree(activated, t):
                yield f"activation {type(activation).__name__} makes {activated} of {t}"


def _alias_problems(node: Node) -> Iterator[str]:
    alias = node.op.alias()
    if alias is None:
        return
    if not 0 <= alias < len(node.inputs) or len(node.outputs) != 1:
        yield f"its output is a view of operand {alias}, which it has not"
    elif node.inputs[alias].type.nbytes != node.output.type.nbytes:
        yield f"its output is a view of {node.inputs[alias].type} and is {node.output.type}"


def _agree(one: TensorType, other: TensorType) -> bool:
    """Whether two types are the same but for their quantization."""
    return (one.shape, one.dtype) == (other.shape, other.dtype)
