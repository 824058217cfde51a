"""Bringing data to the local disk, and keeping artifacts: whole, verified, resumable."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.__package }}.colab import files, staging
from {{ cookiecutter.__package }}.colab.artifacts import (
    load_artifact,
    save_artifact,
)
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
    with pytest.raises(UserError, match=r"0\.00 GB free, but 0\.00 GB are needed"):
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
    monkeypatch.setattr(staging, "_copy_tree", None)  # what reads file by file
    second = stage(many, tmp_path / "second")
    assert contents(second) == contents(many)
    assert {path.name for path in (tmp_path / "second").iterdir()} == {
        "pictures",
        ".pictures.pack.sha256",
    }


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


def test_files_that_were_written_over_need_a_new_pack(tmp_path: Path, many: Path) -> None:
    stage(many, tmp_path / "first")
    (many / "class 0/000.png").write_bytes(b"another")
    assert contents(stage(many, tmp_path / "second")) != contents(many)
    assert contents(stage(many, tmp_path / "third", repack=True)) == contents(many)


def test_a_damaged_pack_is_made_anew(tmp_path: Path, many: Path) -> None:
    stage(many, tmp_path / "first")
    pack = many.with_name("pictures.pack.zip")
    damaged = bytearray(pack.read_bytes())
    damaged[damaged.index(bytes([119]) * 120)] ^= 1  # in the last file's data
    pack.write_bytes(damaged)
    assert contents(stage(many, tmp_path / "second")) == contents(many)


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


# Artifacts


def test_artifacts_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    table = pd.DataFrame({"text": ["a,b", "NA", "ü\n"], "x": [0.1, float("nan"), 1e-300]})
    numbers = pd.DataFrame({"x": np.random.default_rng(0).random(1000)})
    labels = ["cat", "dog"]
    files = [
        save_artifact(tmp_path, name, value)
        for name, value in {
            "array": array,
            "arrays": {"mean": array, "count": np.array(3)},
            "table": table,
            "numbers": numbers,
            "labels": labels,
            "vocabulary": {"the": 2, "of": 3},
        }.items()
    ]
    suffixes = [".npz", ".npz", ".csv", ".csv", ".json", ".json"]
    assert [file.suffix for file in files] == suffixes
    found = [load_artifact(file) for file in files]
    np.testing.assert_array_equal(found[0], array, strict=True)
    np.testing.assert_array_equal(found[1]["mean"], array, strict=True)
    pd.testing.assert_frame_equal(found[2], table)
    pd.testing.assert_frame_equal(found[3], numbers, check_exact=True)
    assert found[4:] == [labels, {"the": 2, "of": 3}]


def test_a_keras_model_is_an_artifact_too(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    file = save_artifact(tmp_path, "head", model)
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(load_artifact(file)(x), model(x))


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "one"}, {"a": {1, 2}}, object(), np.array([object()])],
    ids=["tuple", "numbers as keys", "set", "object", "array of objects"],
)
def test_what_would_come_back_different_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="no safe format"):
        save_artifact(tmp_path, "odd", value)


def test_a_table_that_a_csv_can_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="digits that are text"):
        save_artifact(tmp_path, "codes", pd.DataFrame({"code": ["001", "002"]}))


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    file = save_artifact(tmp_path, "labels", ["cat", "dog"])
    file.write_text('["cat"]')
    with pytest.raises(UserError, match=r"labels\.json is damaged"):
        load_artifact(file)


def test_a_pickle_has_to_be_allowed_both_ways(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can run any code"):
        save_artifact(tmp_path, "odd", {1, 2})
    file = save_artifact(tmp_path, "odd", {1, 2}, allow_pickle=True)
    with pytest.raises(UserError, match="is a pickle"):
        load_artifact(file)
    assert load_artifact(file, allow_pickle=True) == {1, 2}
