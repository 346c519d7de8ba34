from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from irprune.ir import ops
from irprune.ir.arrays import held
from irprune.ir.build import Edit
from irprune.ir.graph import Graph, Node, Value, producers, readers
from irprune.ir.op import Op
from irprune.passes.rewrite.patterns import read_by

CLOSE = 1e-5
"""How far, relatively, a constant may be from the one that a formula has; files round them."""

LONGEST = 8
"""Multiplications that a formula may consist of; the longest known has five."""

Clamp = ops.Relu | ops.Relu6 | ops.Clip | ops.Maximum | ops.Minimum


def recognize_activations(graph: Graph) -> Graph:
    """The graph with activations that are spelled out as formulas replaced by their operators.

    Bounds (Clip, Maximum and Minimum with a number, and sequences of them) become Relu, Relu6 or
    Clip. Products become Silu, HardSigmoid, HardSwish or Gelu, in whatever order they multiply:
    x * sigmoid(x); clip(x + 3, 0, 6) / 6; x times that; x * (1 + erf(x / sqrt(2))) / 2; and its
    approximation with tanh. What the formula computes on the way is read by nothing else.
    """
    return _replace(_replace(graph, _bounds), _product_form)


@dataclass(frozen=True)
class _Match:
    """An operator applied to a value, and the nodes (but for the last) that spelled it out."""

    op: Op
    operand: Value
    parts: tuple[Node, ...]


def _replace(graph: Graph, rule: Callable[[Graph, Node], _Match | None]) -> Graph:
    """The graph with what the rule finds, the longest formulas first."""
    edit = Edit(graph)
    taken: set[Node] = set()
    for node in reversed(graph.nodes):
        match = None if node in taken else rule(graph, node)
        if match is None or match.operand.type != node.output.type:
            continue
        edit.replace(node, replace(node, op=match.op, inputs=(match.operand,)))
        for part in match.parts:
            edit.replace(part)
        taken.update(match.parts)
    return edit.finish()


def _bounds(graph: Graph, last: Node) -> _Match | None:
    """A sequence of clamps."""
    found = _interval(graph, last)
    if found is None:
        return None
    operand, low, high = found
    parts: list[Node] = []
    reader = last
    while read_by(graph, operand, reader) and operand in producers(graph):
        reader = producers(graph)[operand]
        found = _interval(graph, reader)
        if found is None:
            break
        operand, least, most = found
        low, high = (min(max(bound, low), high) for bound in (least, most))
        parts.append(reader)
    op = _clamp(low, high)
    return None if op == last.op and not parts else _Match(op, operand, tuple(parts))


def _clamp(low: float, high: float) -> Op:
    match low, high:
        case 0.0, math.inf:
            return ops.Relu()
        case 0.0, 6.0:
            return ops.Relu6()
        case _:
            return ops.Clip(low, high)


def _interval(graph: Graph, node: Node) -> tuple[Value, float, float] | None:
    """The operand of a float clamp and its bounds; None for any other node."""
    if not isinstance(node.op, Clamp) or not node.output.type.dtype.is_float:
        return None
    match node.op:
        case ops.Maximum() | ops.Minimum():
            split = _with_number(graph, node)
            if split is None:
                return None
            operand, number = split
            up = isinstance(node.op, ops.Maximum)
            return (operand, number, math.inf) if up else (operand, -math.inf, number)
        case clamp:
            return node.inputs[0], *clamp.bounds()


@dataclass(frozen=True)
class _Product:
    """A coefficient times factors, and the nodes that multiply (but for the last)."""

    coefficient: float
    factors: tuple[Value, ...]
    parts: tuple[Node, ...]


def _product(graph: Graph, root: Node) -> _Product | None:
    """What a Mul, a Div by a number or a small power comes to, multiplied out; else None."""
    first = _terms(graph, root)
    if first is None:
        return None
    coefficient, values = first
    pending = [(value, root) for value in values]
    factors: list[Value] = []
    parts: list[Node] = []
    while pending:
        value, reader = pending.pop()
        maker = producers(graph).get(value)
        terms = _terms(graph, maker) if maker and read_by(graph, value, reader) else None
        if maker is None or terms is None or len(parts) >= LONGEST:
            factors.append(value)
            continue
        parts.append(maker)
        coefficient *= terms[0]
        pending += [(inner, maker) for inner in terms[1]]
    return _Product(coefficient, tuple(factors), tuple(parts))


def _terms(graph: Graph, node: Node) -> tuple[float, tuple[Value, ...]] | None:
    """What one node multiplies: a number and values; None where it does not multiply."""
    split = _with_number(graph, node)
    match node.op, split:
        case ops.Mul(activation=None), None:
            return 1.0, node.inputs
        case ops.Mul(activation=None), (operand, number):
            return number, (operand,)
        case ops.Div(activation=None), (operand, number) if operand is node.inputs[0] and number:
            return 1 / number, (operand,)
        case ops.Pow(), (operand, 2.0 | 3.0 as power) if operand is node.inputs[0]:
            return 1.0, (operand,) * int(power)
        case _:
            return None


def _product_form(graph: Graph, root: Node) -> _Match | None:
    """An activation that is a product of its operand and a gate, or a scaled clamp."""
    product = _product(graph, root)
    match product:
        case _Product(coefficient, (gate,), parts):
            found = _ramp(graph, gate, coefficient)
        case _Product(coefficient, (one, other), parts):
            found = _gated(graph, one, other, coefficient) or _gated(graph, other, one, coefficient)
        case _:
            return None
    if found is None:
        return None
    whole = {*parts, *found.parts}
    if any(_escapes(graph, part, whole | {root}) for part in whole):
        return None
    return replace(found, parts=tuple(whole))


def _escapes(graph: Graph, part: Node, whole: set[Node]) -> bool:
    """Whether something outside of a formula reads what a part of it makes."""
    (output,) = part.outputs
    return output in graph.outputs or not whole.issuperset(readers(graph)[output])


def _ramp(graph: Graph, clamped: Value, coefficient: float) -> _Match | None:
    """clip(x + shift, 0, top) / top, which is HardSigmoid."""
    clamp = producers(graph).get(clamped)
    interval = None if clamp is None else _interval(graph, clamp)
    match interval:
        case (operand, 0.0, top) if clamp is not None and _is_close(coefficient * top, 1.0):
            add = producers(graph).get(operand)
            split = _with_number(graph, add) if add and _is_plain_add(add) else None
            if add is None or split is None:
                return None
            x, shift = split
            return _Match(_hard_sigmoid(coefficient, shift * coefficient), x, (clamp, add))
        case _:
            return None


def _gated(graph: Graph, x: Value, gate: Value, coefficient: float) -> _Match | None:
    """The activation that is coefficient * x * gate(x)."""
    maker = producers(graph).get(gate)
    if maker is None:
        return None
    plain = coefficient == 1
    match maker.op:
        case ops.Sigmoid() if plain and maker.inputs == (x,):
            return _Match(ops.Silu(), x, (maker,))
        case ops.HardSigmoid(alpha, beta) if plain and maker.inputs == (x,):
            is_swish = _hard_sigmoid(alpha, beta) == ops.HardSigmoid()
            return _Match(ops.HardSwish(), x, (maker,)) if is_swish else None
        case ops.Relu6():
            ramp = _ramp(graph, gate, coefficient)
            is_swish = ramp is not None and ramp.operand is x and ramp.op == ops.HardSigmoid()
            return replace(ramp, op=ops.HardSwish()) if ramp and is_swish else None
        case ops.Add() if _is_close(coefficient, 0.5) and _is_plain_add(maker):
            return _gelu(graph, x, maker)
        case _:
            return None


def _hard_sigmoid(alpha: float, beta: float) -> ops.HardSigmoid:
    """The operator; its very defaults where they are as good as meant."""
    exact = ops.HardSigmoid()
    near = _is_close(alpha, exact.alpha) and _is_close(beta, exact.beta)
    return exact if near else ops.HardSigmoid(alpha, beta)


def _gelu(graph: Graph, x: Value, gate: Node) -> _Match | None:
    """Gelu, whose gate is 1 + erf(x / sqrt(2)) or 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    split = _with_number(graph, gate)
    curve = producers(graph).get(split[0]) if split else None
    if split is None or curve is None or split[1] != 1:
        return None
    argument = _factored(graph, curve.inputs[0])
    match curve.op:
        case ops.Erf() if _is_monomial(argument, math.sqrt(0.5), x, 1):
            return _Match(ops.Gelu(), x, (gate, curve, *argument.parts))
        case ops.Tanh() if _is_close(argument.coefficient, math.sqrt(2 / math.pi)):
            parts = _cubic(graph, argument, x)
            whole = (gate, curve, *argument.parts)
            return None if parts is None else _Match(ops.Gelu(True), x, (*whole, *parts))
        case _:
            return None


def _cubic(graph: Graph, product: _Product, x: Value) -> tuple[Node, ...] | None:
    """The nodes that compute the product's only factor, if it is x + 0.044715 x^3; else None."""
    sums = [producers(graph).get(factor) for factor in product.factors]
    match sums:
        case [Node(op=ops.Add(activation=None), inputs=(one, other)) as add] if x in (one, other):
            cube = _factored(graph, other if one is x else one)
            parts = (add, *cube.parts)
            return parts if _is_monomial(cube, 0.044715, x, 3) else None
        case _:
            return None


def _is_monomial(product: _Product, coefficient: float, x: Value, power: int) -> bool:
    """Whether the product is coefficient * x^power."""
    return _is_close(product.coefficient, coefficient) and product.factors == (x,) * power


def _factored(graph: Graph, value: Value) -> _Product:
    """The value as a product; of itself alone where nothing multiplies."""
    maker = producers(graph).get(value)
    product = _product(graph, maker) if maker else None
    if maker is None or product is None:
        return _Product(1.0, (value,), ())
    return replace(product, parts=(maker, *product.parts))


def _with_number(graph: Graph, node: Node) -> tuple[Value, float] | None:
    """The operand of the output's type, and the number that is the other; None without one."""
    match node.inputs:
        case (one, other):
            pass
        case _:
            return None
    for operand, constant in ((one, other), (other, one)):
        array = graph.constants.get(constant)
        if array is not None and held(array).size == 1 and operand.type == node.output.type:
            return operand, float(held(array).reshape(()))
    return None


def _is_plain_add(node: Node) -> bool:
    return isinstance(node.op, ops.Add) and node.op.activation is None


def _is_close(number: float, wanted: float) -> bool:
    return math.isclose(number, wanted, rel_tol=CLOSE)
