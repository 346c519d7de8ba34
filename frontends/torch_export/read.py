"""From a PyTorch module or an exported program to a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from irprune.frontends.lowering import Unsupported
from irprune.frontends.torch_export import (  # noqa: F401 (each enters its lowerings in the table)
    arithmetic,
    attention,
    convolution,
    dense,
    normalization,
    padding,
    pointwise,
    pool,
    recurrent,
    reduction,
    resize,
    selection,
    shape,
)
from irprune.frontends.torch_export.call import LOWERINGS, Call, Result
from irprune.frontends.torch_export.constants import DTYPES, Constants, dtype_of
from irprune.frontends.torch_export.exporting import export
from irprune.frontends.torch_export.foreign import foreign_code
from irprune.frontends.torch_export.nodes import (
    examples,
    is_deterministic,
    is_getitem,
    origin_of,
    schema_of,
)
from irprune.frontends.torch_export.program import Program, prepare
from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, IrpruneError, UnsupportedOp, UsageError
from irprune.ir.graph import Graph, Source, Value
from irprune.ir.types import MAX_ELEMENTS, DType, TensorType


def read_torch(
    model: torch.nn.Module | ExportedProgram, example_inputs: tuple[object, ...] | None = None
) -> Graph:
    """The graph of a PyTorch model at inference, in NCHW layout.

    Args:
        model: a module, exported here in evaluation mode and otherwise left as it is, or a program
            exported from a module in evaluation mode, in training IR or decomposed.
        example_inputs: the arguments of a module's ``forward``; their shapes and element types
            become the graph's. None for a program, which has its own.

    Returns:
        The graph. Its constants are views of the model's tensors, named by module path, and one
        value where they are tied. Nodes have the module's class and path as source. Nested inputs
        and outputs come flat, in torch's order, without what is no tensor.

    Raises:
        UsageError: the model is neither; inputs are missing or symbolic.
        InvalidModel: torch.export fails on the module.
        UnsupportedOp: operators (all of them are named) have no lowering, or not in that form.
        InvalidType: an element type is none of the IR's.
    """
    if isinstance(model, ExportedProgram):
        if example_inputs is not None:
            raise UsageError("an exported program has its own inputs", hint="pass none")
        return _Reader(prepare(model)).read()
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"a {type(model).__name__} is neither an nn.Module nor an ExportedProgram")
    if not isinstance(example_inputs, tuple):
        raise UsageError(
            "a module needs example inputs",
            where=type(model).__name__,
            hint="pass the arguments of its forward as a tuple",
        )
    return _Reader(prepare(export(model, example_inputs), type(model).__name__)).read()


@dataclass(frozen=True)
class Traced:
    """A module's graph, and where its constants come from.

    Attributes:
        graph: the graph.
        tensors: of each parameter and buffer, by its path, the numbers of its elements in its own
            shape; tied ones have the same.
        elements: of each constant of the graph that is made of those, their numbers in its shape.
        program: the operators of torch that the graph was read from.
        values: of each operator and input of the program that is one value of the graph, which.
    """

    graph: Graph
    tensors: Mapping[str, torch.Tensor]
    elements: Mapping[Value, torch.Tensor]
    program: Program
    values: Mapping[fx.Node, Value]

    @property
    def size(self) -> int:
        """Above the number of every element."""
        return 1 + max((int(numbers.max()) for numbers in self.tensors.values()), default=-1)


def trace(module: torch.nn.Module, example_inputs: tuple[object, ...]) -> Traced:
    """A module's graph (``read_torch``), and which elements of its tensors are in which constant.

    Raises:
        UsageError, InvalidModel, UnsupportedOp, InvalidType: as ``read_torch`` does.
    """
    reader = _Reader(prepare(export(module, example_inputs), type(module).__name__))
    graph = reader.read()
    named: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    named |= dict(module.named_buffers(remove_duplicate=False))
    number = _Numbers(named.values())
    tensors = {path: n for path, t in named.items() if (n := number(t)) is not None}
    elements = reader.constants.elements(number)
    return Traced(graph, tensors, elements, reader.program, reader.values)


class _Numbers:
    """Numbers the elements of tensors by where they lie in memory."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._first: dict[int, int] = {}
        count = 0
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._first:
                self._first[storage.data_ptr()] = count
                count += storage.nbytes() // tensor.element_size()

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The numbers of a tensor's elements; None where it lies elsewhere."""
        storage = tensor.untyped_storage()
        first = self._first.get(storage.data_ptr())
        if first is None or not tensor.numel():
            return None
        whole = torch.arange(first, first + storage.nbytes() // tensor.element_size())
        return whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


class _Reader:
    """Walks the nodes of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._name = program.name
        self._builder = Builder(self._name)
        self.constants = Constants(self._builder)
        self._operands: dict[fx.Node, Result] = {}
        self._unsupported = Unsupported()
        self._refused: set[str] = set()

    def read(self) -> Graph:
        """The graph."""
        try:
            self._read_placeholders()
            for node in self.program.graph.nodes:
                if node.op == "call_function":
                    self._operands[node] = self._read_node(node)
            self._unsupported.raise_if_any(self._name)
            return self._builder.finish([self._output(n) for n in self.program.outputs])
        except IrpruneError as error:
            raise error.at(self._name) from error.__cause__

    @property
    def values(self) -> Mapping[fx.Node, Value]:
        """What the program's nodes have become, where that is one value."""
        return {node: made for node, made in self._operands.items() if isinstance(made, Value)}

    def _read_placeholders(self) -> None:
        for path, tensor in self.program.tensors.items():
            self.constants.register(path, tensor)
        for node, path in self.program.constants.items():
            self._operands[node] = self.program.tensors[path]
        for node in self.program.inputs:
            (example,) = examples(node)
            dtype = dtype_of(example.dtype)
            self._operands[node] = self._builder.input(
                str(node.target), tuple(example.shape), dtype
            )

    def _read_node(self, node: fx.Node) -> Result:
        """What the node makes; after something unsupported, stand-ins, to find all of a model's."""
        source = self._source(node)
        try:
            return self._lowered(node, source)
        except UnsupportedOp as error:
            self._refuse(node, source, error.what)
        except IrpruneError as error:
            self._unsupported.raise_if_any(self._name)
            raise error.at(str(source)) from None
        return _stand_in(node)

    def _refuse(self, node: fx.Node, source: Source, what: str) -> None:
        """Note what has no lowering, once for all the parts that torch decomposed it into."""
        name, operator = origin_of(node)
        if name not in self._refused:
            whole = "" if operator == str(node.target) else f", a part of {operator}"
            self._unsupported.add(source, f"{what}{whole}")
        self._refused.add(name)

    def _lowered(self, node: fx.Node, source: Source) -> Result:
        schema = schema_of(node)
        if schema is None and not is_getitem(node):  # such as control flow, whose operands are code
            raise UnsupportedOp(f"no lowering for {node.target}")
        inputs = [self._operands[n] for n in node.all_input_nodes]
        if any(x is None for x in inputs):
            return _stand_in(node)
        args = [self._resolved(argument) for argument in node.args]
        kwargs = {name: self._resolved(argument) for name, argument in node.kwargs.items()}
        if schema is None:
            return _part(node, args[0], args[1])
        if is_deterministic(node) and not any(map(_is_computed, inputs)):
            return _folded(node, args, kwargs)
        lowering = LOWERINGS.get(str(node.target))
        if lowering is None:
            raise UnsupportedOp(f"no lowering for {node.target}")
        bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        bound |= dict(zip((a.name for a in schema.arguments), args, strict=False))
        name = self._node_name(node)
        call = Call(self._builder, self.constants, node, self._operands, name, source)
        return _checked(node, lowering(call, **(bound | kwargs)))

    def _resolved(self, argument: object) -> Any:
        """An argument of a node with operands in place of nodes."""
        if isinstance(argument, fx.Node):
            return self._operands[argument]
        if isinstance(argument, list | tuple):
            return [self._resolved(part) for part in argument]
        return argument

    def _source(self, node: fx.Node) -> Source:
        """The model's class, and the path of the module that called the operator."""
        return Source(self._name, _module_of(node)[0] or origin_of(node)[0])

    def _node_name(self, node: fx.Node) -> str:
        """The path of a layer of torch.nn; elsewhere the operator's name after its module's."""
        path, kind = _module_of(node)
        if path and kind.startswith("torch.nn.modules."):
            return path
        operator = str(node.target).split(".")[1].strip("_")
        return f"{path}.{operator}" if path else operator

    def _output(self, node: fx.Node) -> Value:
        operand = self._operands[node]
        if isinstance(operand, torch.Tensor):
            return self.constants.value(operand, node.name)
        assert isinstance(operand, Value)
        return operand


def _module_of(node: fx.Node) -> tuple[str, str]:
    """Path and dotted class of the innermost module that the node comes from."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return "", ""
    path, kind = stack[-1]
    return path, f"{kind.__module__}.{kind.__name__}" if isinstance(kind, type) else str(kind)


def _is_computed(operand: Result) -> bool:
    """Whether anything but constant tensors is in the operand."""
    if isinstance(operand, tuple):
        return any(map(_is_computed, operand))
    return not isinstance(operand, torch.Tensor)


def _part(node: fx.Node, whole: Result, index: int) -> Result:
    """One of several outputs."""
    part = whole[index] if isinstance(whole, tuple) else None
    if part is None:
        (operator,) = node.all_input_nodes
        raise UnsupportedOp(f"output {index} of {operator.target} is read, and has no lowering")
    return part


def _folded(node: fx.Node, args: Sequence[object], kwargs: Mapping[str, object]) -> Result:
    """What an operator of constants makes, computed by torch itself."""
    for example in examples(node):
        if example.numel() > MAX_ELEMENTS:
            raise InvalidModel(f"a constant of {example.numel()} elements")
    # A constant may lie otherwise in memory than torch foresaw, and then cannot be viewed so.
    viewed = node.target is torch.ops.aten.view.default
    target = torch.ops.aten.reshape.default if viewed else node.target
    assert callable(target)
    with torch.no_grad(), foreign_code(f"{node.target} of constants fails"):
        made = target(*args, **kwargs)
    if "empty" in str(node.target):
        # Never read before it is written, or torch's own result would be undefined.
        return torch.zeros_like(made)
    return tuple(made) if isinstance(made, list | tuple) else made


def _checked(node: fx.Node, result: Result) -> Result:
    """The result of a lowering, if its types are those that torch inferred."""
    operands = result if isinstance(result, tuple) else (result,)
    for operand, example in zip(operands, examples(node), strict=False):
        wanted = TensorType(tuple(example.shape), dtype_of(example.dtype))
        if isinstance(operand, Value) and operand.type != wanted:
            raise InvalidModel(f"{node.target} makes {operand.type} here, not {wanted}")
    return result


def _stand_in(node: fx.Node) -> Result:
    """Values of the shapes that the node makes, to go on with after an error; None for a number."""
    parts = tuple(
        Value(node.name, TensorType(tuple(e.shape), DTYPES.get(e.dtype, DType.F32)))
        for e in examples(node)
    )
    if isinstance(node.meta.get("val"), tuple | list):
        return parts
    return parts[0] if parts else None
