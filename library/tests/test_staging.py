"""Bringing data to the local disk: whole, verified, resumable, and in one pack if need be."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from machines import on_colab

from exactrun import UserError, environment, files, mounts, staging
from exactrun.staging import stage


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A directory of many small files, two levels deep, and of an empty directory."""
    directory = tmp_path / "drive/pictures"
    for number in range(120):
        file = directory / f"class {number % 3}" / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]) * (number + 1))
    (directory / "class 9/nothing yet").mkdir(parents=True)
    return directory


def contents(directory: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name[0] != ".")


# --- Files --------------------------------------------------------------------------------------


def test_a_file_arrives_once_and_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data.npz"
    source.write_bytes(os.urandom(100_000))
    assert stage(source, tmp_path / "here").read_bytes() == source.read_bytes()
    assert visible(tmp_path / "here") == ["data.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_copy_file", None)
        stage(str(source), tmp_path / "here")
    source.write_bytes(b"another")
    assert stage(source, tmp_path / "here").read_bytes() == b"another"


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
    assert visible(tmp_path / "here") == []


def test_too_little_space_is_told_before_anything_is_copied(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"has 1\.00kB free, but the copy of pictures needs \d"):
        stage(many, tmp_path / "here")
    assert visible(tmp_path / "here") == []


def test_a_source_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="nothing is not there"):
        stage(tmp_path / "nothing", tmp_path / "here")
    not_mounted = pytest.raises(UserError, match="was not staged: Drive is not mounted")
    with on_colab(tmp_path, monkeypatch):
        with not_mounted:
            stage(mounts.drive_mountpoint() / "My Drive/data", tmp_path / "here")
        with pytest.raises(UserError, match="nothing is not there. On Drive, it begins with"):
            stage("nothing", tmp_path / "here")


def test_on_kaggle_a_name_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setattr(environment, "MACHINE", tmp_path)
    attached = tmp_path / "kaggle/input/datasets/somebody/birds"
    attached.mkdir(parents=True)
    (attached / "1.png").write_text("a bird")
    assert (stage("birds", tmp_path / "here") / "1.png").read_text() == "a bird"


def test_what_lies_in_the_directory_already_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data/birds").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data/birds/1.png").touch()
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    for name in ("birds", "birds/1.png", "linked"):
        path = tmp_path / "data" / name
        assert stage(path, path.parent) == path
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["file", "directory", "archive"])
def test_what_is_not_its_own_is_not_written_over(tmp_path: Path, kind: str) -> None:
    source, here = tmp_path / "data", tmp_path / "here"
    if kind == "directory":
        source.mkdir()
    else:
        source.write_text("new")
    if kind == "archive":
        shutil.make_archive(str(source), "zip", tmp_path, "data")
        source = tmp_path / "data.zip"
    here.mkdir()
    (here / "data").write_text("mine")
    with pytest.raises(UserError, match=r"here/data exists, and was not put there .*\(mv "):
        stage(source, here)
    assert (here / "data").read_text() == "mine"


# --- Directories --------------------------------------------------------------------------------


def test_many_small_files_are_packed_for_the_next_session(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage(many, tmp_path / "first")
    assert contents(first) == contents(many)
    copied: list[str] = []
    copy_file = staging._copy_file
    monkeypatch.setattr(
        staging,
        "_copy_file",
        lambda source, *args, **options: (
            copied.append(source.name) or copy_file(source, *args, **options)
        ),
    )
    second = stage(many, tmp_path / "second")
    assert contents(second) == contents(many)
    assert copied == ["pictures.pack.zip"]
    assert visible(tmp_path / "second") == ["pictures"]
    monkeypatch.setattr(staging, "_fill", None)
    stage(many, tmp_path / "second")  # which is there already


def test_few_files_or_large_ones_are_not_packed(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for number in range(99):
        (tmp_path / f"few/{number}").touch()
    stage(tmp_path / "few", tmp_path / "here")
    assert visible(tmp_path) == ["few", "here"]


def test_a_pack_that_lacks_a_file_is_made_anew(tmp_path: Path, many: Path) -> None:
    stage(many, tmp_path / "first")
    (many / "new.png").write_bytes(b"new")
    (many / "class 0/000.png").unlink()
    assert contents(stage(many, tmp_path / "first")) == contents(many)
    assert contents(stage(many, tmp_path / "second")) == contents(many)


def test_a_pack_that_holds_a_file_too_many_is_made_anew(tmp_path: Path, many: Path) -> None:
    stage(many, tmp_path / "first")
    (many / "class 0/000.png").unlink()
    assert contents(stage(many, tmp_path / "first")) == contents(many)
    with zipfile.ZipFile(many.with_name("pictures.pack.zip")) as pack:
        assert "class 0/000.png" not in pack.namelist()


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

    monkeypatch.setattr(staging, "copy_verified", full)
    assert contents(stage(many, tmp_path / "here")) == contents(many)
    assert "pictures.pack.zip was not made: No space left" in capsys.readouterr().out
    assert visible(tmp_path / "here") == ["pictures"]


def test_a_directory_that_can_not_be_listed_is_not_taken_for_empty(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(many, tmp_path / "here")

    def lost(path: Path) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "listdir", lost)
    with pytest.raises(UserError, match="the connection to Drive was lost"):
        stage(many, tmp_path / "here")
    monkeypatch.undo()
    assert contents(tmp_path / "here/pictures") == contents(many)


def test_a_directory_that_exists_is_whole(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy_file = staging._copy_file

    def lost(source: Path, *args: Any, **options: Any) -> str:
        copied.append(source.name)
        if len(copied) == 60:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return copy_file(source, *args, **options)

    monkeypatch.setattr(staging, "_copy_file", lost)
    with pytest.raises(UserError, match="run this again, and it goes on"):
        stage(many, tmp_path / "here")
    assert visible(tmp_path / "here") == []
    done = len(copied) - staging.READERS
    copied.clear()
    monkeypatch.setattr(
        staging,
        "_copy_file",
        lambda source, copy, **options: (
            copied.append(source.name) if not copy.exists() else None,
            copy_file(source, copy, **options),
        )[1],
    )
    assert contents(stage(many, tmp_path / "here")) == contents(many)
    assert len(copied) <= 120 - done + 60  # what was under way when it broke off, and the rest
    assert visible(tmp_path / "here") == ["pictures"]


def test_shortcuts_are_followed_and_their_cycles_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    (source / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "one.txt").write_text("one")
    (elsewhere / "back").symlink_to(source)
    (elsewhere / "itself").symlink_to(elsewhere)
    (source / "linked").symlink_to(elsewhere)
    (source / "one.txt").symlink_to(elsewhere / "one.txt")
    (source / "inner/above").symlink_to(source / "inner")
    (source / "gone").symlink_to(source / "no such file")
    (source / "loop").symlink_to(source / "loop")
    os.mkfifo(source / "pipe")
    copy = stage(source, tmp_path / "here")
    assert contents(copy) == {
        "inner": None,
        "linked": None,
        "linked/one.txt": b"one",
        "one.txt": b"one",
    }
    assert not any(path.is_symlink() for path in copy.rglob("*"))
    assert capsys.readouterr().out.splitlines() == [
        "Skipped: gone (a shortcut to what is gone).",
        "Skipped: inner/above (a shortcut to a directory that it is in).",
        "Skipped: linked/back (a shortcut to a directory that it is in).",
        "Skipped: linked/itself (a shortcut to a directory that it is in).",
        "Skipped: loop (a shortcut that leads back to itself).",
        "Skipped: pipe (neither a file nor a directory).",
    ]


def test_documents_of_google_are_skipped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for name in ("Plan.gdoc", "Figures.GSHEET", "mine.gdoc", "a.txt"):
        (source / name).write_text("text")
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:  # as Drive's file system does
        if path.parent == source and path.name in ("Plan.gdoc", "Figures.GSHEET"):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert visible(stage(source, tmp_path / "here")) == ["a.txt", "mine.gdoc"]
    assert capsys.readouterr().out.splitlines() == [
        "Skipped: Figures.GSHEET (a document of Google's, which has no bytes).",
        "Skipped: Plan.gdoc (a document of Google's, which has no bytes).",
    ]
    stage(source, tmp_path / "here")
    assert "is there already" in capsys.readouterr().out


def test_what_others_have_put_beside_the_data_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "data"
    for name in ("a/1", "b/2"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(name)
    copy = stage(source, tmp_path / "here")
    (copy / "cache").write_text("mine")
    (copy / "b/mine").write_text("mine")
    stage(source, tmp_path / "here")
    assert "is there already" in capsys.readouterr().out
    shutil.rmtree(source / "b")
    shutil.rmtree(source / "a")
    (source / "c").mkdir()
    stage(source, tmp_path / "here")
    assert contents(copy) == {"c": None, "b": None, "b/mine": b"mine", "cache": b"mine"}


def test_a_file_that_is_a_directory_now_is_replaced_and_the_other_way_round(tmp_path: Path) -> None:
    source = tmp_path / "data"
    (source / "a").mkdir(parents=True)
    (source / "a/1").write_text("1")
    (source / "b").write_text("b")
    stage(source, tmp_path / "here")
    shutil.rmtree(source / "a")
    (source / "a").write_text("a")
    (source / "b").unlink()
    (source / "b").mkdir()
    assert contents(stage(source, tmp_path / "here")) == {"a": b"a", "b": None}


def test_after_an_interruption_only_what_others_have_put_beside_the_data_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "one").write_text("one")
    (stage(source, tmp_path / "here") / "cache").write_text("mine")
    (source / "one").rename(source / "two")
    (source / "zero").write_text("zero")
    copy_file = staging._copy_file

    def lost(source: Path, *args: Any, **options: Any) -> str:
        if source.name == "zero":
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return copy_file(source, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_copy_file", lost)
        with pytest.raises(UserError, match="was lost"):
            stage(source, tmp_path / "here")
    (source / "two").unlink()
    assert contents(stage(source, tmp_path / "here")) == {"zero": b"zero", "cache": b"mine"}


def test_a_directory_made_under_a_name_of_before_is_not_its_own(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    copy = stage(source, tmp_path / "here")
    copy.rename(tmp_path / "kept")
    copy.mkdir()
    with pytest.raises(UserError, match="was not put there by exactrun"):
        stage(source, tmp_path / "here")


# --- Archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz", "ZIP"])
def test_an_archive_is_unpacked_whole(
    tmp_path: Path, many: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = {"zip": "zip", "tar": "tar", "tar.gz": "gztar", "tar.xz": "xztar", "ZIP": "zip"}[suffix]
    made = shutil.make_archive(str(tmp_path / "made"), kind, many)
    source = tmp_path / f"birds.{suffix}"
    os.rename(made, source)
    copy = stage(source, tmp_path / "here")
    assert copy == tmp_path / "here/birds"
    assert contents(copy) == contents(many)
    assert visible(tmp_path / "here") == ["birds"]
    assert not (tmp_path / f"here/.{source.name}").exists()
    assert stage(source, tmp_path / "here") == copy
    assert "is there already" in capsys.readouterr().out


def test_an_archive_of_one_directory_of_its_name_has_no_second_one(
    tmp_path: Path, many: Path
) -> None:
    source = Path(shutil.make_archive(str(tmp_path / "pictures"), "zip", many.parent, many.name))
    assert contents(stage(source, tmp_path / "here")) == contents(many)


def test_another_version_of_an_archive_takes_its_place(tmp_path: Path) -> None:
    source = tmp_path / "data.zip"
    for name in ("one", "two"):
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr(name, "text " * len(name) + name)
        os.utime(source, (len(name), 0 if name == "one" else 9))
        assert visible(stage(source, tmp_path / "here")) == [name]


def test_a_damaged_archive_leaves_nothing(tmp_path: Path, many: Path) -> None:
    source = Path(shutil.make_archive(str(tmp_path / "birds"), "gztar", many))
    source.write_bytes(source.read_bytes()[:1000])
    with pytest.raises(UserError, match="can't be unpacked: .*Is it damaged"):
        stage(source, tmp_path / "here")
    (tmp_path / "birds.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match="can't be unpacked: File is not a zip file"):
        stage(tmp_path / "birds.zip", tmp_path / "here")
    assert visible(tmp_path / "here") == []


def test_no_member_of_an_archive_leads_out_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "evil", "../../escaped")
    with pytest.raises(UserError, match="can't be unpacked"):
        stage(tmp_path / "data.tar", tmp_path / "here")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("../../escaped", "evil")
    stage(tmp_path / "data.zip", tmp_path / "here")
    assert list(tmp_path.rglob("escaped")) == [tmp_path / "here/data/escaped"]
