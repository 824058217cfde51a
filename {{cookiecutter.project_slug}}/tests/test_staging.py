"""Bringing data to the local disk: whole, verified, resumable, and in one pack if need be."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package }}.colab import files, staging
from {{ cookiecutter.__package }}.colab.staging import stage
from {{ cookiecutter.__package }}.errors import UserError


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of many small files, two levels deep."""
    folder = tmp_path / "drive/pictures"
    for number in range(120):
        file = folder / f"class {number % 3}" / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * (number + 1))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Files


def test_a_file_arrives_once_and_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data.npz"
    source.write_bytes(os.urandom(100_000))
    assert stage(source, tmp_path / "here").read_bytes() == source.read_bytes()
    monkeypatch.setattr(staging, "_resume", None)
    stage(source, tmp_path / "here")
    assert list(contents(tmp_path / "here")) == ["data.npz"]


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 50,500 bytes whose copy was interrupted after 35,000."""
    monkeypatch.setattr(staging, "CHUNK", 1000)
    monkeypatch.setattr(staging, "MARK_EVERY", 10_000)
    source = tmp_path / "data.npz"
    source.write_bytes(os.urandom(50_500))
    read: list[int] = []

    def fail(size: int) -> None:
        read.append(size)
        if sum(read) == 35_000:
            raise OSError(errno.ENOTCONN, "gone")

    with pytest.raises(OSError, match="gone"):
        staging._copy_file(source, tmp_path / "copy", moved=fail)
    return source


def test_an_interrupted_copy_goes_on_where_it_stopped(interrupted: Path) -> None:
    moved: list[int] = []
    copy = interrupted.with_name("copy")
    staging._copy_file(interrupted, copy, moved=moved.append)
    assert moved[0] == 30_000
    assert sum(moved) == 50_500
    assert copy.read_bytes() == interrupted.read_bytes()


def test_an_interrupted_copy_of_another_version_begins_anew(interrupted: Path) -> None:
    moved: list[int] = []
    copy = interrupted.with_name("copy")
    interrupted.write_bytes(os.urandom(50_500))
    os.utime(interrupted, (0, 0))
    staging._copy_file(interrupted, copy, moved=moved.append)
    assert moved[0] == 0
    assert copy.read_bytes() == interrupted.read_bytes()


def test_a_copy_that_is_not_its_source_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data.npz"
    source.write_bytes(b"right")
    monkeypatch.setattr(staging, "sha256_of", lambda path: "0" * 64)
    with pytest.raises(UserError, match=r"is not what .* is: 5 of 5 bytes"):
        stage(source, tmp_path / "here")


def test_too_little_space_is_told_before_anything_is_copied(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"has 1\.00kB free, but the copy of pictures needs \d"):
        stage(many, tmp_path / "here")
    assert contents(tmp_path / "here") == {}


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is not there"):
        stage(tmp_path / "nothing", tmp_path / "here")


# Folders


def test_many_small_files_are_packed_for_the_next_session(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage(many, tmp_path / "first")
    assert contents(first) == contents(many)
    monkeypatch.setattr(staging, "_copy_files", None)  # what reads file by file
    second = stage(many, tmp_path / "second")
    assert contents(second) == contents(many)
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["pictures"]
    monkeypatch.setattr(staging, "_unpack", None)
    stage(many, tmp_path / "second")  # which is there already


def test_a_folder_that_is_there_is_not_copied_again(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(many, tmp_path / "here")
    monkeypatch.setattr(staging, "_copy_file", None)
    stage(many, tmp_path / "here")


def test_a_pack_that_lacks_a_file_is_made_anew(tmp_path: Path, many: Path) -> None:
    stage(many, tmp_path / "first")
    (many / "new.png").write_bytes(b"new")
    (many / "class 0/000.png").unlink()
    assert contents(stage(many, tmp_path / "first")) == contents(many)
    assert contents(stage(many, tmp_path / "second")) == contents(many)


@pytest.mark.parametrize("content", [b"another", bytes([1])], ids=["other size", "same size"])
def test_a_file_that_was_written_over_is_noticed_and_alone_is_copied(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    stage(many, tmp_path / "first")
    changed = many / "class 0/000.png"
    changed.write_bytes(content)
    os.utime(changed, (0, 0))
    copied: list[str] = []
    copy_file = staging._copy_file
    monkeypatch.setattr(
        staging,
        "_copy_file",
        lambda source, *args, **options: (
            copied.append(source.name) or copy_file(source, *args, **options)
        ),
    )
    assert contents(stage(many, tmp_path / "first")) == contents(many)
    assert copied == ["000.png"]
    changed.write_bytes(b"once more")
    assert contents(stage(many, tmp_path / "second")) == contents(many)
    assert copied[1:] == ["pictures.pack.zip", "000.png"]
    assert contents(stage(many, tmp_path / "third")) == contents(many)
    assert copied[3:] == ["pictures.pack.zip"]


@pytest.mark.parametrize("name", ["pictures.pack.zip", "pictures.pack.json"])
def test_a_damaged_pack_is_made_anew(tmp_path: Path, many: Path, name: str) -> None:
    stage(many, tmp_path / "first")
    pack = many.with_name(name)
    whole = pack.read_bytes()
    pack.write_bytes(whole[: len(whole) // 2])
    assert contents(stage(many, tmp_path / "second")) == contents(many)
    assert pack.read_bytes() == whole


def test_a_pack_that_drive_does_not_take_costs_no_data(
    tmp_path: Path,
    many: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging, "publish", full)
    assert contents(stage(many, tmp_path / "here")) == contents(many)
    assert "pictures.pack.zip was not made: No space left" in capsys.readouterr().out


def test_a_folder_that_can_not_be_listed_is_not_taken_for_empty(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(path: Path) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "scandir", lost)
    with pytest.raises(UserError, match="the connection to Drive was lost"):
        stage(many, tmp_path / "here")
