"""The lowering table, and what a lowering gets: one operator call of an exported program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import fx

from irprune.frontends.torch_export.constants import Constants, dtype_of
from irprune.frontends.torch_export.nodes import examples
from irprune.ir.build import Builder
from irprune.ir.errors import UnsupportedOp
from irprune.ir.graph import Source, Value
from irprune.ir.op import Op
from irprune.ir.types import DType, Shape

Operand = Value | torch.Tensor
"""A tensor that an operator takes: a value of the graph, or a constant that is not one yet."""
Number = int | float
Result = Operand | None | tuple[Operand | None, ...]
"""What a lowering returns: an operand for each output, None for one that it does not make."""

LOWERINGS: dict[str, Callable[..., Result]] = {}
"""How each operator is lowered, by the name of its overload.

A lowering takes a Call, then every argument of the operator's schema under the schema's name, so
that no argument is ever overlooked.
"""

F = TypeVar("F", bound=Callable[..., Result])


def lower(*names: str) -> Callable[[F], F]:
    """Enter a function in the table as the lowering of these overloads."""

    def enter(function: F) -> F:
        for name in names:
            LOWERINGS[name] = function
        return function

    return enter


class Call:
    """One operator call that is being lowered.

    Args:
        builder: where the nodes are added.
        constants: where constant tensors become values.
        node: the call in the exported program.
        operands: what the nodes of the program before it have become.
        name: the name of the IR nodes it becomes.
        source: where it came from.

    Attributes:
        results: an example of each output, of the right shape and element type.
    """

    def __init__(
        self,
        builder: Builder,
        constants: Constants,
        node: fx.Node,
        operands: Mapping[fx.Node, Result],
        name: str,
        source: Source,
    ) -> None:
        self.builder = builder
        self.name = name
        self.source = source
        self.results = examples(node)
        self._constants = constants
        self._node = node
        self._operands = operands

    @property
    def shape(self) -> Shape:
        """The shape of the (first) output."""
        return tuple(self.results[0].shape)

    @property
    def element(self) -> torch.dtype:
        """The element type of the (first) output."""
        return self.results[0].dtype

    @property
    def dtype(self) -> DType:
        """The IR's name for the element type of the (first) output."""
        return dtype_of(self.element)

    def require(self, condition: bool, that: str) -> None:
        """Raise UnsupportedOp, of an operator ``that`` does so, unless the condition holds."""
        if not condition:
            raise UnsupportedOp(f"no lowering for {self._node.target} that {that}")

    def value(self, x: Operand, role: str = "constant") -> Value:
        """The operand as a value; a tensor that is no parameter is named after its role."""
        return x if isinstance(x, Value) else self._constants.value(x, f"{self.name}.{role}")

    def same(self, x: Operand | Number) -> Value:
        """The operand as a value of the output's element type, as torch's promotion makes it.

        Raises:
            UnsupportedOp: it is computed in another type; the IR casts nothing.
        """
        if isinstance(x, Value):
            self.require(x.type.dtype == self.dtype, f"casts {x.type.dtype.value} on the way")
            return x
        if isinstance(x, torch.Tensor):
            return self.value(x.to(self.element))
        return self.value(torch.tensor(x, dtype=self.element), "scalar")

    def add(self, op: Op, *inputs: Operand) -> Value:
        """The output of a new node with one output."""
        values = [self.value(x) for x in inputs]
        values = [self.value(x) for x in inputs]
        return self.builder.add(op, *values, name=self.name, source=self.source)

    def add_node(self, op: Op, *inputs: Operand) -> tuple[Value, ...]:
        """The outputs of a new node."""
        values = [self.value(x) for x in inputs]
        values = [self.value(x) for x in inputs]
        return self.builder.add_node(op, values, name=self.name, source=self.source)

    def derived(
        self, make: Callable[[Sequence[torch.Tensor]], torch.Tensor], parts: Sequence[torch.Tensor]
    ) -> Value:
        """The value of what ``make`` computes from constants, named after the first of them."""
        return self._constants.derived(make, parts, self.name)

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """What torch's own operator makes of another first operand, all else the same."""
        assert callable(self._node.target)
        made: torch.Tensor = self._node.target(x, *self._node.args[1:], **self._node.kwargs)
        return made

    def constants_added_to(self, argument: int) -> tuple[torch.Tensor, ...]:
        """The constant terms, where the argument at this position is computed as a sum."""
        term = self._node.args[argument]
        if not isinstance(term, fx.Node) or str(term.target) != "aten.add.Tensor":
            return ()
        found = (self._operands.get(node) for node in term.all_input_nodes)
        return tuple(x for x in found if isinstance(x, torch.Tensor))


def shape_of(x: Operand) -> Shape:
    """The operand's shape."""
    return x.type.shape if isinstance(x, Value) else tuple(x.shape)


def axis_of(axis: int, x: Operand) -> int:
    """An axis of the operand, counted from the front."""
    return axis % max(len(shape_of(x)), 1)


def axes_of(axes: Sequence[int] | int | None, x: Operand) -> tuple[int, ...]:
    """Axes of the operand, counted from the front; all of them where none is named."""
    named = (axes,) if isinstance(axes, int) else tuple(axes or ())
    return tuple(axis_of(a, x) for a in named) or tuple(range(len(shape_of(x))))
