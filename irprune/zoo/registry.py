"""The named entries of the zoo, their parameters, and the specs that name them in text."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from irprune.zoo.autoencoder import autoencoder
from irprune.zoo.blocks import Shape
from irprune.zoo.dscnn import MEDIUM, MICRONET_KWS_L, MICRONET_KWS_M, MICRONET_KWS_S, ds_cnn
from irprune.zoo.efficientnet import efficientnet_b0
from irprune.zoo.etinynet import etinynet
from irprune.zoo.kws_res import res8, res15
from irprune.zoo.mcunet import MCUNET_L, MCUNET_M, BlockSpec, mcunet, parse_blocks
from irprune.zoo.mobilenet import mobilenet_v1, mobilenet_v2
from irprune.zoo.resnet import resnet8, resnet18
from irprune.zoo.vgg import vgg16
from irprune.zoo.wide_resnet import wide_resnet

Value: TypeAlias = int | float | tuple[int, ...] | tuple[BlockSpec, ...]
"""A parameter: a count, a width multiplier, a shape or list of widths, or a list of blocks."""

# Far above any microcontroller, low enough that a slip of the finger does not fill the memory.
MAX_PARAMETERS = 2**28
MAX_INPUT_ELEMENTS = 2**24
MAX_COUNT = 2**16
MAX_WIDTH = 16.0


@dataclass(frozen=True)
class ZooEntry:
    """An architecture under a name.

    Attributes:
        name: as `build` and the specs know it.
        factory: gives the module for an input shape and keyword parameters.
        input: the default input shape, without the batch.
        presets: parameters whose default differs from the factory's.
    """

    name: str
    factory: Callable[..., nn.Module]
    input: Shape
    presets: Mapping[str, Value] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Value]:
        """Every parameter with its default, `input` first."""
        signature = inspect.signature(self.factory).parameters.values()
        own = {item.name: item.default for item in signature if item.default is not item.empty}
        return {"input": self.input, **own, **self.presets}

    @property
    def summary(self) -> str:
        """The first line of the factory's documentation."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


_ENTRIES = {
    item.name: item
    for item in (
        ZooEntry("autoencoder", autoencoder, (640,)),
        ZooEntry("ds_cnn", ds_cnn, (1, 49, 10)),
        ZooEntry("ds_cnn_m", ds_cnn, (1, 49, 10), {"widths": MEDIUM}),
        ZooEntry("efficientnet_b0", efficientnet_b0, (3, 160, 160)),
        ZooEntry("etinynet", etinynet, (3, 112, 112)),
        ZooEntry("mcunet_s", mcunet, (3, 160, 160)),
        ZooEntry("mcunet_m", mcunet, (3, 176, 176), {"blocks": MCUNET_M}),
        ZooEntry("mcunet_l", mcunet, (3, 160, 160), {"blocks": MCUNET_L, "stem": 32}),
        ZooEntry("micronet_kws_s", ds_cnn, (1, 49, 10), {"widths": MICRONET_KWS_S}),
        ZooEntry("micronet_kws_m", ds_cnn, (1, 49, 10), {"widths": MICRONET_KWS_M}),
        ZooEntry("micronet_kws_l", ds_cnn, (1, 49, 10), {"widths": MICRONET_KWS_L}),
        ZooEntry("mobilenet_v1", mobilenet_v1, (3, 96, 96)),
        ZooEntry("mobilenet_v2", mobilenet_v2, (3, 50, 50)),
        ZooEntry("res8", res8, (1, 49, 10)),
        ZooEntry("res15", res15, (1, 49, 10)),
        ZooEntry("resnet8", resnet8, (3, 32, 32)),
        ZooEntry("resnet18", resnet18, (3, 32, 32)),
        ZooEntry("vgg16", vgg16, (3, 32, 32)),
        ZooEntry("wide_resnet", wide_resnet, (3, 32, 32)),
    )
}


def names() -> tuple[str, ...]:
    """The names of all entries, in alphabetical order."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> ZooEntry:
    """The entry of that name; ValueError with the closest names where there is none."""
    found = _ENTRIES.get(name)
    if found is None:
        raise ValueError(f"the zoo has no model {name!r}; {_nearest(name, _ENTRIES)}")
    return found


def build(name: str, **parameters: Value) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The named architecture in eval mode, and inputs to call or export it with.

    The weights are random and keep the scale of activations (`blocks.keep_scale`); torch's global
    generator decides them, so `torch.manual_seed` repeats them. The input is one standard normal
    sample, the same for the same shape, with a batch of 1.

    Args:
        name: one of `names()`.
        parameters: what differs from the entry's `defaults`.

    Raises:
        ValueError: an unknown name or parameter, a value out of range, an input the architecture
            does not take, or more than `MAX_PARAMETERS` weights.
    """
    chosen = entry(name)
    for key, value in parameters.items():
        _check_key(chosen, key)
        _check_range(key, value)
    values = chosen.defaults | parameters
    shape = values.pop("input")
    with torch.device("meta"):
        count = sum(item.numel() for item in chosen.factory(shape, **values).parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(f"{name} would have {count} parameters; at most {MAX_PARAMETERS}")
    module = chosen.factory(shape, **values).eval()
    sample = torch.randn((1, *_counts(shape)), generator=torch.Generator().manual_seed(0))
    return module, (sample,)


def from_spec(text: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """What `build` gives for a spec (see `parse_spec`), with the same random weights each time.

    Raises:
        ValueError: as `parse_spec` and `build` raise it.
    """
    name, parameters = parse_spec(text)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return build(name, **parameters)


def parse_spec(text: str) -> tuple[str, dict[str, Value]]:
    """The name and the typed parameters of a spec, ready for `build`.

    A spec is a name, then `?` and `key=value` pairs joined by `&`: counts are written `2`, width
    multipliers `0.5`, shapes `3x50x50`, lists of widths `84-112-84`, lists of blocks
    `k3e1c8s1-k7e3c16s2`. ValueError where the name, a key or a value is not understood, or a key
    is given twice.
    """
    name, mark, query = text.partition("?")
    chosen = entry(name)
    parameters: dict[str, Value] = {}
    for pair in query.split("&") if mark else ():
        key, equals, value = pair.partition("=")
        _check_key(chosen, key)
        if not equals or not value:
            raise ValueError(f"parameter {key!r} has no value: write {key}=...")
        if key in parameters:
            raise ValueError(f"parameter {key!r} is given twice")
        parameters[key] = _read(chosen, key, value)
    return name, parameters


def _read(chosen: ZooEntry, key: str, text: str) -> Value:
    if key == "input":
        return _integers(key, text, "x")
    annotation = inspect.signature(chosen.factory, eval_str=True).parameters[key].annotation
    if annotation == tuple[BlockSpec, ...]:
        return parse_blocks(text)
    if annotation == tuple[int, ...]:
        return _integers(key, text, "-")
    if annotation is float:
        if not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            raise ValueError(f"{key} is a positive number such as 0.5: got {text!r}")
        return float(text)
    return _integer(key, text)


def _integers(key: str, text: str, separator: str) -> tuple[int, ...]:
    return tuple(_integer(key, part) for part in text.split(separator))


def _integer(key: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"{key} is made of whole numbers: got {text!r}")
    return int(text)


def _check_key(chosen: ZooEntry, key: str) -> None:
    if key not in chosen.defaults:
        raise ValueError(
            f"{chosen.name} has no parameter {key!r}; {_nearest(key, chosen.defaults)}"
        )


def _check_range(key: str, value: Value) -> None:
    if isinstance(value, float):
        if not 0 < value <= MAX_WIDTH:
            raise ValueError(f"{key} is above 0 and at most {MAX_WIDTH:g}: got {value}")
        return
    counts = _counts(value)
    bad = [count for count in counts if not 0 < count <= MAX_COUNT]
    if bad or not counts:
        raise ValueError(
            f"{key} has numbers from 1 to {MAX_COUNT}: got {bad[0] if bad else 'none'}"
        )
    if key == "input" and math.prod(counts) > MAX_INPUT_ELEMENTS:
        raise ValueError(
            f"an input has at most {MAX_INPUT_ELEMENTS} elements: got {math.prod(counts)}"
        )


def _counts(value: Value | BlockSpec) -> tuple[int, ...]:
    """The whole numbers that a value is made of."""
    match value:
        case int():
            return (value,)
        case BlockSpec():
            return (value.kernel, value.expansion, value.channels, value.stride)
        case tuple():
            return tuple(count for item in value for count in _counts(item))
        case float():
            return ()


def _nearest(word: str, known: Iterable[str]) -> str:
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"it knows {', '.join(choices)}"
