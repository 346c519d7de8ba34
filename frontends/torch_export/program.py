"""From an exported program to a pure graph of operators that the lowering table knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from irprune.frontends.lowering import Unsupported
from irprune.frontends.torch_export.call import LOWERINGS
from irprune.frontends.torch_export.constants import expect_plain
from irprune.frontends.torch_export.exporting import decompose
from irprune.frontends.torch_export.inplace import expect_stateless, make_pure
from irprune.frontends.torch_export.nodes import (
    drop_dead,
    examples,
    is_deterministic,
    is_getitem,
    schema_of,
)
from irprune.frontends.torch_export.recompose import recompose
from irprune.ir.errors import InvalidModel, UsageError
from irprune.ir.graph import Source

UNDECOMPOSED = {"aten.upsample_bicubic2d.vec"}
"""Operators that the IR has not, and whose parts would not cost what the operator does."""


@dataclass(frozen=True)
class Program:
    """An exported model whose operators change nothing in place.

    Attributes:
        name: the class of the model.
        graph: its operators; the placeholders are inputs and constants.
        inputs: the placeholders that the caller gives, in order.
        constants: the other placeholders, each with the path of its tensor.
        tensors: every parameter, buffer and literal tensor under its module path.
        results: of each output of the graph, what it is.
    """

    name: str
    graph: fx.Graph
    inputs: tuple[fx.Node, ...]
    constants: Mapping[fx.Node, str]
    tensors: Mapping[str, torch.Tensor]
    results: tuple[OutputKind, ...]

    @property
    def outputs(self) -> tuple[fx.Node, ...]:
        """The nodes whose tensors the caller gets, in order; what is no tensor is left out.

        Nor is what a model does to its caller's own tensors part of the function that a graph is.
        """
        results = self.graph.output_node().args[0]
        assert isinstance(results, tuple | list)
        return tuple(
            node
            for node, kind in zip(results, self.results, strict=True)
            if kind == OutputKind.USER_OUTPUT and isinstance(node, fx.Node) and examples(node)
        )


def prepare(exported: ExportedProgram, name: str = "") -> Program:
    """The program with in-place operators made pure and unknown ones decomposed by torch.

    Functionalizing costs more than exporting did, so torch is asked only where renaming does not
    suffice or an operator has no lowering.

    Args:
        exported: a program in any of torch's forms; it is not changed.
        name: the class of the model; what the program says of it where empty.

    Raises:
        UnsupportedOp: it changes its own parameters or buffers, or shares memory in a way that
            torch would get wrong.
        UsageError: its inputs have symbolic dimensions.
        InvalidModel: torch cannot decompose it, its tensors have no plain data, or nothing comes
            out of it.
    """
    program = _read(exported, name)
    if not (make_pure(program.graph, program.constants, program.name) and all(_known(program))):
        kept = {*LOWERINGS, *UNDECOMPOSED}
        program = _read(decompose(exported, kept, program.name), program.name)
    recompose(program.graph)
    if not program.outputs:
        raise InvalidModel("no output is a tensor", where=program.name)
    return program


def class_name(kind: object) -> str:
    """The bare name of a class, given as itself or as a dotted path."""
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def _read(exported: ExportedProgram, name: str) -> Program:
    """A copy of the program's graph without dead nodes, and what its signature binds."""
    name = name or _root_class(exported.graph) or "ExportedProgram"
    graph = fx.Graph()
    graph.output(graph.graph_copy(exported.graph, {}))
    drop_dead(graph)
    # Non-persistent buffers and literal tensors are kept apart from the state.
    everything = {**exported.state_dict, **exported.constants}
    tensors = {path: t for path, t in everything.items() if isinstance(t, torch.Tensor)}
    for path, tensor in tensors.items():
        expect_plain(path, tensor, name)
    inputs: list[fx.Node] = []
    constants: dict[fx.Node, str] = {}
    placeholders = graph.find_nodes(op="placeholder")
    for spec, node in zip(exported.graph_signature.input_specs, placeholders, strict=True):
        if spec.kind == InputKind.USER_INPUT:
            inputs += [node] if examples(node) else []
        elif spec.target is not None and spec.target in tensors:
            constants[node] = spec.target
        else:
            raise InvalidModel(f"'{spec.target or node.name}' is not a tensor", where=name)
    results = tuple(spec.kind for spec in exported.graph_signature.output_specs)
    program = Program(name, graph, tuple(inputs), constants, tensors, results)
    signature = exported.graph_signature
    expect_stateless(signature.parameters_to_mutate.values(), name)
    expect_stateless(signature.buffers_to_mutate.values(), name)
    _expect_static(program)
    return program


def _root_class(graph: fx.Graph) -> str:
    """The class of the module that was exported; empty where the graph does not say."""
    for node in graph.nodes:
        for path, kind in node.meta.get("nn_module_stack", {}).values():
            if path == "":
                return class_name(kind)
    return ""


def _expect_static(program: Program) -> None:
    """Raise where a shape is symbolic: an input's by request, another's because data decide it."""
    unsupported = Unsupported()
    for node in program.graph.nodes:
        shapes = [tuple(t.shape) for t in examples(node)]
        if all(isinstance(size, int) for shape in shapes for size in shape):
            continue
        if node in program.inputs:
            raise UsageError(
                f"input '{node.target}' has symbolic dimensions {'x'.join(map(str, shapes[0]))}",
                where=program.name,
                hint="export the module again without dynamic_shapes",
            )
        what = f"data decide the shape that {node.target} makes"
        unsupported.add(Source(program.name, node.name), what)
    unsupported.raise_if_any(program.name)


def _known(program: Program) -> Iterator[bool]:
    """For each operator whether it can stay: it has a lowering, or only constants go into it."""
    computed = set(program.inputs)
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if not computed.isdisjoint(node.all_input_nodes) or not is_deterministic(node):
            computed.add(node)
            yield str(node.target) in LOWERINGS or is_getitem(node)
        else:
            yield schema_of(node) is not None or is_getitem(node)
