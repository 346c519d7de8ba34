"""Samples for a model's inputs: from .npy and .npz files, or a folder of images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from irprune.ir.errors import IrpruneError, UsageError
from irprune.ir.types import Array, Shape, dims

IMAGES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the files that are taken for images."""

_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pixels of at most 8 bits a channel, which Pillow converts without clipping."""

_DAMAGED = (
    ValueError,
    EOFError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise for files that are damaged, encrypted or of another kind."""

Input = tuple[str, Shape]
"""The name and the shape of an input."""

Sample = list[Array]
"""An array for each input, float32, in the input's shape."""


def read_samples(
    path: Path,
    inputs: Sequence[Input],
    *,
    channels_last: bool,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
) -> list[Sample]:
    """Samples for a model.

    Args:
        path: an .npy file of one input's samples along its first axis; an .npz file with one such
            array for each input, by its name; or a folder of images, in the order of their names.
        inputs: what the model takes, with a batch of 1.
        channels_last: whether images are height x width x channels in the model.
        mean: subtracted from the channels of images, which are from 0 to 1.
        std: what they are divided by then.
        limit: the most samples to read.

    Raises:
        UsageError: what is there is no such data, has another shape, or is not finite.
    """
    try:
        if path.is_dir():
            samples = _images(path, inputs, channels_last, mean, std)
        elif mean is not None or std is not None:
            raise UsageError("mean and standard deviation are for images")
        else:
            samples = _arrays(path, inputs)
        found = _finite(samples, inputs, limit)
    except IrpruneError as error:
        raise error.at(str(path)) from None
    if not found:
        raise UsageError("has no samples", where=str(path))
    return found


def _finite(samples: Iterator[Sample], inputs: Sequence[Input], limit: int | None) -> list[Sample]:
    found: list[Sample] = []
    for number, sample in enumerate(samples):
        if limit is not None and number >= limit:
            break
        for (name, _), array in zip(inputs, sample, strict=True):
            if not np.isfinite(array).all():
                raise UsageError(f"sample {number} of '{name}' is not finite (NaN or infinity)")
        found.append(sample)
    return found


def _arrays(path: Path, inputs: Sequence[Input]) -> Iterator[Sample]:
    """Samples along the first axis of one array for each input."""
    arrays = [
        _along_samples(array, name, shape)
        for array, (name, shape) in zip(_loaded(path, inputs), inputs, strict=True)
    ]
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        raise UsageError(f"has different numbers of samples for its inputs: {sorted(counts)}")
    for number in range(counts.pop()):
        with np.errstate(over="ignore"):  # what single precision cannot hold is found not finite
            yield [
                np.ascontiguousarray(array[number], np.float32).reshape(shape)
                for array, (_, shape) in zip(arrays, inputs, strict=True)
            ]


def _loaded(path: Path, inputs: Sequence[Input]) -> list[Array]:
    """The array of each input."""
    if path.suffix not in (".npy", ".npz"):
        raise UsageError("is no .npy or .npz file, and no folder of images")
    try:
        content = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}") from None
    except _DAMAGED:
        raise UsageError(f"is damaged, or no {path.suffix} file of numbers") from None
    if isinstance(content, np.ndarray):
        if len(inputs) > 1:
            names = ", ".join(name for name, _ in inputs)
            raise UsageError(f"has one array, and the model has {len(inputs)} inputs: {names}")
        return [content]
    with content:
        return _named(content, inputs)


def _named(content: Mapping[str, Array], inputs: Sequence[Input]) -> list[Array]:
    names = list(content)
    if len(names) == len(inputs) == 1:
        return [_read(content, names[0])]
    missing = [name for name, _ in inputs if name not in names]
    if missing:
        raise UsageError(f"has no array '{missing[0]}': it has {', '.join(names) or 'none'}")
    return [_read(content, name) for name, _ in inputs]


def _read(content: Mapping[str, Array], name: str) -> Array:
    try:
        found = content[name]
    except _DAMAGED:
        raise UsageError(f"array '{name}' is damaged, or not of numbers") from None
    if not isinstance(found, np.ndarray):  # a file of another kind among the arrays
        raise UsageError(f"'{name}' is no array")
    return found


def _along_samples(array: Array, name: str, shape: Shape) -> Array:
    """The array with samples along its first axis, of the input's shape or without its batch."""
    if array.dtype.kind not in "fiub":
        raise UsageError(f"array for '{name}' is of {array.dtype}, not of numbers")
    single = shape[1:] if shape[:1] == (1,) else shape
    if array.shape in (shape, single):
        return array.reshape(1, *shape)
    if array.shape[1:] in (shape, single):
        return array
    raise UsageError(
        f"array for '{name}' is {dims(array.shape)}; wanted are samples of {dims(single)}",
        hint="put the samples along the first axis, in the model's layout",
    )


def _images(
    folder: Path,
    inputs: Sequence[Input],
    channels_last: bool,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Iterator[Sample]:
    """Images as the model takes them."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not paths:
        raise UsageError("has no images")
    if len(inputs) != 1 or len(inputs[0][1]) != 4:
        raise UsageError("images are for a model with one input, which takes images")
    name, shape = inputs[0]
    height, width, channels = (shape[axis] for axis in ((1, 2, 3) if channels_last else (2, 3, 1)))
    if channels not in (1, 3):
        raise UsageError(f"input '{name}' has {channels} channels; images have 1 or 3")
    shift, scale = (
        _per_channel(numbers, channels, default) for numbers, default in ((mean, 0.0), (std, 1.0))
    )
    if not np.all(scale > 0):
        raise UsageError("a standard deviation is not positive")
    for path in paths:
        pixels = (_pixels(path, (width, height), channels) - shift) / scale
        order = (0, 1, 2) if channels_last else (2, 0, 1)
        yield [np.ascontiguousarray(pixels.transpose(order), np.float32)[None]]


def _per_channel(numbers: Sequence[float] | None, channels: int, default: float) -> Array:
    found = np.asarray([default] if numbers is None else numbers, np.float64)
    if len(found) not in (1, channels):
        raise UsageError(f"{len(found)} numbers for {channels} channels")
    return found


def _pixels(path: Path, size: tuple[int, int], channels: int) -> Array:
    """An image from 0 to 1, height x width x channels, resized bilinearly."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise UsageError("images need Pillow", hint="pip install 'irprune[images]'") from None
    try:
        with Image.open(path) as image:
            if image.mode not in _MODES:
                kinds = ", ".join(sorted(_MODES))
                raise UsageError(
                    f"{path.name} has pixels of kind {image.mode}", hint=f"convert it to {kinds}"
                )
            mode = "L" if channels == 1 else "RGB"
            resized = image.convert(mode).resize(size, Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        raise UsageError(f"{path.name} is no image that can be read") from None
    return np.asarray(resized, np.float64).reshape(size[1], size[0], channels) / 255
