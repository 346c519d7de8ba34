"""Small networks, each with a way in which channels hang together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Build = Callable[[], nn.Module]
Wire = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Net:
    """A network, and what its channel groups have to be.

    Attributes:
        build: makes it.
        shapes: of its inputs.
        free: of each group that can lose channels, its width and the channels of a unit.
        frozen: of each group that cannot, words of the reason.
    """

    build: Build
    shapes: tuple[tuple[int, ...], ...]
    free: dict[str, tuple[int, int]]
    frozen: dict[str, str]


NETS: dict[str, Net] = {}

IMAGE = (1, 3, 8, 8)


def net(
    *shapes: tuple[int, ...], free: dict[str, tuple[int, int]], frozen: dict[str, str]
) -> Callable[[Build], Build]:
    """Enter a network under its name."""

    def enter(build: Build) -> Build:
        NETS[build.__name__] = Net(build, shapes, free, frozen)
        return build

    return enter


class Wired(nn.Module):
    """Layers by name, and a function of them and the inputs."""

    def __init__(self, wire: Wire, **layers: nn.Module) -> None:
        super().__init__()
        self.wire = wire
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.wire(self, *inputs)


def conv(i: int, o: int, k: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, groups=groups)


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


IN = {"inputs_0": "the model's input"}
ENDS = IN | {"head": "the model's output"}


@net(IMAGE, free={"a": (6, 1), "b": (5, 1)}, frozen=ENDS)
def residual_chain() -> nn.Module:
    """Two sums, one behind the other: all summands are one group."""

    def wire(m: Any, x: Tensor) -> Any:
        y = F.relu(m.a(x))
        y = y + m.c(F.relu(m.b(y)))
        y = y + m.d(y)
        return m.head(pooled(y))

    return Wired(wire, a=conv(3, 6), b=conv(6, 5), c=conv(5, 6), d=conv(6, 6), head=nn.Linear(6, 4))


@net(IMAGE, free={"a": (6, 1), "b": (8, 1)}, frozen=ENDS)
def residual_with_projection() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.head(pooled(F.relu(m.b(y) + m.skip(y))))

    return Wired(wire, a=conv(3, 6), b=conv(6, 8), skip=conv(6, 8, 1), head=nn.Linear(8, 4))


@net(IMAGE, free={"a": (4, 1), "b": (5, 1), "c": (6, 1)}, frozen=ENDS)
def dense_block() -> nn.Module:
    """Every layer reads all before it, as in DenseNet."""

    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        y = torch.cat([y, m.b(F.relu(y))], 1)
        y = torch.cat([y, m.c(F.relu(y))], 1)
        return m.head(pooled(y))

    return Wired(wire, a=conv(3, 4), b=conv(4, 5), c=conv(9, 6), head=nn.Linear(15, 4))


@net(IMAGE, free={"a": (4, 1), "b": (3, 1)}, frozen=ENDS)
def concat_then_add() -> nn.Module:
    """A sum of what was joined: each part is tied to its part of the other summand."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(torch.cat([m.a(x), m.b(x)], 1) + m.c(x)))

    return Wired(wire, a=conv(3, 4), b=conv(3, 3), c=conv(3, 7), head=nn.Linear(7, 4))


@net(IMAGE, free={"a[0:4]": (4, 1), "a[4:8]": (4, 1), "b": (4, 1), "join": (5, 1)}, frozen=ENDS)
def c2f() -> nn.Module:
    """A block of YOLOv8: halves, one of them worked on, and all of it joined."""

    def wire(m: Any, x: Tensor) -> Any:
        left, right = m.a(x).chunk(2, 1)
        return m.head(pooled(m.join(torch.cat([left, right, m.b(right)], 1))))

    return Wired(wire, a=conv(3, 8), b=conv(4, 4), join=conv(12, 5), head=nn.Linear(5, 4))


@net(IMAGE, free={"a": (6, 1), "point": (5, 1)}, frozen=ENDS)
def depthwise() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.point(F.relu6(m.norm(m.deep(m.a(x)))))))

    return Wired(
        wire,
        a=conv(3, 6),
        deep=conv(6, 6, groups=6),
        norm=nn.BatchNorm2d(6),
        point=conv(6, 5, 1),
        head=nn.Linear(5, 4),
    )


@net(IMAGE, free={"a": (4, 1)}, frozen=ENDS)
def depthwise_with_multiplier() -> nn.Module:
    """Each channel has two filters, which go with it."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.deep(m.a(x))))

    return Wired(wire, a=conv(3, 4), deep=conv(4, 8, groups=4), head=nn.Linear(8, 4))


@net(IMAGE, free={"a": (3, 2), "b": (4, 2)}, frozen=ENDS)
def grouped() -> nn.Module:
    """Groups stay equal: a unit is a channel of each."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.b(m.a(x))))

    return Wired(wire, a=conv(3, 6), b=conv(6, 8, groups=2), head=nn.Linear(8, 4))


@net(IMAGE, free={"a": (6, 1), "up": (5, 1)}, frozen=ENDS)
def transposed() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.deep(m.up(m.a(x)))))

    return Wired(
        wire,
        a=conv(3, 6),
        up=nn.ConvTranspose2d(6, 5, 2, stride=2),
        deep=nn.ConvTranspose2d(5, 5, 3, groups=5),
        head=nn.Linear(5, 4),
    )


@net(IMAGE, free={"a": (2, 4), "b": (4, 2)}, frozen=ENDS)
def channel_shuffle() -> nn.Module:
    """A shuffle ties the channels of its groups, and the grouped convolution both halves of it."""

    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        n, c, h, w = y.shape
        y = y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return m.head(pooled(m.b(y)))

    return Wired(wire, a=conv(3, 8), b=conv(8, 8, groups=2), head=nn.Linear(8, 4))


@net(IMAGE, free={"a": (3, 4)}, frozen=ENDS)
def pixel_shuffle() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(F.pixel_shuffle(m.a(x), 2)))

    return Wired(wire, a=conv(3, 12), head=nn.Linear(3, 4))


@net((1, 3, 4, 4), free={"a": (5, 1), "b": (6, 1)}, frozen=ENDS)
def flatten_to_dense() -> nn.Module:
    """A channel goes with the weights of all its pixels."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(F.relu(m.b(m.a(x).flatten(1))))

    return Wired(wire, a=conv(3, 5), b=nn.Linear(80, 6), head=nn.Linear(6, 4))


@net((1, 3, 4, 4), free={"a": (5, 1)}, frozen=ENDS)
def channels_last_to_dense() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(m.a(x).permute(0, 2, 3, 1).flatten(1))

    return Wired(wire, a=conv(3, 5), head=nn.Linear(80, 4))


@net((1, 7), free={"a": (3, 16), "b": (5, 1)}, frozen=ENDS)
def dense_to_images() -> nn.Module:
    """What becomes a channel is all the outputs of its pixels."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.b(m.a(x).reshape(1, -1, 4, 4))))

    return Wired(wire, a=nn.Linear(7, 48), b=conv(3, 5), head=nn.Linear(5, 4))


@net(IMAGE, free={"a": (6, 1), "down": (3, 1)}, frozen=ENDS)
def squeeze_excite() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        weight = torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3), keepdim=True)))))
        return m.head(pooled(y * weight))

    return Wired(wire, a=conv(3, 6), down=conv(6, 3, 1), up=conv(3, 6, 1), head=nn.Linear(6, 4))


@net(IMAGE, free={"a": (6, 1)}, frozen=ENDS | {"gate": "nothing would be left"})
def broadcast_over_channels() -> nn.Module:
    """A map of one channel weighs all of them, and is no channel of theirs."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.a(x) * torch.sigmoid(m.gate(x))))

    return Wired(wire, a=conv(3, 6), gate=conv(3, 1), head=nn.Linear(6, 4))


@net((1, 5, 8), free={"b": (6, 1)}, frozen=ENDS | {"a": "takes the mean and the variance"})
def layer_norm() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(F.gelu(m.b(m.norm(m.a(x)))))

    return Wired(
        wire, a=nn.Linear(8, 7), norm=nn.LayerNorm(7), b=nn.Linear(7, 6), head=nn.Linear(6, 4)
    )


HEADS = 2
WIDTH = 8


class Attention(nn.Module):
    """Self-attention written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        z: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return z


@net((1, 5, 7), free={"a": (6, 1), "att.q": (4, 2), "att.v": (4, 2)}, frozen=ENDS)
def attention_by_hand() -> nn.Module:
    """Positions in a head go in every head; those of queries with those of keys."""

    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.head(y + m.att(y))

    return Wired(wire, a=nn.Linear(7, 6), att=Attention(), head=nn.Linear(6, 4))


@net((1, 5, 7), free={"a": (8, 1), "att.2": (4, 6)}, frozen=ENDS)
def attention_of_torch() -> nn.Module:
    """Its one projection is reshaped to queries, keys and values, which so are alike."""

    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.head(y + m.att(y, y, y, need_weights=False)[0])

    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    return Wired(wire, a=nn.Linear(7, 8), att=layer, head=nn.Linear(8, 4))


@net(
    (4, 1, 5),
    free={"a": (6, 1), "cell": (3, 1), "cell.5": (3, 1)},
    frozen=ENDS | dict.fromkeys(("cell:1", "cell.5:1"), "reads in each direction"),
)
def lstm_stacked() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(m.cell(m.a(x))[0])

    return Wired(wire, a=nn.Linear(5, 6), cell=nn.LSTM(6, 3, 2), head=nn.Linear(3, 4))


@net((4, 1, 5), free={"cell": (3, 1)}, frozen=ENDS | {"cell:1": "reads in each direction"})
def gru_bidirectional() -> nn.Module:
    """Both directions have as many hidden units: the same of each go."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(m.cell(x)[0])

    return Wired(wire, cell=nn.GRU(5, 3, bidirectional=True), head=nn.Linear(6, 4))


@net(IMAGE, free={"a": (4, 1), "b[4:6]": (2, 1)}, frozen=ENDS)
def padded_shortcut() -> nn.Module:
    """Zeros stand for the channels that a shortcut has not (ResNet, option A)."""

    def wire(m: Any, x: Tensor) -> Any:
        y = m.a(x)
        return m.head(pooled(F.pad(y, (0, 0, 0, 0, 0, 2)) + m.b(y)))

    return Wired(wire, a=conv(3, 4), b=conv(4, 6), head=nn.Linear(6, 4))


@net(IMAGE, free={"a": (6, 1)}, frozen=ENDS)
def weights_used_twice() -> nn.Module:
    """What goes into a layer and what comes out are the same where it is its own successor."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.b(F.relu(m.b(m.a(x))))))

    return Wired(wire, a=conv(3, 6), b=conv(6, 6), head=nn.Linear(6, 4))


@net(
    IMAGE,
    (1, 2, 8, 8),
    free={"a": (6, 1), "c": (5, 1)},
    frozen=ENDS
    | {"inputs_1": "the model's input", "side": "the model's output", "tap": "the model's output"},
)
def several_ends() -> nn.Module:
    """An output in the middle freezes what makes it."""

    def wire(m: Any, x: Tensor, z: Tensor) -> Any:
        y = m.a(x) + m.b(z)
        tap = m.tap(y)
        return m.head(pooled(m.c(tap))), m.side(pooled(y)), tap

    return Wired(
        wire,
        a=conv(3, 6),
        b=conv(2, 6),
        tap=conv(6, 4),
        c=conv(4, 5),
        head=nn.Linear(5, 4),
        side=nn.Linear(6, 2),
    )


@net((1, 7), free={"b": (5, 1)}, frozen=ENDS | {"a": "nothing would be left"})
def one_output() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(F.relu(m.b(torch.tanh(m.a(x)))))

    return Wired(wire, a=nn.Linear(7, 1), b=nn.Linear(1, 5), head=nn.Linear(5, 4))


@net((1, 7), free={"a": (6, 1)}, frozen=ENDS)
def batch_norm_1d() -> nn.Module:
    def wire(m: Any, x: Tensor) -> Any:
        return m.head(F.relu(m.norm(m.a(x))))

    return Wired(wire, a=nn.Linear(7, 6), norm=nn.BatchNorm1d(6), head=nn.Linear(6, 4))


class Shift(nn.Module):
    """A learned number added to each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(1, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


@net(IMAGE, free={"a": (6, 1)}, frozen=ENDS)
def constant_added() -> nn.Module:
    """What is added to a removed channel goes with it."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(F.relu(m.shift(m.a(x)))))

    return Wired(wire, a=conv(3, 6), shift=Shift(), head=nn.Linear(6, 4))


@net(
    IMAGE,
    free={"a": (6, 1)},
    frozen=ENDS | dict.fromkeys(("b[0:7:2]", "b[1:8:2]"), "strides over it by 2"),
)
def strided_slice() -> nn.Module:
    """Every second channel is taken: what is left would not lie in equal steps."""

    def wire(m: Any, x: Tensor) -> Any:
        return m.head(pooled(m.b(m.a(x))[:, ::2]))

    return Wired(wire, a=conv(3, 6), b=conv(6, 8), head=nn.Linear(4, 4))
