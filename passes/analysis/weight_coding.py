"""What an Ethos-U's weight stream takes: an estimate of the encoder of Arm's Vela.

Weights travel in the order in which the NPU multiplies by them, filled up with zeros to its
bricks, as Golomb-Rice codes: of indices into a palette of the most frequent weights, and of the
lengths of runs of zeros where there are many. The order, the codes and the headers are those of
the hardware; which of them Vela takes is modelled, and held to Vela by the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from irprune.ir import ops
from irprune.ir.graph import Node
from irprune.ir.ops.conv import channel_axis, to_nchw
from irprune.ir.types import Array

BRICK = 8
"""Channels, of inputs and of outputs, that are multiplied side by side."""
WINDOW = 8
"""The most rows and columns of a kernel that are read at once; larger ones are cut."""
DEPTH = {8: 32, 16: 16}
"""Input channels, of 8 or 16 bits, that are read for one element of a kernel after another."""
PART_DEPTH = 16
"""Those that are read before the next outputs where all of a kernel is read for a brick."""
ELEMENTS = {8: 4, 16: 2}
"""Kernels are then filled up to a multiple of these elements, by the bits of the inputs."""
DEPTHWISE_ELEMENTS = 4
"""The same of depthwise kernels."""

PALETTE = 32
HEADER_BITS = 3 + 15 + 3 + 1 + 1 + 13
"""How a slice is coded, its length, and how its palette is."""
SLICE_BITS = 40
"""What Vela demands that another slice saves."""
BLOCK = 64
"""Numbers after which a slice may end: Vela's may anywhere, which saves little."""
NO_CODE = 2**20
"""Bits of what a code cannot say."""
UNARY_BITS = 12
"""Unary parts of codes come by so many; on average half of the last is filling."""
RUN_DIVISORS = range(4)
DIVISORS = range(6)
LONGEST_UNARY = 31
TRUNCATED = 2
"""The most that the unary part of a truncated code says."""
RATIO_FOR_RUNS = 5
"""Vela's compiler codes runs where zeros are more than so many times the next frequent weight."""
ALIGNMENT = 16
"""Bytes that a stream is a multiple of."""


def volume(node: Node, array: Array) -> Array:
    """The weights of a node as outputs x height x width x inputs; 1 x 1 where it has no kernel."""
    op = node.op
    if isinstance(op, ops.Conv2d):
        return to_nchw(array, op.layout).transpose(0, 2, 3, 1)
    if isinstance(op, ops.ConvTranspose2d):
        return array if op.layout == "NHWC" else array.transpose(1, 2, 3, 0)
    return array.reshape(-1, 1, 1, array.shape[-1])


def is_depthwise(node: Node) -> bool:
    """Whether each output of a convolution reads one of several inputs."""
    op = node.op
    if not isinstance(op, ops.Conv2d):
        return False
    channels: int = node.inputs[0].type.shape[channel_axis(op.layout)]
    return 1 < op.groups == channels


def reads_part_kernels(weights: Array, bits: int) -> bool:
    """Whether all elements of a kernel are read for a few inputs, and not all inputs for each.

    So are few inputs, and wherever more of the NPU is busy then.

    Args:
        weights: outputs x height x width x inputs, of no depthwise convolution.
        bits: the width of the inputs.
    """
    _, height, width, inputs = weights.shape
    elements = height * width
    busy_by_depth = inputs / _up(inputs, DEPTH[bits])
    busy_by_parts = inputs / _up(inputs, BRICK) * elements / _up(elements, ELEMENTS[bits])
    return bool(inputs <= BRICK or busy_by_parts >= busy_by_depth)


def weight_stream(weights: Array, *, depthwise: bool, bits: int = 8) -> Array:
    """Weights in the order in which the NPU reads them, with zeros where it has no more.

    Args:
        weights: outputs x height x width x inputs; zero stands for 0.
        depthwise: whether each output reads one input.
        bits: the width of the inputs.
    """
    parts = not depthwise and reads_part_kernels(weights, bits)
    depth = PART_DEPTH if parts else DEPTH[bits]
    fill = BRICK if parts else 1 if depthwise else depth
    step = ELEMENTS[bits] if parts else DEPTHWISE_ELEMENTS if depthwise else 1
    pieces = []
    for i in range(0, weights.shape[3], depth):
        for y in range(0, weights.shape[1], WINDOW):
            for x in range(0, weights.shape[2], WINDOW):
                piece = weights[:, y : y + WINDOW, x : x + WINDOW, i : i + depth]
                piece = piece.reshape(len(piece), -1, piece.shape[3])
                pieces.append(_in_bricks(_filled(piece, (BRICK, step, fill)), parts=parts))
    return np.concatenate([np.zeros(0, weights.dtype), *pieces])


def stream_size(stream: Array) -> int:
    """Bytes that a weight stream is estimated to take.

    Vela has two encoders. That of its compiler codes runs of zeros where zeros are five times as
    frequent as any other weight; that of ``mlw_codec`` decides piece by piece, which comes to about
    the better of both ways. The estimate is the middle, so that it is near to either.

    Where hardly one of 2,000 weights is left it is too low, by up to a bit a weight: the compiler
    codes slices of outputs by themselves, of which one that is all zero takes that, and chooses
    its code of runs without the zeros behind the last weight.
    """
    plain = _section_bits(stream)
    others = stream[stream != 0]
    if not len(others):  # which the compiler codes one by one, too
        return _bytes(plain)
    ends = np.flatnonzero(stream != 0)
    runs = np.diff(np.concatenate([[-1], ends, [len(stream)]])) - 1
    in_runs = _section_bits(others) + _run_bits(runs)
    compiled = in_runs if _compiler_codes_runs(stream, runs) else plain
    return _up((_bytes(min(plain, in_runs)) + _bytes(compiled)) // 2, ALIGNMENT)


def _filled(piece: Array, multiples: tuple[int, ...]) -> Array:
    """An array with zeros behind it along each axis, up to a multiple."""
    sizes = zip(piece.shape, multiples, strict=True)
    return np.pad(piece, [(0, -size % multiple) for size, multiple in sizes])


def _in_bricks(piece: Array, *, parts: bool) -> Array:
    """Outputs x elements x inputs, brick by brick; flat."""
    outputs, elements, inputs = piece.shape
    side = min(BRICK, inputs)
    bricks = piece.reshape(outputs // BRICK, BRICK, elements, inputs // side, side)
    outer = (3, 0, 2) if parts else (0, 2, 3)
    return bricks.transpose(*outer, 1, 4).reshape(-1)


def _compiler_codes_runs(stream: Array, runs: Array) -> bool:
    """Whether zeros are frequent, and at least half of them beside others."""
    counts = np.bincount(np.abs(stream) * 2 + (stream < 0))
    most = counts[1:].max(initial=0)
    return bool(counts[0] > RATIO_FOR_RUNS * most and runs[runs >= 2].sum() >= counts[0] // 2)


def _section_bits(weights: Array) -> int:
    """Bits of the header, the palette and the codes of weights."""
    if not len(weights):
        return HEADER_BITS
    symbols = 2 * np.abs(weights) + (weights < 0)
    found, counts = np.unique(symbols, return_counts=True)
    palette = found[np.argsort(-counts, kind="stable")][:PALETTE]
    width = max(2, int(found[-1]).bit_length())
    covers_all = len(found) <= PALETTE
    indices = np.arange(found[-1] + 1) - min(found[0], PALETTE - 1)
    if np.isin(symbols, palette).mean() < 0.5:
        return HEADER_BITS + _index_bits(indices[symbols], width)
    indices += len(palette)
    indices[palette] = np.arange(len(palette))
    plain = max(1, (len(palette) - 1).bit_length()) if covers_all else None
    entries = len(palette) * max(2, int(palette.max()).bit_length())
    return HEADER_BITS + entries + _index_bits(indices[symbols], plain)


def _index_bits(indices: Array, plain: int | None) -> int:
    """Bits of palette indices: in Golomb-Rice codes, truncated or not, or plain binary."""
    return _sliced_bits(_index_codes(indices, plain))


def _index_codes(indices: Array, plain: int | None) -> Iterator[Array]:
    """The bits of each index in each code there is for them."""
    if plain is not None:
        yield np.full(len(indices), plain)
    for divisor in DIVISORS:
        bits, most = _rice(indices, divisor), indices >> divisor
        yield np.where(most <= LONGEST_UNARY, bits, NO_CODE)
        # The unary part of the last needs no end.
        short = np.minimum(bits, TRUNCATED + divisor)
        yield np.where(most <= TRUNCATED, short, NO_CODE)


def _run_bits(runs: Array) -> int:
    """Bits of the lengths of runs of zeros."""
    return _sliced_bits(_rice(runs, divisor) for divisor in RUN_DIVISORS)


def _rice(numbers: Array, divisor: int) -> Array:
    """Bits of the Golomb-Rice code of each number, divided by a power of two."""
    bits: Array = (numbers >> divisor) + 1 + divisor
    return bits


def _sliced_bits(codes: Iterable[Array]) -> int:
    """Bits of numbers in the best slices, each of which has a code of its own.

    Args:
        codes: the bits that each number takes, for each code.
    """
    blocks = np.stack([np.add.reduceat(bits, range(0, len(bits), BLOCK)) for bits in codes])
    least = blocks[:, 0]
    for block in blocks.T[1:]:
        least = np.minimum(least, least.min() + SLICE_BITS) + block
    return int(least.min()) + UNARY_BITS // 2


def _bytes(bits: int) -> int:
    """Bytes that bits fill."""
    return _up(bits, 8 * ALIGNMENT) // 8


def _up(number: int, multiple: int) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple
