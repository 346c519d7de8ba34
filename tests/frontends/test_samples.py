"""Samples from files and folders, and what is said of those that are none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irprune.frontends.samples import Input, read_samples
from irprune.ir.errors import UsageError

ONE: list[Input] = [("x", (1, 3, 4, 5))]
TWO: list[Input] = [("a", (1, 2)), ("b", (1, 3))]


def read(path: Path, inputs: list[Input], **options: object) -> list[list[np.ndarray]]:
    return read_samples(path, inputs, **({"channels_last": False} | options))  # type: ignore[arg-type]  # keywords of all kinds


def stored(path: Path, *shape: int) -> np.ndarray:
    array = np.random.default_rng(0).normal(size=shape)
    np.save(path, array)
    return array.astype(np.float32)


def test_samples_lie_along_the_first_axis(tmp_path: Path) -> None:
    for shape in [(6, 3, 4, 5), (6, 1, 3, 4, 5)]:
        wanted = stored(tmp_path / "x.npy", *shape).reshape(6, 1, 3, 4, 5)
        found = read(tmp_path / "x.npy", ONE)
        assert [array.dtype for (array,) in found] == [np.float32] * 6
        np.testing.assert_array_equal([array for (array,) in found], wanted)
    assert len(read(tmp_path / "x.npy", ONE, limit=2)) == 2


def test_one_sample_needs_no_axis_for_it(tmp_path: Path) -> None:
    for shape in [(3, 4, 5), (1, 3, 4, 5)]:
        wanted = stored(tmp_path / "x.npy", *shape).reshape(1, 3, 4, 5)
        ((found,),) = read(tmp_path / "x.npy", ONE)
        np.testing.assert_array_equal(found, wanted)


def test_arrays_by_name(tmp_path: Path) -> None:
    a, b = np.arange(8.0).reshape(4, 2), np.arange(12.0).reshape(4, 3)
    np.savez(tmp_path / "ab.npz", b=b, a=a, other=np.zeros(1))
    found = read(tmp_path / "ab.npz", TWO)
    np.testing.assert_array_equal([x[0][0] for x in found], a)
    np.testing.assert_array_equal([x[1][0] for x in found], b)
    np.savez(tmp_path / "one.npz", any_name=a)
    assert len(read(tmp_path / "one.npz", TWO[:1])) == 4


def test_images(tmp_path: Path) -> None:
    """From 0 to 1, normalized as torchvision does it, sorted by name, in either layout."""
    for name, colour in [("b.png", (255, 0, 51)), ("a.PNG", (0, 0, 0))]:
        Image.new("RGB", (9, 7), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = read(tmp_path, ONE, mean=(0.5, 0, 0), std=(0.5, 1, 0.1))
    assert [array.shape for (array,) in found] == [(1, 3, 4, 5)] * 2
    np.testing.assert_allclose(found[0][0][0, :, 0, 0], [-1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1][0][0, :, 2, 3], [1, 0, 2], atol=1e-6)
    ((last,), _) = read(tmp_path, [("x", (1, 4, 5, 3))], channels_last=True)
    assert last.shape == (1, 4, 5, 3)
    ((grey,), _) = read(tmp_path, [("x", (1, 1, 4, 5))])
    assert grey.shape == (1, 1, 4, 5)


def test_what_is_no_data(tmp_path: Path) -> None:
    def refused(path: Path, inputs: list[Input], match: str, **options: object) -> None:
        with pytest.raises(UsageError, match=match) as error:
            read(path, inputs, **options)
        assert str(path) in str(error.value)

    stored(tmp_path / "x.npy", 6, 4, 5, 3)
    refused(tmp_path / "x.npy", ONE, "is 6x4x5x3; wanted are samples of 3x4x5")
    refused(tmp_path / "x.npy", TWO, "one array, and the model has 2 inputs: a, b")
    refused(tmp_path / "x.npy", ONE, "are for images", mean=(0.5,))
    refused(tmp_path / "none.npy", ONE, "No such file")
    refused(tmp_path / "none.csv", ONE, r"no \.npy or \.npz file, and no folder")
    (tmp_path / "text.npy").write_text("no numbers")
    refused(tmp_path / "text.npy", ONE, "is damaged")
    (tmp_path / "text.npz").write_text("no archive")
    refused(tmp_path / "text.npz", ONE, "is damaged")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    refused(tmp_path / "objects.npy", ONE, "is damaged, or no .npy file of numbers")
    np.savez(tmp_path / "objects.npz", x=np.array([{}]), allow_pickle=True)
    refused(tmp_path / "objects.npz", [("x", (1, 2))], "'x' is damaged, or not of numbers")
    np.savez(tmp_path / "ab.npz", a=np.zeros((4, 2)), c=np.zeros((4, 3)))
    refused(tmp_path / "ab.npz", TWO, "has no array 'b': it has a, c")
    np.savez(tmp_path / "ab.npz", a=np.zeros((4, 2)), b=np.zeros((5, 3)))
    refused(tmp_path / "ab.npz", TWO, r"different numbers of samples for its inputs: \[4, 5\]")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("x", "no array")
    refused(tmp_path / "other.npz", [("x", (1, 2))], "'x' is no array")
    np.save(tmp_path / "empty.npy", np.zeros((0, 3, 4, 5)))
    refused(tmp_path / "empty.npy", ONE, "has no samples")
    np.save(tmp_path / "words.npy", np.array(["a", "b", "c"]))
    refused(tmp_path / "words.npy", [("x", (1, 3))], "not of numbers")
    for number in (np.nan, np.inf):
        array = np.zeros((3, 3, 4, 5))
        array[1, 0, 0, 0] = number
        np.save(tmp_path / "nan.npy", array)
        refused(tmp_path / "nan.npy", ONE, "sample 1 of 'x' is not finite")
    np.save(tmp_path / "large.npy", np.full((2, 3, 4, 5), 1e300))
    refused(tmp_path / "large.npy", ONE, "sample 0 of 'x' is not finite")


def test_folders_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no images"):
        read(tmp_path, ONE)
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(UsageError, match=r"broken\.png is no image that can be read"):
        read(tmp_path, ONE)
    Image.new("I;16", (9, 7)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"a\.png has pixels of kind I;16"):
        read(tmp_path, ONE)
    Image.new("RGB", (9, 7)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="for a model with one input, which takes images"):
        read(tmp_path, TWO)
    with pytest.raises(UsageError, match="has 2 channels; images have 1 or 3"):
        read(tmp_path, [("x", (1, 2, 4, 5))])
    with pytest.raises(UsageError, match="2 numbers for 3 channels"):
        read(tmp_path, ONE, mean=(0.5, 0.5))
    with pytest.raises(UsageError, match="a standard deviation is not positive"):
        read(tmp_path, ONE, std=(0.0,))
