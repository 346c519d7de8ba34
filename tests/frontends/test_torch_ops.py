from __future__ import annotations

import functools
import inspect

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from irprune.frontends.torch_export import read_torch
from irprune.frontends.torch_export.call import LOWERINGS
from irprune.frontends.torch_export.exporting import decompose, export
from irprune.frontends.torch_export.inplace import UNDECLARED_VIEWS
from irprune.frontends.torch_export.nodes import schema_of
from tests.torch_cases.elements import ELEMENTS
from tests.torch_cases.layers import LAYERS
from tests.torch_cases.shapes import SHAPES
from tests.torch_models import Function, assert_computes, eager, randomize

POSITIVE = {"rsqrt", "sqrt", "pow_tensor", "pow_fraction"}
CASES = LAYERS | ELEMENTS | SHAPES


def module_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = CASES[name][0]
    return randomize(model) if isinstance(model, nn.Module) else Function(model)


def inputs_of(name: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    inputs = (torch.randn(shape, generator=generator) for shape in CASES[name][1])
    return tuple(x.abs() + 0.1 if name in POSITIVE else x for x in inputs)


@functools.cache
def forms(name: str) -> tuple[ExportedProgram, ExportedProgram]:
    """A case's program in training IR and in core ATen."""
    exported = export(module_of(name), inputs_of(name))
    return exported, decompose(exported, (), name)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_both_forms_compute_what_the_module_computes(name: str) -> None:
    inputs = inputs_of(name)
    wanted = eager(module_of(name), inputs)
    for program in forms(name):
        assert_computes(read_torch(program), inputs, wanted)


def test_every_lowering_is_run_by_a_case() -> None:
    run = {
        str(node.target)
        for name in CASES
        for program in forms(name)
        for node in program.graph.nodes
    }
    assert sorted(set(LOWERINGS) - run) == []


class Shared(fx.Interpreter):
    """Runs a program and notes the operators that share memory without declaring it."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self.undeclared: set[str] = set()

    def run_node(self, n: fx.Node) -> object:
        result: object = super().run_node(n)
        schema = schema_of(n)
        if schema is not None and not any(a.alias_info for a in schema.arguments):
            operands = [self.env[operand] for operand in n.all_input_nodes]
            if storages(result) & storages(operands):
                self.undeclared.add(str(n.target))
        return result


def storages(tensors: object) -> set[int]:
    leaves = torch.utils._pytree.tree_leaves(tensors)
    return {x.untyped_storage().data_ptr() for x in leaves if isinstance(x, Tensor) and x.numel()}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_no_other_lowered_operator_shares_memory_without_declaring_it() -> None:
    undeclared: set[str] = set()
    for name in CASES:
        for program in forms(name):
            tensors = {**program.state_dict, **program.constants}
            inputs = iter(inputs_of(name))
            bound = [
                next(inputs) if spec.kind == InputKind.USER_INPUT else tensors[spec.target or ""]
                for spec in program.graph_signature.input_specs
            ]
            interpreter = Shared(program)
            with torch.no_grad():
                interpreter.run(*bound)
            undeclared |= interpreter.undeclared
    assert undeclared & set(LOWERINGS) == UNDECLARED_VIEWS


@pytest.mark.parametrize("name", LOWERINGS)
def test_a_lowering_takes_every_argument_of_the_operators_schema(name: str) -> None:
    namespace, packet, overload = name.split(".")
    operator = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    arguments = {argument.name: None for argument in operator._schema.arguments}
    inspect.signature(LOWERINGS[name]).bind(None, **arguments)
