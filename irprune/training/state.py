"""The state of a training run as one file: tensors as safetensors, all else as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from irprune.backends.files import write_atomically
from irprune.ir.errors import UsageError

VERSION = 1
"""Of the form of the file; it changes where an older reader would misunderstand a newer one."""

_KIND = "irprune checkpoint"


def encoded_state(state: Mapping[str, Any]) -> bytes:
    """Nested tensors, numbers, texts, lists, tuples and mappings as a file has them.

    Raises:
        UsageError: there is something else among them.
    """
    tensors: dict[str, Tensor] = {}
    rest = json.dumps(_encoded(state, tensors))
    return save(tensors, {"kind": _KIND, "version": str(VERSION), "state": rest})


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state (``encoded_state``).

    Raises:
        UsageError: the file cannot be written; the one that was there is as it was.
    """
    write_atomically(path, encoded_state(state))


def read_state(path: Path) -> dict[str, Any]:
    """What ``write_state`` wrote; nothing in the file is executed.

    Raises:
        UsageError: it cannot be read, is damaged, or of a newer version.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (SafetensorError, ValueError) as error:
        raise damaged(str(error), path) from None
    match metadata:
        case {"kind": str(kind), "version": str(version), "state": str(state)} if kind == _KIND:
            if version != str(VERSION):
                what = f"has version {version}, this irprune reads {VERSION}"
                raise UsageError(what, where=str(path))
            return _read(state, tensors, path)
    raise UsageError("is no checkpoint of irprune", where=str(path))


def damaged(what: str, path: Path) -> UsageError:
    """The error of a file that cannot be gone on from."""
    return UsageError(
        f"is damaged: {what}", where=str(path), hint="begin anew in another folder, or use a copy"
    )


def _read(state: str, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decoded(json.loads(state), tensors)
    except (ValueError, TypeError) as error:
        raise damaged(str(error), path) from None
    except KeyError as error:
        raise damaged(f"it lacks tensor {error}", path) from None
    return found


def _encoded(item: Any, tensors: dict[str, Tensor]) -> Any:
    """An item as JSON has it; its tensors go to the others, each under a number."""
    match item:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = item.detach().cpu().contiguous().clone()
            return {"tensor": name}
        case Mapping():
            return {"map": [[_encoded(k, tensors), _encoded(v, tensors)] for k, v in item.items()]}
        case list():
            return {"list": [_encoded(part, tensors) for part in item]}
        case tuple():
            return {"tuple": [_encoded(part, tensors) for part in item]}
        case None | bool() | int() | float() | str():
            return item
    raise UsageError(f"a state with a {type(item).__name__} in it cannot be written")


def _decoded(item: Any, tensors: Mapping[str, Tensor]) -> Any:
    match item:
        case {"tensor": name}:
            return tensors[name]
        case {"map": pairs}:
            return {_decoded(k, tensors): _decoded(v, tensors) for k, v in pairs}
        case {"list": parts}:
            return [_decoded(part, tensors) for part in parts]
        case {"tuple": parts}:
            return tuple(_decoded(part, tensors) for part in parts)
        case dict():
            raise ValueError(f"a part is of no known kind: {', '.join(item)}")
    return item
