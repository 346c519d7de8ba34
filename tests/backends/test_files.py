import os
import stat
from pathlib import Path

import pytest

from irprune.backends.files import write_atomically
from irprune.ir.errors import UsageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["model.tflite"]


def test_permissions_are_those_of_the_file_or_of_any_new_one(tmp_path: Path) -> None:
    path, other = tmp_path / "model", tmp_path / "other"
    other.write_bytes(b"")
    write_atomically(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    path.chmod(0o640)
    write_atomically(path, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "model", tmp_path / "link"
    link.symlink_to(path)
    write_atomically(link, b"one")
    assert link.is_symlink()
    assert path.read_bytes() == b"one"


def test_an_input_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path, link = tmp_path / "model", tmp_path / "link"
    path.write_bytes(b"one")
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(UsageError, match="would overwrite its input"):
            write_atomically(target, b"two", source=path)
    assert path.read_bytes() == b"one"
    write_atomically(path, b"two", source=link, force=True)
    assert path.read_bytes() == b"two"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"one")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["model"]


def test_what_is_no_place_for_a_file_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, why in (
        (tmp_path, "is no file"),
        (tmp_path / "absent" / "model", "No such file"),
        (tmp_path / ("m" * 300), "too long"),
        (loop, "loop"),
    ):
        with pytest.raises(UsageError, match=why):
            write_atomically(path, b"one")
    assert names(tmp_path) == ["loop"]
