"""From expressions to the messages of an ONNX file: nodes, initializers, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import GraphProto, helper

from irprune.backends.onnx.quantization import NUMBERS, real, stored
from irprune.backends.onnx.table import TABLE, versions
from irprune.backends.onnx.terms import Apply, Call, Constant, Operand, Part, Term, transpose
from irprune.frontends.onnx.schema import check_operands
from irprune.ir.errors import InvalidType, UnsupportedOp
from irprune.ir.graph import Graph, Node, Value, values
from irprune.ir.types import Array, DType, TensorType, type_of


class Emitter:
    """Writes the nodes of a graph one after the other.

    Values and nodes bear the names that they have in the graph; what comes between bears names
    made of these.

    Args:
        graph: the graph.
        message: where nodes and initializers are appended, in place: weights are large.
    """

    def __init__(self, graph: Graph, message: GraphProto) -> None:
        self._message = message
        self._graph = graph
        self._opset, _ = versions(graph)
        self._tensors = {value.name: value for value in values(graph)}
        self._taken = set(self._tensors)
        self._taken_by_nodes = {node.name for node in graph.nodes}
        self._constants: dict[object, str] = {}
        self._placed: set[Value] = set()
        self._forms: dict[Operand, str] = {}

    def constant(self, value: Value, perm: tuple[int, ...] = ()) -> str:
        """The name of a constant's initializer, which is the constant's for its first form."""
        key = value, perm
        if key not in self._constants:
            array = self._graph.constants[value]
            name = self._fresh(value.name) if value in self._placed else value.name
            self._placed.add(value)
            self._initialize(name, array.transpose(perm) if perm else array)
            self._constants[key] = name
        return self._constants[key]

    def write(self, node: Node) -> None:
        """Append what a node becomes.

        Raises:
            UnsupportedOp: ONNX has no operator for it, or none for its element types.
        """
        call = Call(node, reals=_computes_reals(node))
        made = TABLE[type(node.op)](call)
        results = made if isinstance(made, tuple) else (made,)
        if _computes_reals(node):
            results = tuple(
                stored(y, value.name, value.type) if value.type.quant is not None else y
                for y, value in zip(results, node.outputs, strict=True)
            )
        self._write(results, [value.name for value in node.outputs], node.name)

    def _write(self, results: Sequence[Term], outputs: Sequence[str], name: str) -> None:
        """Append the operators of an expression, each once.

        Args:
            results: its results.
            outputs: the names of these.
            name: the name of the node that makes the first; others are called after it.
        """
        names: dict[Apply, list[str]] = {}
        roots = [_root(result) for result in results]
        for (apply, index), output in zip(roots, outputs, strict=True):
            names.setdefault(apply, [""] * apply.outputs)[index] = output
        written: set[Apply] = set()

        def visit(term: Term | None) -> str:
            match term:
                case None:
                    return ""
                case Constant():
                    return self._small(term)
                case Operand():
                    return self._operand(term)
            apply, index = _root(term)
            if apply not in written:
                written.add(apply)
                operands = [visit(operand) for operand in apply.inputs]
                own = f"{name}.{apply.kind.lower()}"
                made = names.setdefault(apply, [""] * apply.outputs)
                made[:] = [output or self._fresh(own) for output in made]
                label = name if apply is roots[0][0] else _fresh(own, self._taken_by_nodes)
                self._append(apply, operands, made, label)
            return names[apply][index]

        for apply, index in roots:
            visit(Part(apply, index))

    def _append(
        self, apply: Apply, operands: Sequence[str], outputs: Sequence[str], name: str
    ) -> None:
        """Append one node, after a look at whether ONNX has it for operands of these types."""
        tensors = [self._tensors[operand] if operand else None for operand in operands]
        try:
            check_operands(apply.kind, "", self._opset, tensors)
        except InvalidType as error:
            raise UnsupportedOp(f"ONNX's {error.what}") from None
        message = helper.make_node(apply.kind, operands, outputs, name)
        given = ((key, value) for key, value in apply.attributes.items() if value is not None)
        message.attribute.extend(helper.make_attribute(key, value) for key, value in given)
        self._message.node.append(message)
        dtype = _made_by(apply, [value.type.dtype for value in tensors if value is not None])
        for output in outputs:
            self._tensors.setdefault(output, Value(output, TensorType((), dtype)))

    def _operand(self, operand: Operand) -> str:
        """The name of an operand in the form that is wanted, which is made where it is new."""
        value = operand.value
        if operand.quant is None and value in self._graph.constants:
            return self.constant(value, operand.perm)
        if operand == Operand(value):
            return value.name
        if operand not in self._forms:
            self._forms[operand] = self._formed(operand)
        return self._forms[operand]

    def _formed(self, operand: Operand) -> str:
        value, quant, perm = operand.value, operand.quant, operand.perm
        if quant is None or (perm and value in self._graph.inputs):
            # What the integers of an input stand for is known only where they are read.
            y, name = transpose(Operand(value, quant), perm), f"{value.name}.transposed"
        else:
            shape, axis = value.type.shape, quant.axis
            if perm:
                shape = tuple(shape[old] for old in perm)
                axis = None if axis is None else perm.index(axis)
            t = TensorType(shape, value.type.dtype, replace(quant, axis=axis))
            y, name = real(Operand(value, perm=perm), value.name, t), f"{value.name}.real"
        name = self._fresh(name)
        self._write([y], [name], _fresh(name, self._taken_by_nodes))
        return name

    def _small(self, constant: Constant) -> str:
        """The name of a constant that is not in the graph; the same for the same contents."""
        array = constant.array
        key = constant.name, array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self._fresh(constant.name)
            self._initialize(self._constants[key], array)
        return self._constants[key]

    def _fresh(self, name: str) -> str:
        return _fresh(name, self._taken)

    def _initialize(self, name: str, array: Array) -> None:
        stored = array.dtype.newbyteorder("<")
        self._message.initializer.add(
            name=name,
            data_type=NUMBERS[DType.of(array.dtype)],
            dims=array.shape,
            raw_data=array.astype(stored, copy=False).tobytes(),
        )
        self._tensors[name] = Value(name, type_of(array))


def _root(term: Term) -> tuple[Apply, int]:
    """The operator that makes a result, and which of its outputs it is."""
    match term:
        case Apply():
            return term, 0
        case Part():
            return term.of, term.index
    return Apply("Identity", (term,)), 0


def _computes_reals(node: Node) -> bool:
    """Whether the node is written on the reals that its integers stand for.

    What only moves integers, or says what they stand for, is written on the integers.
    """
    declared = [value.type.quant is not None for value in (*node.inputs, *node.outputs)]
    return all(declared) if node.op.keeps_quantization else any(declared)


def _made_by(apply: Apply, dtypes: Sequence[DType]) -> DType:
    """The element type of an operator's outputs."""
    match apply.kind, dtypes:
        case "QuantizeLinear", (_, _, zero_point):
            return zero_point
        case "DequantizeLinear", (_, scale, *_):
            return scale
        case "Cast", _:
            return next(t for t, number in NUMBERS.items() if number == apply.attributes["to"])
    return dtypes[0]


def _fresh(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken; taken from now on."""
    found, count = name, 0
    while found in taken:
        count += 1
        found = f"{name}.{count}"
    taken.add(found)
    return found
