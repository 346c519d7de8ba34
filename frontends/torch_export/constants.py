"""Constant tensors as values of a graph: named by module path, shared where tied, never copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from irprune.ir.build import Builder
from irprune.ir.errors import InvalidModel, InvalidType
from irprune.ir.graph import Value
from irprune.ir.types import DType

DTYPES = {
    torch.float16: DType.F16,
    torch.float32: DType.F32,
    torch.float64: DType.F64,
    torch.int8: DType.I8,
    torch.int16: DType.I16,
    torch.int32: DType.I32,
    torch.int64: DType.I64,
    torch.uint8: DType.U8,
    torch.uint16: DType.U16,
    torch.uint32: DType.U32,
    torch.uint64: DType.U64,
    torch.bool: DType.BOOL,
}


def dtype_of(dtype: torch.dtype) -> DType:
    """The IR's name of a torch element type; InvalidType where it has none."""
    found = DTYPES.get(dtype)
    if found is None:
        raise InvalidType(
            f"element type {dtype} is not supported",
            hint="convert the module with .float() first" if dtype.is_floating_point else "",
        )
    return found


def expect_plain(path: str, tensor: torch.Tensor, model: str) -> None:
    """Raise InvalidModel unless the tensor has its elements in memory, one after another."""
    if tensor.is_meta:
        kind = "on the meta device"
    elif tensor.layout is not torch.strided:
        kind = str(tensor.layout)
    elif tensor.is_quantized or type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        kind = f"a {'quantized' if tensor.is_quantized else type(tensor).__name__}"
    else:
        return
    raise InvalidModel(f"'{path}' has no plain data: it is {kind}", where=model)


_Place = tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype]


Make = Callable[[Sequence[torch.Tensor]], torch.Tensor]
Elements = Mapping[Value, torch.Tensor]


class Constants:
    """Makes constant tensors values of a graph.

    Args:
        builder: the graph's builder.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._names: dict[int, str] = {}
        # The tensor is kept beside its value: were it freed, another could get its address.
        self._values: dict[_Place, tuple[torch.Tensor, Value]] = {}
        self._derived: dict[tuple[_Place, ...], torch.Tensor] = {}
        self._made: dict[_Place, tuple[Make, Sequence[torch.Tensor]]] = {}

    def register(self, name: str, tensor: torch.Tensor) -> None:
        """Let the tensor, and every view of it, be known by this name; the first name stays."""
        if tensor.numel():
            self._names.setdefault(tensor.data_ptr(), name)

    def name_of(self, tensor: torch.Tensor) -> str:
        """The name of the tensor or of what it is a view of; empty where it has none."""
        exact = self._names.get(tensor.data_ptr(), "")
        return exact or self._names.get(tensor.untyped_storage().data_ptr(), "")

    def value(self, tensor: torch.Tensor, name: str) -> Value:
        """The value of a tensor, the same for every tensor that lies on the same memory.

        Args:
            tensor: any tensor with data; the value's array is a view of it.
            name: the value's name where the tensor is no parameter or buffer.
        """
        dtype_of(tensor.dtype)
        place = _place(tensor)
        if place not in self._values:
            array = tensor.detach().cpu().numpy()
            value = self._builder.constant(self.name_of(tensor) or name, array)
            self._values[place] = (tensor, value)
        return self._values[place][1]

    def derived(
        self,
        make: Make,
        parts: Sequence[torch.Tensor],
        name: str,
    ) -> Value:
        """The value of what ``make`` computes from tensors, the same for the same tensors.

        Args:
            make: moves the elements of tensors to one; always the same function for the same.
            parts: tensors with data.
            name: the value's name where the first of them has none.
        """
        places = tuple(map(_place, parts))
        if places not in self._derived:
            self._derived[places] = make(parts)
            self._made[_place(self._derived[places])] = (make, parts)
        return self.value(self._derived[places], self.name_of(parts[0]) or name)

    def elements(self, numbers: Callable[[torch.Tensor], torch.Tensor | None]) -> Elements:
        """Of each value that consists of elements of known tensors, their numbers.

        Args:
            numbers: for a tensor the numbers of its elements, in its shape; None for an unknown.
        """
        found = {}
        for place, (tensor, value) in self._values.items():
            make, parts = self._made.get(place, (None, (tensor,)))
            known = [n for n in map(numbers, parts) if n is not None]
            if len(known) == len(parts):
                found[value] = make(known) if make is not None else known[0]
        return found


def _place(tensor: torch.Tensor) -> _Place:
    """Where in memory the tensor lies, and how."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
