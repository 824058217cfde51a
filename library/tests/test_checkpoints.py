"""Checkpoints: whole or absent, verified when read, deleted only for better ones. No TensorFlow."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exactrun import Checkpoints, UserError, archive, checkpoints, files
from exactrun.checkpoints import Checkpoint

LASTING = {"best": np.arange(12.0)}


def checkpoint(step: int, *, lasting: dict[str, np.ndarray] | None = None) -> Checkpoint:
    facts = {"library": "0.1.0", "identity": {}}
    arrays = {"a": np.full((3, 2), step, np.float32), "b": np.array(step)}
    return Checkpoint(step=step, arrays=arrays, lasting=lasting or {}, facts=facts)


def save(place: Checkpoints, *steps: int, **options: Any) -> None:
    for step in steps:
        place.save(checkpoint(step, **options), wait=True)
        place.wait()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def flip_a_bit_of_the_digest(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x01
    path.write_bytes(content)


DAMAGES = [cut_short, empty, fill_with_zeros, flip_a_bit, flip_a_bit_of_the_digest]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    import ml_dtypes

    arrays = {
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3)),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": np.arange(3).astype(ml_dtypes.bfloat16),
        "texts": np.array(["a", "bcd"]),
    }
    place = Checkpoints(tmp_path)
    place.save(
        Checkpoint(step=3, arrays=arrays, lasting=LASTING, facts={"library": "", "n": None}),
        wait=True,
    )
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.step == 3
    assert found.facts["n"] is None
    for name, array in (arrays | LASTING).items():
        stored = {**found.arrays, **found.lasting}[name]
        assert stored.dtype == array.dtype
        np.testing.assert_array_equal(stored, array)


def test_a_save_is_one_file_and_best_weights_are_written_once_when_they_change(
    tmp_path: Path,
) -> None:
    place = Checkpoints(tmp_path)
    save(place, 1, 2, lasting=LASTING)
    (best,) = [name for name in names(tmp_path) if name.startswith("best-")]
    written = (tmp_path / best).stat().st_mtime_ns
    save(place, 3, lasting=LASTING)
    assert names(tmp_path) == [best, "step-00000002.npz", "step-00000003.npz"]
    assert (tmp_path / best).stat().st_mtime_ns == written
    save(place, 4, 5, lasting={"best": np.ones(3)})
    assert len(names(tmp_path)) == 3
    assert best not in names(tmp_path)


def test_numpy_opens_a_checkpoint(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path), 4)
    with np.load(tmp_path / "step-00000004.npz") as stored:
        assert stored["a"][0, 0] == 4


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(
    damage: Callable[[Path], None], tmp_path: Path, capsys: Any
) -> None:
    save(Checkpoints(tmp_path), 1, 2)
    damage(tmp_path / "step-00000002.npz")
    place = Checkpoints(tmp_path)
    found = place.newest()
    assert found is not None
    assert found.step == 1
    assert names(tmp_path) == ["step-00000001.npz", "step-00000002.npz"]  # only read so far
    place.set_damaged_aside()
    assert names(tmp_path) == ["step-00000001.npz", "step-00000002.npz.damaged"]
    assert "damaged and set aside as step-00000002.npz.damaged" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    save(Checkpoints(tmp_path), 1, 2)
    for name in names(tmp_path):
        damage(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="none can be used") as raised:
        Checkpoints(tmp_path).newest()
    assert "does not start over by itself" in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_whose_best_weights_are_damaged_is_not_taken(tmp_path: Path) -> None:
    place = Checkpoints(tmp_path)
    save(place, 1)
    save(place, 2, lasting=LASTING)
    flip_a_bit(next(tmp_path.glob("best-*")))
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.step == 1


def test_newer_damaged_files_never_push_out_good_ones(tmp_path: Path) -> None:
    # The first edition kept the newest names: two damaged ones, and deleted every good one.
    save(Checkpoints(tmp_path), 1, 2)
    for name in ("step-00000008.npz", "step-00000009.npz"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
    place = Checkpoints(tmp_path)
    place.newest()
    save(place, 3, 4, 5)
    left = Checkpoints(tmp_path).newest()
    assert left is not None
    assert left.step == 5
    assert "step-00000004.npz" in names(tmp_path)


def test_deleting_stops_while_the_newest_does_not_verify(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Checkpoints(tmp_path)
    save(place, 1, 2)
    write = archive.write_archive

    def spoil(path: Path, *rest: Any, **options: Any) -> int:
        size = write(path, *rest, **options)
        flip_a_bit(path)
        return size

    monkeypatch.setattr(checkpoints, "write_archive", spoil)
    save(place, 3)
    assert "Older checkpoints" in capsys.readouterr().out
    found = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.step == 2


def test_every_failing_save_is_told(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first edition was silent about ten of thirteen.
    place = Checkpoints(tmp_path)
    write = archive.write_archive

    def full(path: Path, *rest: Any, **options: Any) -> int:
        if 3 <= int(path.stem[-2:]) <= 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *rest, **options)

    monkeypatch.setattr(checkpoints, "write_archive", full)
    save(place, *range(1, 14))
    printed = capsys.readouterr().out
    for step in range(3, 13):
        assert f"Step {step} was not saved to {tmp_path}: No space left on device" in printed
    assert f"step-00000013.npz is in {tmp_path} now." in printed
    assert place.unsaved == ""


def test_an_unexpected_failure_of_the_thread_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> int:
        raise MemoryError("no more")

    monkeypatch.setattr(checkpoints, "write_archive", broken)
    place = Checkpoints(tmp_path)
    with pytest.raises(MemoryError, match="no more"):
        save(place, 1)


def test_a_directory_that_can_not_be_read_is_an_error_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Checkpoints(tmp_path), 1)

    def lost(path: Any) -> list[str]:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(files.os, "listdir", lost)
    with pytest.raises(
        UserError, match="can't be read: Transport endpoint is not connected.*mount it again"
    ):
        Checkpoints(tmp_path).newest()


def test_a_file_that_can_not_be_read_is_an_error_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(Checkpoints(tmp_path), 1, 2)

    def failing(path: Path) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoints, "read_archive", failing)
    with pytest.raises(UserError, match="can't be read: Input/output error"):
        Checkpoints(tmp_path).newest()


def test_a_newer_format_is_refused_with_the_release_that_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    save(Checkpoints(tmp_path), 1)
    monkeypatch.setattr(checkpoints, "FORMAT", 1)
    with pytest.raises(
        UserError, match="is of format 2; exactrun here reads 1. Install the release"
    ):
        Checkpoints(tmp_path).newest()


@pytest.mark.parametrize("older", ["local", "persistent", "none"])
def test_the_newest_is_taken_wherever_it_lies(older: str, tmp_path: Path) -> None:
    local, persistent = tmp_path / "local", tmp_path / "persistent"
    save(Checkpoints(local), *((1,) if older == "local" else (1, 2)))
    save(Checkpoints(persistent), *((1,) if older == "persistent" else (1, 2)))
    found = Checkpoints(local, persistent=persistent).newest()
    assert found is not None
    assert found.step == 2


def test_what_is_saved_locally_is_copied_to_the_persistent_directory(tmp_path: Path) -> None:
    local, persistent = tmp_path / "local", tmp_path / "persistent"
    save(Checkpoints(local, persistent=persistent), 1, 2, 3, lasting=LASTING)
    assert names(persistent) == names(local)
    for path in local.iterdir():
        assert (persistent / path.name).read_bytes() == path.read_bytes()


def test_a_persistent_directory_that_fails_is_told_and_copied_to_later(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Checkpoints(tmp_path / "local", persistent=tmp_path / "persistent")
    copy = files.copy_verified

    def lost(*_: Any, **__: Any) -> Path:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(checkpoints, "copy_verified", lost)
    save(place, 1)
    assert "step-00000001.npz was not copied to" in capsys.readouterr().out
    assert "Transport endpoint is not connected" in place.unsaved
    monkeypatch.setattr(checkpoints, "copy_verified", copy)
    save(place, 2)
    assert "step-00000002.npz is in" in capsys.readouterr().out
    assert place.unsaved == ""
    assert names(tmp_path / "persistent") == ["step-00000002.npz"]


def test_a_persistent_directory_that_hangs_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Checkpoints(tmp_path / "local", persistent=tmp_path / "persistent")
    released = threading.Event()
    monkeypatch.setattr(checkpoints, "copy_verified", lambda *_, **__: released.wait(60))
    monkeypatch.setattr(checkpoints, "PATIENCE", 0.3)
    for step in range(1, 6):
        place.save(checkpoint(step), wait=True)
    assert "has not answered" in place.wait()
    assert names(tmp_path / "local") == ["step-00000004.npz", "step-00000005.npz"]
    released.set()


def test_a_copy_that_holds_other_bytes_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(b"content")
    monkeypatch.setattr(files, "sha256_of", lambda path: "another")
    with pytest.raises(OSError, match="does not hold what was written to it"):
        files.copy_verified(tmp_path / "one", tmp_path / "there")
    assert names(tmp_path / "there") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a file system needs Linux and root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"a file system can't be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_fills_up_keeps_the_last_good_checkpoint(small_disk: Path, capsys: Any) -> None:
    place = Checkpoints(small_disk)
    save(place, 1, 2)
    large = Checkpoint(step=3, arrays={"a": np.zeros(1 << 19)}, lasting={}, facts={"library": ""})
    place.save(large, wait=True)
    assert "Step 3 was not saved" in capsys.readouterr().out
    assert names(small_disk) == ["step-00000001.npz", "step-00000002.npz"]
    save(place, 4)
    found = Checkpoints(small_disk).newest()
    assert found is not None
    assert found.step == 4


def test_half_written_files_of_a_dead_session_are_deleted(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path), 1)
    (tmp_path / ".step-00000002.npz.partial").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    place = Checkpoints(tmp_path)
    place.newest()
    place.set_damaged_aside()
    assert names(tmp_path) == ["notes.txt", "step-00000001.npz"]


def test_importing_exactrun_imports_no_tensorflow() -> None:
    code = (
        "import sys, exactrun; exactrun.Checkpoints, exactrun.write_shards, exactrun.split;"
        "print(sorted({'tensorflow', 'keras', 'pandas', 'PIL'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.strip() == "[]"
