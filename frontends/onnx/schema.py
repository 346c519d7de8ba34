"""Element types and numbers of operands, as the ONNX specification bounds them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from onnx import defs

from irprune.frontends.onnx.scope import Operand
from irprune.ir.errors import InvalidModel, InvalidType, UnsupportedOp
from irprune.ir.types import DType

_NAMES = {
    DType.F16: "float16",
    DType.F32: "float",
    DType.F64: "double",
    DType.I8: "int8",
    DType.I16: "int16",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.U8: "uint8",
    DType.U16: "uint16",
    DType.U32: "uint32",
    DType.U64: "uint64",
    DType.BOOL: "bool",
}


class _Formal(NamedTuple):
    """A formal operand: the types it takes, and a variable that operands of one type share."""

    types: frozenset[str]
    variable: str


class _Signature(NamedTuple):
    formals: tuple[_Formal, ...]
    least: int
    most: int


def check_operands(
    operator: str, domain: str, opset: int, operands: Sequence[Operand | None]
) -> None:
    """Raise where operands are too few, too many or of element types that ONNX does not allow.

    Args:
        operator: the operator's name.
        domain: its domain; only the standard one is specified by ONNX.
        opset: the version of the domain.
        operands: what it is given; None for an optional operand that is absent.

    Raises:
        InvalidModel: there are too few or too many operands.
        InvalidType: one is of a wrong type, or types that must agree do not.
        UnsupportedOp: the operator is newer than the opset.
    """
    if domain:
        return
    signature = _signature(operator, opset)
    if signature is None:
        raise UnsupportedOp(f"is not in opset {opset}")
    if not signature.least <= len(operands) <= signature.most:
        raise InvalidModel(f"{operator} has {len(operands)} operands")
    bound: dict[str, str] = {}
    for i, operand in enumerate(operands):
        if operand is None:
            continue
        formal = signature.formals[min(i, len(signature.formals) - 1)]
        name = _NAMES[operand.type.dtype]
        if f"tensor({name})" not in formal.types:
            raise InvalidType(f"{operator} takes no {name}")
        if formal.variable and bound.setdefault(formal.variable, name) != name:
            raise InvalidType(f"{operator} mixes {bound[formal.variable]} and {name}")


@cache
def _signature(operator: str, opset: int) -> _Signature | None:
    try:
        schema = defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None
    formals = tuple(
        _Formal(frozenset(p.types), p.type_str if p.is_homogeneous else "") for p in schema.inputs
    )
    return _Signature(formals, schema.min_input, schema.max_input)
