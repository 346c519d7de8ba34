"""What an operator is: one frozen dataclass that holds all the rules about itself.

A new operator is one class, decorated with ``@op``, in one file of ``irprune/ir/ops``; nothing
else has to know it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np

from irprune.ir.channels import Axes, Kept, Ties
from irprune.ir.errors import InvalidType
from irprune.ir.types import Array, DType, Shape, TensorType, dims

Dims = Sequence[Any]
"""A shape whose dimensions are ints, numpy arrays or torch tensors: costs are plain arithmetic."""

OPS: dict[str, type[Op]] = {}
"""Every operator class by its name; the text form reads it."""


@dataclass(frozen=True)
class Op(ABC):
    """Base of all operators. Attributes are dataclass fields; operands come from the node.

    Class attributes:
        linear: it multiplies activations by weights (what other tools count as MACs).
        keeps_quantization: the stored integers may be moved or compared without knowing the
            scale, so the same arithmetic serves floats and integers and the output has the
            quantization of the first operand.
    """

    linear: ClassVar[bool] = False
    keeps_quantization: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Let ``evaluate`` overflow and divide by zero in silence, as every runtime does.

        Infinities and NaN are results like others; numpy would warn of them.
        """
        silent = np.errstate(divide="ignore", over="ignore", invalid="ignore")
        for name in {"evaluate"} & vars(cls).keys():
            setattr(cls, name, silent(vars(cls)[name]))

    @abstractmethod
    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """Output types from operand types; InvalidType where the operands do not fit.

        The quantization of an output is the node's to declare, except where
        ``keeps_quantization`` or an attribute settles it.
        """

    @abstractmethod
    def macs(self, inputs: Sequence[Dims], outputs: Sequence[Dims]) -> Any:
        """Multiply-accumulates in the convention of docs/design.md §4, for operand shapes."""

    @abstractmethod
    def evaluate(self, args: Sequence[Array]) -> tuple[Array, ...]:
        """Outputs for operand arrays, in plain numpy: the definition of what the op means."""

    def evaluate_quantized(
        self, args: Sequence[Array], inputs: Sequence[TensorType], outputs: Sequence[TensorType]
    ) -> tuple[Array, ...]:
        """Outputs for quantized integer operands, bit for bit as TFLite-Micro's reference."""
        if self.keeps_quantization:
            return self.evaluate(args)
        raise InvalidType(f"{type(self).__name__} has no integer arithmetic")

    @abstractmethod
    def channels(
        self, ties: Ties, inputs: Sequence[Axes], outputs: Sequence[Shape]
    ) -> tuple[Axes, ...]:
        """The channel ids of the outputs, of these shapes, for those of the operands.

        What must live and die together is tied, what must stay is frozen (``irprune.ir.channels``).
        """

    def cut(self, inputs: Sequence[Kept], outputs: Sequence[Kept]) -> Op:
        """The operator for what is left of its operands and outputs."""
        return self

    @property
    def bias(self) -> int | None:
        """The operand that is stored as a 32-bit integer in an int8 model; None for none."""
        return None

    def alias(self) -> int | None:
        """The operand whose memory the (only) output shares without copying; None for none."""
        return None

    def overwrites(self) -> bool:
        """Whether the output may be written over an operand of its size that nobody reads later."""
        return False


class Activated(Op):
    """An operator that can apply an element-wise activation to its output on the way out."""

    activation: Op | None

    def activated(self, y: Array) -> tuple[Array]:
        """``y`` after the fused activation."""
        return (y,) if self.activation is None else (self.activation.evaluate((y,))[0],)


T = TypeVar("T", bound=type[Op])


@dataclass_transform(frozen_default=True)
def op(cls: T) -> T:
    """Make an operator class a frozen dataclass and enter it in the registry."""
    OPS[cls.__name__] = cls
    dataclass(frozen=True)(cls)
    return cls


def expect(condition: bool, what: str) -> None:
    """Raise InvalidType(what) unless the condition holds."""
    if not condition:
        raise InvalidType(what)


def expect_operands(inputs: Sequence[object], least: int, most: int | None = None) -> None:
    """Raise InvalidType unless there are between ``least`` and ``most`` operands."""
    most = least if most is None else most
    if not least <= len(inputs) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise InvalidType(f"takes {wanted} operands, not {len(inputs)}")


def expect_rank(t: TensorType, rank: int) -> None:
    """Raise InvalidType unless the operand has this rank."""
    expect(t.rank == rank, f"wants a rank-{rank} operand, not {dims(t.shape)}")


def expect_numbers(inputs: Sequence[TensorType]) -> None:
    """Raise InvalidType unless the operands are numbers of one element type.

    Quantized integers may mix among themselves and with plain ones (a bias), but not with floats.
    """
    quantized = any(t.quant is not None for t in inputs)
    kinds = dict.fromkeys(t.dtype for t in inputs if t.dtype.is_float or not quantized)
    names = [kind.value for kind in kinds] + ["quantized integers"] * quantized
    expect(len(names) < 2, f"mixes {' and '.join(names)}")
    expect(DType.BOOL not in kinds, "wants numbers, not bool")


def expect_reals(inputs: Sequence[TensorType]) -> None:
    """Raise InvalidType unless the operands are floats of one type, or integers for reals."""
    expect_numbers(inputs)
    first = inputs[0]
    real = first.dtype.is_float or any(t.quant is not None for t in inputs)
    expect(real, f"wants reals, not {first.dtype.value}")


def normalize_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """The axes counted from the front; InvalidType where one is absent or named twice."""
    normalized = tuple(normalize_axis(axis, rank) for axis in axes)
    expect(len(set(normalized)) == len(axes), f"axes {tuple(axes)} name one axis twice")
    return normalized


def normalize_axis(axis: int, rank: int) -> int:
    """The axis counted from the front; InvalidType where the shape has no such axis."""
    expect(-rank <= axis < rank, f"axis {axis} is not in a shape of rank {rank}")
    return axis % rank


def product(numbers: Sequence[Any]) -> Any:
    """The product of dimensions of any arithmetic type."""
    result: Any = 1
    for number in numbers:
        result = result * number
    return result
