"""Data to train on: three that are known by name, and those of a person's own."""

from __future__ import annotations

import functools
import gzip
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from irprune.frontends.torch_export import called, foreign_code
from irprune.ir.errors import UsageError
from irprune.ir.types import Array

Samples = Subset[Any]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Splits:
    """A data set in its parts, each of pairs of an input and a label.

    Attributes:
        train: what weights are trained on.
        held_out: a part of the training data that widths are learned on.
        test: what accuracy is measured on.
    """

    train: Samples
    held_out: Samples
    test: Samples


def splits(source: str, path: Path | None, held_out: float, seed: int) -> Splits:
    """A data set by its name.

    Args:
        source: ``digits``, ``mnist``, ``cifar10``, or ``package.module:factory``, which gives two
            datasets of torch, to train and to test on.
        path: the folder with the files of MNIST or CIFAR-10.
        held_out: the share of the training data that is held out.
        seed: of what is held out.

    Raises:
        UsageError: there are no such data, or they are damaged or too few.
        InvalidModel: a factory's code fails.
    """
    if source in _BUILT_IN:
        try:
            train, plain, test = _BUILT_IN[source](path)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(f"{source} cannot be read: {error}", where=str(path)) from None
    elif ":" in source:
        if path is not None:
            raise UsageError("data of one's own take no data.path", where=source)
        train, test = _made(source)
        plain = train
    else:
        known = ", ".join(_BUILT_IN)
        raise UsageError(f"there is no data set '{source}'", hint=f"{known}, or package:factory")
    count = len(train)
    aside = round(held_out * count)
    if not 0 < aside < count or not len(test):
        raise UsageError(f"has {count} samples to train on, too few to hold some out", where=source)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    whole = Subset(test, range(len(test)))
    return Splits(Subset(train, order[aside:]), Subset(plain, order[:aside]), whole)


@dataclass(frozen=True)
class Batches:
    """The batches of epochs, each in parts, as one of several processes sees them.

    Attributes:
        samples: what they are made of.
        size: samples in a batch, over all processes.
        parts: in how many parts a process gets its share of a batch.
        seed: of their order.
        rank: which process this is.
        ranks: how many there are.
        classes: what labels are below.
    """

    samples: Samples
    size: int
    parts: int
    seed: int
    rank: int
    ranks: int
    classes: int

    def __post_init__(self) -> None:
        pieces = self.parts * self.ranks
        if self.size % pieces:
            raise UsageError(
                f"training.batch {self.size} is not divided by {pieces}, its parts in all processes"
            )
        if not self.per_epoch:
            raise UsageError(f"training.batch is {self.size}, there are fewer samples")

    @property
    def per_epoch(self) -> int:
        """How many there are in an epoch; what is left over waits for another."""
        return len(self.samples) // self.size

    def of(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Those of an epoch, from one on."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        order = torch.randperm(len(self.samples), generator=generator)
        whole = order[: self.per_epoch * self.size].reshape(self.per_epoch, self.size)[first:]
        own = whole[:, self.rank :: self.ranks]
        indices = [part.tolist() for batch in own for part in batch.chunk(self.parts)]
        # A loader without one draws from torch's where it begins, which may be anywhere.
        loader = iter(DataLoader(self.samples, batch_sampler=indices, generator=generator))
        for _ in own:
            yield [self._next(loader) for _ in range(self.parts)]

    def _next(self, loader: Iterator[Any]) -> Batch:
        with foreign_code("the training data cannot be read"):
            batch = next(loader)
        return checked(batch, self.classes)


def checked(batch: Any, classes: int) -> Batch:
    """A batch of the form that is trained on.

    Raises:
        UsageError: it is of another form, or has a label that is no class.
    """
    match batch:
        case [Tensor() as x, Tensor() as y] if y.dtype == torch.int64 and y.ndim == 1:
            if not len(y) or (int(y.min()) >= 0 and int(y.max()) < classes):
                return x, y
            wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
            raise UsageError(f"the data have label {wrong}, and the model has {classes} classes")
    raise UsageError(
        "the data are no pairs of an input and a label",
        hint="let the datasets give (tensor, whole number)",
    )


class Images(Dataset[Any]):
    """Images in memory, as floats.

    Args:
        pixels: (count, channels, height, width), from 0 to 1.
        labels: (count,).
        shifts: how many pixels an image may move where it is trained on, and be mirrored; 0 for
            neither.
    """

    def __init__(self, pixels: Array, labels: Array, shifts: int = 0) -> None:
        self._size = pixels.shape[2:]
        self._images = functional.pad(torch.from_numpy(pixels).float(), [shifts] * 4)
        self._labels: list[int] = labels.astype(np.int64).tolist()
        if len(self._labels) != len(self._images):
            raise ValueError(f"{len(self._labels)} labels of {len(self._images)} images")
        self._shifts = shifts

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[index]
        if self._shifts:
            height, width = self._size
            top, left = torch.randint(0, 2 * self._shifts + 1, (2,)).tolist()
            image = image[:, top : top + height, left : left + width]
            if torch.rand(()) < 0.5:
                image = image.flip(-1)
        return image, self._labels[index]


def _made(source: str) -> tuple[Any, Any]:
    match called(source):
        case (train, test) if hasattr(train, "__len__") and hasattr(test, "__len__"):
            return train, test
    raise UsageError("does not give (train, test), two datasets with lengths", where=source)


def _digits(path: Path | None) -> tuple[Images, Images, Images]:
    """1,797 images of 8x8 pixels, which come with scikit-learn; a fifth of them to test on."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        hint = "pip install 'irprune[train]'"
        raise UsageError("digits need scikit-learn, which is not installed", hint=hint) from None
    if path is not None:
        raise UsageError("digits come with scikit-learn, and take no path")
    found = load_digits()
    parts = train_test_split(
        found.images[:, None] / 16,
        found.target,
        test_size=0.2,
        random_state=0,
        stratify=found.target,
    )
    train = Images(parts[0], parts[2])
    return train, train, Images(parts[1], parts[3])


def _mnist(path: Path | None) -> tuple[Images, Images, Images]:
    """60,000 and 10,000 images of 28x28 pixels."""
    folder = _folder("mnist", path)
    train = Images(*_mnist_part(folder, "train", "train"))
    return train, train, Images(*_mnist_part(folder, "test", "t10k"))


def _mnist_part(folder: Path, part: str, prefix: str) -> tuple[Array, Array]:
    """One part: an .npz of images and labels, or the two files that MNIST is published as."""
    packed = folder / f"mnist_{part}.npz"
    if packed.exists():
        arrays = _arrays(packed, ("images", "labels"))
        pixels, labels = arrays["images"], arrays["labels"]
    else:
        pixels = _idx(folder, f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
        labels = _idx(folder, f"{prefix}-labels-idx1-ubyte", 8)
    return pixels[:, None] / np.float32(255), labels


def _idx(folder: Path, name: str, header: int) -> Array:
    """The bytes behind the header of a file of MNIST, which may be compressed."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        raise UsageError(f"there is no {name}, nor {name}.gz", where=str(folder))
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    return np.frombuffer(data, np.uint8, offset=header)


def _cifar10(path: Path | None) -> tuple[Images, Images, Images]:
    """50,000 and 10,000 images of 3x32x32 pixels, in training moved by up to four and mirrored.

    Channels are normalized by the means and deviations of the training images.
    """
    folder = _folder("cifar10", path)
    train, test = _cifar10_part(folder, "train"), _cifar10_part(folder, "test")
    return Images(*train, shifts=4), Images(*train), Images(*test)


@functools.cache
def _cifar10_part(folder: Path, part: str) -> tuple[Array, Array]:
    """One part: images as JPEG in an .npz, or the binary files that CIFAR-10 is published as."""
    packed = folder / f"cifar10_jpeg_{part}.npz"
    if packed.exists():
        arrays = _arrays(packed, ("jpeg", "offsets", "labels"))
        pixels, labels = _decoded(arrays["jpeg"], arrays["offsets"]), arrays["labels"]
    else:
        names = (
            [f"data_batch_{i}.bin" for i in range(1, 6)] if part == "train" else ["test_batch.bin"]
        )
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise UsageError(
                f"there is neither {packed.name} nor {missing[0]}",
                where=str(folder),
                hint="unpack cifar-10-binary.tar.gz there",
            )
        records = np.concatenate(
            [np.frombuffer((folder / name).read_bytes(), np.uint8) for name in names]
        ).reshape(-1, 1 + 3 * 32 * 32)
        pixels, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
    mean, std = (np.array(x, np.float32).reshape(3, 1, 1) for x in (_MEAN, _STD))
    return (pixels / np.float32(255) - mean) / std, labels


_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)
"""Of the channels of CIFAR-10's training images."""


def _decoded(jpeg: Array, offsets: Array) -> Array:
    """(count, 3, 32, 32) pixels of images whose files lie end to end."""
    try:
        from PIL import Image
    except ImportError:
        hint = "pip install 'irprune[images]'"
        raise UsageError("images need pillow, which is not installed", hint=hint) from None
    data = jpeg.tobytes()
    images = [
        np.asarray(Image.open(io.BytesIO(data[start:end])).convert("RGB"))
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    return np.stack(images).transpose(0, 3, 1, 2)


def _arrays(path: Path, names: Sequence[str]) -> Mapping[str, Array]:
    """Arrays of an .npz."""
    with np.load(path) as file:
        return {name: file[name] for name in names}


def _folder(name: str, path: Path | None) -> Path:
    if path is None:
        raise UsageError(f"{name} needs data.path, the folder with its files")
    return path


_BUILT_IN: Mapping[str, Callable[[Path | None], tuple[Images, Images, Images]]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
}
"""What is trained on, the same without changes, and what is tested on."""
