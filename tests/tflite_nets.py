"""Small int8 TFLite networks for planning memory: branches, sums, views, several outputs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tflite_files import TFLiteFile

SCALE = 0.1


class Net:
    """Adds int8 layers to a file; values are indices of its tensors.

    Args:
        size: the side of the images.
        seed: of the weights.
    """

    def __init__(self, size: int = 8, seed: int = 0) -> None:
        self.file = TFLiteFile()
        self.size = size
        self._rng = np.random.default_rng(seed)
        self._inputs: list[int] = []

    def activation(self, *shape: int) -> int:
        return self.file.tensor(shape, np.int8, scale=SCALE, zero_point=3)

    def shape(self, value: int) -> tuple[int, ...]:
        return tuple(self.file.graph.tensors[value].shape)

    def image(self, channels: int) -> int:
        """A graph input."""
        value = self.activation(1, self.size, self.size, channels)
        self._inputs.append(value)
        return value

    def conv(self, x: int, channels: int) -> int:
        """A convolution with a kernel of one pixel."""
        *image, depth = self.shape(x)
        weights = self._rng.integers(-127, 128, (channels, 1, 1, depth)).astype(np.int8)
        w = self.file.constant(weights, scale=[0.01] * channels)
        b = self.file.constant(np.zeros(channels, np.int32), scale=[0.01 * SCALE] * channels)
        y = self.activation(*image, channels)
        self.file.operator("CONV_2D", (x, w, b), (y,), "Conv2DOptions", strideH=1, strideW=1)
        return y

    def add(self, a: int, b: int) -> int:
        y = self.activation(*max(self.shape(a), self.shape(b), key=np.prod))
        self.file.operator("ADD", (a, b), (y,), "AddOptions")
        return y

    def concat(self, *values: int) -> int:
        *image, _ = self.shape(values[0])
        y = self.activation(*image, sum(self.shape(value)[-1] for value in values))
        self.file.operator("CONCATENATION", values, (y,), "ConcatenationOptions", axis=3)
        return y

    def reshape(self, x: int, *shape: int) -> int:
        y = self.activation(*shape)
        constant = self.file.constant(np.array(shape, np.int32))
        self.file.operator("RESHAPE", (x, constant), (y,))
        return y

    def squeezed(self, x: int) -> int:
        """The first axis dropped."""
        y = self.activation(*self.shape(x)[1:])
        self.file.operator("SQUEEZE", (x,), (y,), "SqueezeOptions", squeezeDims=[0])
        return y

    def expanded(self, x: int) -> int:
        """A first axis put before the others."""
        y = self.activation(1, *self.shape(x))
        axis = self.file.constant(np.array([0], np.int32))
        self.file.operator("EXPAND_DIMS", (x, axis), (y,), "ExpandDimsOptions")
        return y

    def split(self, x: int, count: int) -> list[int]:
        *image, depth = self.shape(x)
        parts = [self.activation(*image, depth // count) for _ in range(count)]
        axis = self.file.constant(np.array(3, np.int32))
        self.file.operator("SPLIT", (axis, x), parts, "SplitOptions", numSplits=count)
        return parts

    def scalar_slice(self, x: int) -> int:
        """The first image's first row: a slice that drops two axes."""
        y = self.activation(*self.shape(x)[2:])
        bounds = ((0, 0, 0, 0), (1, 1, *self.shape(x)[2:]), (1, 1, 1, 1))
        ints = [self.file.constant(np.array(numbers, np.int32)) for numbers in bounds]
        self.file.operator(
            "STRIDED_SLICE", (x, *ints), (y,), "StridedSliceOptions", shrinkAxisMask=3
        )
        return y

    def pack(self, *values: int) -> int:
        y = self.activation(len(values), *self.shape(values[0]))
        self.file.operator("PACK", values, (y,), "PackOptions", valuesCount=len(values), axis=0)
        return y

    def dense(self, x: int, features: int) -> int:
        """A dense layer, which takes images as they are."""
        count = int(np.prod(self.shape(x)))
        weights = self._rng.integers(-127, 128, (features, count)).astype(np.int8)
        y = self.activation(1, features)
        w = self.file.constant(weights, scale=0.01)
        self.file.operator("FULLY_CONNECTED", (x, w, -1), (y,), "FullyConnectedOptions")
        return y

    def finish(self, *outputs: int) -> bytes:
        return self.file.finish(self._inputs, outputs)


def branchy() -> bytes:
    """Wide layers of all branches first, a residual sum in each, and a concatenation."""
    net = Net(size=16)
    x = net.image(4)
    wide = [net.conv(x, 24) for _ in range(4)]
    sums = [net.add(value, net.conv(value, 24)) for value in wide]
    return net.finish(net.concat(*(net.conv(value, 4) for value in sums)))


def views() -> bytes:
    """Views of an input, of a layer that is read again, and of what an ADD overwrites."""
    net = Net()
    x = net.image(8)
    flat = net.squeezed(net.reshape(x, 1, 1, 64, 8))
    y = net.conv(net.reshape(flat, 1, 4, 16, 8), 8)
    seen = net.reshape(net.expanded(y), 1, 8, 8, 8)
    total = net.add(seen, x)
    return net.finish(net.dense(total, 5), net.reshape(total, 1, 512))


def several() -> bytes:
    """Several inputs and outputs, one of them read by nobody, and parts that nobody reads."""
    net = Net()
    x, _, z = net.image(8), net.image(2), net.image(8)
    first, _, third, _ = net.split(x, 4)
    net.conv(z, 16)
    joined = net.concat(first, z, third)
    return net.finish(joined, net.add(x, z), net.conv(joined, 3), first)


def several_nodes() -> bytes:
    """Operators that are several nodes: a slice that drops axes, a pack, a dense layer."""
    net = Net()
    x = net.image(8)
    a, b = net.conv(x, 16), net.conv(x, 16)
    rows = net.pack(net.scalar_slice(a), net.scalar_slice(b), net.scalar_slice(a))
    return net.finish(rows, net.dense(net.add(a, b), 10))


def broadcast() -> bytes:
    """A sum over images of a row of channels, which the images can be overwritten by."""
    net = Net()
    x = net.image(8)
    channels = net.file.constant(np.arange(8, dtype=np.int8).reshape(1, 1, 1, 8), scale=SCALE)
    return net.finish(net.add(channels, net.conv(x, 8)))


def shape_arithmetic() -> bytes:
    """A reshape whose shape is computed on the device, from what is known beforehand."""
    net = Net()
    x = net.image(4)
    file, kind = net.file, schema.TensorType.INT32
    shape, batch, pair = (file.tensor(s, np.int32) for s in ((4,), (), (2,)))
    ints = [file.constant(np.array(n, np.int32)) for n in ([0], [1], [1], 256)]
    file.operator("SHAPE", (x,), (shape,), "ShapeOptions", outType=kind)
    options = "StridedSliceOptions"
    file.operator("STRIDED_SLICE", (shape, *ints[:3]), (batch,), options, shrinkAxisMask=1)
    file.operator("PACK", (batch, ints[3]), (pair,), "PackOptions", valuesCount=2)
    flat = net.activation(1, 256)
    file.operator("RESHAPE", (x, pair), (flat,))
    return net.finish(net.dense(flat, 4))


def constant_view() -> bytes:
    """A constant that the device reshapes before it is added."""
    net = Net()
    x = net.image(4)
    constant = net.file.constant(np.arange(-128, 128, dtype=np.int8), scale=SCALE)
    return net.finish(net.add(net.reshape(constant, 1, 8, 8, 4), x))


def unused_tensor() -> bytes:
    """A tensor that no operator names; the runtime reserves memory for it all the same."""
    net = Net()
    x = net.image(4)
    net.activation(1, 999)
    return net.finish(net.conv(x, 4))


NETS = (
    branchy,
    views,
    several,
    several_nodes,
    broadcast,
    shape_arithmetic,
    constant_view,
    unused_tensor,
)


BEYOND_THE_GRAPH = (shape_arithmetic, constant_view, unused_tensor)
"""Those in which the device keeps tensors that the graph has no buffer for."""


def random_net(seed: int, layers: int = 9) -> bytes:
    """Random layers of all kinds, in one of the orders in which they can run."""
    chance = random.Random(seed)
    net = Net(size=4, seed=seed)
    images = [net.image(chance.choice((2, 4))) for _ in range(chance.randint(1, 2))]
    for _ in range(layers):
        images += _random_layer(net, images, chance)
    _shuffle(net, chance)
    return net.finish(images[-1], *chance.sample(images[:-1], chance.randint(0, 2)))


def _random_layer(net: Net, images: Sequence[int], chance: random.Random) -> list[int]:
    x = chance.choice(images)
    peers = [value for value in images if net.shape(value) == net.shape(x)]
    match chance.choice(("conv", "add", "add", "add", "reshape", "concat", "split")):
        case "conv":
            return [net.conv(x, chance.choice((2, 4, 8)))]
        case "add":
            return [net.add(x, chance.choice(peers))]
        case "reshape":
            flat = net.reshape(x, 1, int(np.prod(net.shape(x))))
            return [net.reshape(flat, *net.shape(x))]
        case "split" if net.shape(x)[-1] % 2 == 0:
            return net.split(x, 2)
        case _:
            return [net.concat(x, chance.choice(images))]


def _shuffle(net: Net, chance: random.Random) -> None:
    """Put the operators in a random order in which each comes after what it reads."""
    left, graph = list(net.file.graph.operators), net.file.graph
    missing = {tensor for operator in left for tensor in operator.outputs}
    graph.operators = []
    while left:
        ready = [operator for operator in left if missing.isdisjoint(operator.inputs)]
        operator = chance.choice(ready)
        left.remove(operator)
        missing -= set(operator.outputs)
        graph.operators.append(operator)
