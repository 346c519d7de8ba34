"""Attributes of operators: their declared types, and whether values are of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from irprune.ir.op import Op
from irprune.ir.types import Quant

_DECLARED: dict[type[Any], Mapping[str, Any]] = {}


def attribute_types(cls: type[Any]) -> Mapping[str, Any]:
    """The declared type of each attribute of an op class or of Quant, in order."""
    if cls not in _DECLARED:
        hints = get_type_hints(cls)
        _DECLARED[cls] = {f.name: hints[f.name] for f in fields(cls)}
    return _DECLARED[cls]


def mistyped(cls: type[Any], values: Mapping[str, object]) -> tuple[str, ...]:
    """What is wrong with the types of attribute values; one clause for each bad one.

    An attribute holds immutable Python values alone, so that ops can be compared, hashed and
    written: a numpy integer or a list is as wrong here as a string.
    """
    declared = attribute_types(cls)
    return tuple(
        f"attribute '{name}' of {cls.__name__} is {value!r}, not {_spelled(declared[name])}"
        for name, value in values.items()
        if not _matches(value, declared[name])
    )


def attributes(owner: Op | Quant) -> dict[str, object]:
    """The attribute values by name, in order."""
    return {name: getattr(owner, name) for name in attribute_types(type(owner))}


def with_attributes(op: Op, **changes: object) -> Op:
    """The operator with some attributes changed."""
    make: Callable[..., Op] = type(op)
    return make(**attributes(op) | changes)


def _matches(value: object, hint: Any) -> bool:
    """Whether a value is of a declared type; an int is as good as a float, a bool is neither."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin is UnionType:
        return any(_matches(value, arg) for arg in args)
    if origin is tuple:
        if type(value) is not tuple:
            return False
        if args[1:] == (...,):
            return all(_matches(item, args[0]) for item in value)
        return len(value) == len(args) and all(map(_matches, value, args))
    if hint is float:
        return type(value) in (int, float)
    if hint in (int, bool, str, NoneType):
        return type(value) is hint
    return isinstance(value, hint)


def _spelled(hint: Any) -> str:
    """A type as its author wrote it."""
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
