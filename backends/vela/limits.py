"""What an Ethos-U55 or U65 cannot do, each as a function whose docstring is the sentence.

They are those that Arm's Vela 5.2 checks, said of irprune's operators in TFLite's layout: what
breaks one is left to the CPU. ``docs/ethos-u.md`` is made from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from irprune.ir import ops
from irprune.ir.errors import UsageError
from irprune.ir.graph import Graph, Node, Value, producers
from irprune.ir.op import Op
from irprune.ir.ops.shape import View
from irprune.ir.types import DType
from irprune.passes.analysis.weight_coding import is_depthwise

Check = Callable[[Graph, Node], bool]

PLACED: tuple[type[Op], ...] = (
    ops.Abs,
    ops.Add,
    ops.AveragePool2d,
    ops.Clip,
    ops.Concat,
    ops.Conv2d,
    ops.ConvTranspose2d,
    ops.Dense,
    ops.Elu,
    ops.Exp,
    ops.Gelu,
    ops.HardSwish,
    ops.LeakyRelu,
    ops.Log,
    ops.MatMul,
    ops.MaxPool2d,
    ops.Maximum,
    ops.Minimum,
    ops.Mul,
    ops.Neg,
    ops.PRelu,
    ops.Pad,
    ops.Quantize,
    ops.ReduceMax,
    ops.ReduceMean,
    ops.ReduceSum,
    ops.Relu,
    ops.Relu6,
    ops.Resize,
    ops.Sigmoid,
    ops.Slice,
    ops.Softmax,
    ops.Split,
    ops.Sub,
    ops.Tanh,
    ops.Transpose,
    View,
)
"""The operators that an Ethos-U has, or that Vela makes of those it has."""
WIDE = (ops.Add, ops.Sub, ops.Mul, ops.Neg, ops.ReduceSum, ops.Transpose, ops.MatMul, View)
"""Those that also compute on 32 bits."""
WEIGHTED = (ops.Conv2d, ops.ConvTranspose2d, ops.Dense)
STORED = (DType.I8, DType.U8, DType.I16, DType.I32)


@dataclass(frozen=True)
class Limit:
    """One limit: the operators it is of, all where none is named, and who keeps to it."""

    kinds: tuple[type[Op], ...]
    check: Check

    def is_of(self, op: Op) -> bool:
        """Whether an operator is one of those."""
        return not self.kinds or isinstance(op, self.kinds)

    @property
    def sentence(self) -> str:
        """What it says."""
        return " ".join((self.check.__doc__ or "").split())


@dataclass(frozen=True)
class Unmet:
    """A limit that a node does not keep to."""

    node: Node
    limit: Limit


LIMITS: list[Limit] = []
"""All of them, in the order of the manual."""


def unmet(graph: Graph, accelerator: str) -> tuple[Unmet, ...]:
    """What the nodes of a quantized graph do that an Ethos-U55 or U65 cannot; the first of each.

    Args:
        graph: the graph as it is read from a TFLite file.
        accelerator: its name; nothing is known here of the limits of others.
    """
    if not accelerator.startswith(("ethos-u55-", "ethos-u65-")):
        return ()
    found = []
    for node in graph.nodes:
        for limit in LIMITS:
            if limit.is_of(node.op) and not limit.check(graph, node):
                found.append(Unmet(node, limit))
                break
    return tuple(found)


def listed(found: Sequence[Unmet]) -> str:
    """The nodes that break limits, each with what it is that they break."""
    return "; ".join(f"'{broken.node.name}': {broken.limit.sentence}" for broken in found)


def expect_work(graph: Graph, accelerator: str) -> None:
    """Raise UsageError where no operator of a graph keeps to the limits of an accelerator."""
    found = unmet(graph, accelerator)
    left = {broken.node for broken in found}
    if found and all(node in left or isinstance(node.op, View) for node in graph.nodes):
        raise UsageError(
            f"nothing of it runs on {accelerator}: {listed(found[:1])}",
            where=graph.name,
            hint="docs/ethos-u.md has the limits",
        )


def of(*kinds: type[Op]) -> Callable[[Check], Check]:
    """Enter a function into the limits of operators."""

    def enter(check: Check) -> Check:
        LIMITS.append(Limit(kinds, check))
        return check

    return enter


@of(ops.HardSwish)
def is_hard_swish_of_bytes(graph: Graph, node: Node) -> bool:
    """Hard swish is of 8 bits, or Vela refuses the whole model."""
    return all(value.type.dtype in (DType.I8, DType.U8) for value in node.inputs)


@of()
def is_placed(graph: Graph, node: Node) -> bool:
    """The operator is one that Vela places."""
    return isinstance(node.op, PLACED)


@of()
def is_of_stored_integers(graph: Graph, node: Node) -> bool:
    """Feature maps are integers of 8, 16 or 32 bits."""
    return all(value.type.dtype in STORED for value in _feature_maps(graph, node))


@of()
def is_narrow(graph: Graph, node: Node) -> bool:
    """Feature maps have 8 or 16 bits, save those of sums, products, negations and views."""
    maps = _feature_maps(graph, node)
    return isinstance(node.op, WIDE) or all(v.type.dtype is not DType.I32 for v in maps)


@of(*WEIGHTED)
def has_weights_of_bytes(graph: Graph, node: Node) -> bool:
    """Weights have 8 bits."""
    return node.inputs[1].type.dtype.itemsize == 1


@of(*WEIGHTED)
def has_small_weight_sums(graph: Graph, node: Node) -> bool:
    """The magnitudes of an output channel's weights sum up to at most 127 x 65,536."""
    value = node.inputs[1]
    array = graph.constants.get(value)
    if array is None or value.type.quant is None:
        return True
    _, zero = value.type.quant.along(array.ndim)
    magnitudes = np.abs(array.astype(np.int64) - zero)
    sums = magnitudes.sum(axis=tuple(range(1, array.ndim)))
    return bool(sums.max(initial=0) <= 127 * 65536)


@of(*WEIGHTED)
def has_small_biases(graph: Graph, node: Node) -> bool:
    """Biases are constants of at most 40 bits."""
    if len(node.inputs) < 3:
        return True
    array = graph.constants.get(node.inputs[2])
    return array is not None and bool(np.abs(array.astype(np.int64)).max(initial=0) < 2**40)


@of(ops.Conv2d, ops.AveragePool2d, ops.MaxPool2d)
def has_small_strides(graph: Graph, node: Node) -> bool:
    """Strides are at most 3, or any of a window that is neither padded nor dilated."""
    op = node.op
    assert isinstance(op, ops.Conv2d | ops.AveragePool2d | ops.MaxPool2d)
    return max(op.stride) <= 3 or (not np.any(op.padding) and max(op.dilation) == 1)


@of(ops.Conv2d)
def strides_little_over_padding(graph: Graph, node: Node) -> bool:
    """Strides over a Pad of less than a kernel are at most 3, or Vela refuses the whole model."""
    op = node.op
    assert isinstance(op, ops.Conv2d)
    return max(op.stride) <= 3 or not _takes_in_padding(graph, node)


@of(ops.Conv2d)
def has_small_depthwise_strides(graph: Graph, node: Node) -> bool:
    """Strides of depthwise convolutions are at most 3."""
    op = node.op
    assert isinstance(op, ops.Conv2d)
    return max(op.stride) <= 3 or not is_depthwise(node)


@of(ops.ConvTranspose2d)
def has_strides_of_two(graph: Graph, node: Node) -> bool:
    """Strides are 1 or 2 both ways, or 2 along the only axis in which image and kernel extend."""
    op = node.op
    assert isinstance(op, ops.ConvTranspose2d)
    if op.stride in ((1, 1), (2, 2)):
        return True
    image, kernel = node.inputs[0].type.shape[1:3], node.inputs[1].type.shape[1:3]
    flat = [a for a in (0, 1) if image[a] == kernel[a] == 1]
    return sorted(op.stride) == [1, 2] and any(op.stride[a] == 1 for a in flat)


@of(ops.ConvTranspose2d)
def makes_whole_images(graph: Graph, node: Node) -> bool:
    """Images grow as their stride, and by what a kernel is longer where nothing is cut off."""
    op = node.op
    assert isinstance(op, ops.ConvTranspose2d)
    is_cut = bool(np.any(op.padding))
    image, kernel = node.inputs[0].type.shape[1:3], node.inputs[1].type.shape[1:3]
    sizes = zip(image, kernel, op.stride, strict=True)
    made = tuple(n * s + (0 if is_cut else max(k - s, 0)) for n, k, s in sizes)
    return node.outputs[0].type.shape[1:3] == made


@of(ops.AveragePool2d)
def averages_small_windows(graph: Graph, node: Node) -> bool:
    """The window of an average is at most 8 x 8 where it is padded."""
    op = node.op
    assert isinstance(op, ops.AveragePool2d)
    return not np.any(op.padding) or max(op.kernel) <= 8


@of(ops.AveragePool2d, ops.MaxPool2d)
def pools_low_windows(graph: Graph, node: Node) -> bool:
    """The window of a pool has at most 65,536 elements, and 256 rows."""
    op = node.op
    assert isinstance(op, ops.AveragePool2d | ops.MaxPool2d)
    return prod(op.kernel) <= 65536 and op.kernel[0] <= 256


@of(ops.ReduceMean)
def averages_one_image(graph: Graph, node: Node) -> bool:
    """Means are taken of a batch of 1."""
    shape = node.inputs[0].type.shape
    return len(shape) < 4 or shape[0] == 1


@of(ops.ReduceMean)
def averages_flat_depths(graph: Graph, node: Node) -> bool:
    """Means over channels are taken where height, width or channels are 1."""
    op = node.op
    assert isinstance(op, ops.ReduceMean)
    shape = node.inputs[0].type.shape
    over_depth = len(shape) - 1 in {axis % len(shape) for axis in op.axes}
    return not over_depth or len(shape) < 3 or 1 in shape[-3:]


@of(ops.ReduceMean)
def averages_short_axes(graph: Graph, node: Node) -> bool:
    """Means are over at most 4,096 elements of an axis, in all 2^24 signed bytes or 2^16 words."""
    op = node.op
    assert isinstance(op, ops.ReduceMean)
    t = node.inputs[0].type
    sizes = [t.shape[axis] for axis in op.axes]
    most = 2**24 if t.dtype is DType.I8 else 2**16
    return max(sizes, default=1) <= 4096 and prod(sizes) <= most


@of(ops.Softmax)
def normalizes_small_images(graph: Graph, node: Node) -> bool:
    """Softmax is taken at no more than 65,536 places of an image."""
    return prod(node.inputs[0].type.shape[-3:-1]) <= 65536


@of(ops.Resize)
def resizes_evenly(graph: Graph, node: Node) -> bool:
    """Images grow as much in height as in width, where both are more than 1."""
    return len(_factors(node)) <= 1


@of(ops.Resize)
def resizes_by_powers(graph: Graph, node: Node) -> bool:
    """Images grow two-, four- or eightfold, or from one pixel."""
    return _factors(node) <= {2.0, 4.0, 8.0}


@of(ops.Resize)
def resizes_centers_twofold(graph: Graph, node: Node) -> bool:
    """Images grow twofold, or from one pixel, where they are bilinear with half-pixel centers."""
    op = node.op
    assert isinstance(op, ops.Resize)
    return (op.mode, op.coordinates) != ("linear", "half_pixel") or _factors(node) <= {2.0}


@of(ops.Maximum, ops.Minimum)
def compares_alike(graph: Graph, node: Node) -> bool:
    """What is compared, and the result, have one quantization."""
    return len({v.type.quant for v in (*node.inputs, *node.outputs)}) == 1


@of(ops.MatMul)
def multiplies_bytes(graph: Graph, node: Node) -> bool:
    """Products of two feature maps are of 8 bits, and of at most 65,536 rows and columns."""
    shapes = [value.type.shape for value in (*node.inputs, *node.outputs)]
    return node.inputs[0].type.dtype is DType.I8 and max(map(max, shapes)) <= 65536


@of(ops.Elu, ops.Gelu)
def is_tabulated(graph: Graph, node: Node) -> bool:
    """ELU and GELU are of 8 bits."""
    return node.inputs[0].type.dtype.itemsize == 1


@of(ops.Slice)
def slices_forward(graph: Graph, node: Node) -> bool:
    """Slices step forward, and step over height and width alone."""
    op = node.op
    assert isinstance(op, ops.Slice)
    rank = node.inputs[0].type.rank
    inner = {axis % rank for axis in range(-3, -1)} if rank > 2 else {0}
    steps = zip(op.axes, op.steps, strict=True)
    return all(step == 1 or (step > 1 and axis % rank in inner) for axis, step in steps)


def _factors(node: Node) -> set[float]:
    """By how much an image grows along its axes; nothing where it stays or is one pixel."""
    op = node.op
    assert isinstance(op, ops.Resize)
    before = [node.inputs[0].type.shape[axis] for axis in op.axes]
    if prod(before) == 1 or tuple(before) == tuple(op.sizes):
        return set()
    less = 1 if op.coordinates == "align_corners" else 0
    sizes = [(n, m) for n, m in zip(before, op.sizes, strict=True) if (n, m) != (1, 1)]
    return {(m - less) / (n - less) if n > less else 0.0 for n, m in sizes}


def _takes_in_padding(graph: Graph, node: Node) -> bool:
    """Whether Vela makes a Pad before a convolution a part of it, and it is one that is read."""
    op, padded = node.op, node.inputs[0]
    maker = producers(graph).get(padded)
    if not isinstance(op, ops.Conv2d) or maker is None or not isinstance(maker.op, ops.Pad):
        return False
    readers = [other for other in graph.nodes if padded in other.inputs]
    if padded in graph.outputs or not all(isinstance(other.op, ops.Conv2d) for other in readers):
        return False
    outer, *image, depth = maker.op.padding
    if maker.op.mode != "constant" or maker.op.value != 0 or np.any((outer, depth)):
        return False
    kernel, made = node.inputs[1].type.shape[1:3], node.outputs[0].type.shape[1:3]
    before = [size for size, _ in image]
    last = [(n - 1) * s + k for n, s, k in zip(made, op.stride, kernel, strict=True)]
    sizes = maker.inputs[0].type.shape[1:3]
    after = [max(0, e - b - n) for e, b, n in zip(last, before, sizes, strict=True)]
    is_short = all(max(pair) < k for pair, k in zip(image, kernel, strict=True))
    return is_short and any((*before, *after))


def _feature_maps(graph: Graph, node: Node) -> tuple[Value, ...]:
    """What a node reads and makes beside constants."""
    read = (value for value in node.inputs if value not in graph.constants)
    return (*read, *node.outputs)
