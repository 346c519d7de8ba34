"""Windows that slide over one or two spatial dimensions: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from irprune.frontends.onnx.call import Call
from irprune.frontends.onnx.scope import Operand
from irprune.ir.errors import InvalidType, UnsupportedOp
from irprune.ir.graph import Value
from irprune.ir.op import Op
from irprune.ir.ops import AveragePool2d, MaxPool2d, ReduceMax, ReduceMean, Unsqueeze
from irprune.ir.ops.conv import Padding, Pair
from irprune.ir.types import Shape, dims

AUTO_PAD = ("SAME_UPPER", "SAME_LOWER", "VALID")
_HEIGHT = Unsqueeze((2,))


@dataclass(frozen=True, slots=True)
class Window:
    """A window over height and width; the height of a one-dimensional one is neutral."""

    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair


def sized(call: Call, name: str, count: int, default: int) -> tuple[int, ...]:
    """A list attribute with a number for each spatial dimension."""
    found = call.int_list(name)
    if found is None:
        return (default,) * count
    if len(found) != count:
        raise InvalidType(f"{name} has {len(found)} numbers, not {count}")
    return found


def spatial_size(x: Operand) -> Shape:
    """The sizes after batch and channels; UnsupportedOp unless there are one or two."""
    if x.type.rank < 3:
        raise InvalidType(f"operand {dims(x.type.shape)} has no spatial dimensions")
    if x.type.rank > 4:
        raise UnsupportedOp(f"{x.type.rank - 2} spatial dimensions are not supported")
    return x.type.shape[2:]


def read_window(call: Call, x: Operand, kernel: Sequence[int]) -> Window:
    """The attributes of a window, with the padding made explicit.

    Args:
        call: the node.
        x: what the window slides over.
        kernel: its size in each spatial dimension.
    """
    size = spatial_size(x)
    n = len(size)
    stride, dilation = sized(call, "strides", n, 1), sized(call, "dilations", n, 1)
    pads = sized(call, "pads", 2 * n, 0)
    if min(*kernel, *stride, *dilation) < 1:
        raise InvalidType("kernel, strides and dilations must be positive")
    call.expect(min(pads) >= 0, "negative pads are not supported")
    padding = [(pads[i], pads[n + i]) for i in range(n)]
    mode = call.text("auto_pad", "NOTSET", *AUTO_PAD)
    if mode == "VALID":
        padding = [(0, 0)] * n
    elif mode != "NOTSET":
        reaches = [reach(kernel, dilation, i) for i in range(n)]
        counts = [-(-size[i] // stride[i]) for i in range(n)]
        missing = ((counts[i] - 1) * stride[i] + reaches[i] - size[i] for i in range(n))
        padding = [halved(max(total, 0), mode) for total in missing]
    return Window(pair(kernel, 1), pair(stride, 1), as_padding(padding), pair(dilation, 1))


def reach(kernel: Sequence[int], dilation: Sequence[int], axis: int) -> int:
    """Elements from the first of a dilated window to its last."""
    return (kernel[axis] - 1) * dilation[axis] + 1


def halved(total: int, mode: str) -> Pair:
    """Padding split evenly; the odd element comes last in SAME_UPPER, first in SAME_LOWER."""
    less = total // 2
    return (less, total - less) if mode == "SAME_UPPER" else (total - less, less)


def pair(numbers: Sequence[int], height: int) -> Pair:
    """Numbers for height and width, of one or two numbers."""
    first, second = numbers if len(numbers) == 2 else (height, *numbers)
    return first, second


def as_padding(pairs: Sequence[Pair]) -> Padding:
    """Padding of height and width, of one or two pairs."""
    first, second = pairs if len(pairs) == 2 else ((0, 0), *pairs)
    return first, second


def over_space(call: Call, op: Op, x: Operand, *weights: Operand, part: str = "") -> Value:
    """The output of a two-dimensional operator, also over one dimension."""
    if x.type.rank == 4:
        return call.emit(op, x, *weights, part=part)
    tall = [call.rearranged(w, _HEIGHT) if w.type.rank == 3 else w for w in weights]
    return call.emit_over_width(op, x, *tall, part=part)


def max_pool(call: Call) -> Value:
    """MaxPool, without its indices."""
    call.ignore("storage_order")  # of the indices
    x = call.value(0)
    window, ceil = _pool(call, x)
    op = MaxPool2d(window.kernel, window.stride, window.padding, window.dilation, ceil)
    return over_space(call, op, x)


def average_pool(call: Call) -> Value:
    """AveragePool."""
    return average(call, call.value(0))


def average(call: Call, x: Operand, part: str = "") -> Value:
    """The mean over windows of an operand."""
    window, ceil = _pool(call, x)
    padded = bool(call.int_("count_include_pad", 0))
    op = AveragePool2d(window.kernel, window.stride, window.padding, window.dilation, ceil, padded)
    return over_space(call, op, x, part=part)


def _pool(call: Call, x: Operand) -> tuple[Window, bool]:
    kernel = call.int_list("kernel_shape")
    size = spatial_size(x)
    if kernel is None or len(kernel) != len(size):
        raise InvalidType(f"kernel {kernel} is not of {len(size)} dimensions")
    return read_window(call, x, kernel), bool(call.int_("ceil_mode", 0))


def global_average_pool(call: Call) -> Value:
    """GlobalAveragePool."""
    x = call.value(0)
    return call.emit(ReduceMean(spatial_axes(x)), x)


def global_max_pool(call: Call) -> Value:
    """GlobalMaxPool."""
    x = call.value(0)
    return call.emit(ReduceMax(spatial_axes(x)), x)


def spatial_axes(x: Operand) -> tuple[int, ...]:
    """The axes after batch and channels."""
    return tuple(range(2, x.type.rank))
