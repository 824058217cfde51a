"""Uploading in the background: what survives, and what is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import on_colab

from exactrun import UserError, colab, files, mounts, upload
from exactrun.files import copy_verified
from exactrun.upload import Uploader


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(upload, "BACK_OFF", (0.01,))
    monkeypatch.setattr(upload, "PATIENCE", 0.5)
    yield
    for uploader in list(Uploader._open.values()):
        uploader.close(0.1)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with on_colab(tmp_path, monkeypatch) as machine:
        yield machine


def fail(monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int) -> list[Exception]:
    """Let the next copies fail; return those that have."""
    failed: list[Exception] = []

    def failing(source: Path, directory: Path, **options: Any) -> Path:
        if len(failed) < times:
            failed.append(error)
            raise error
        return copy_verified(source, directory, **options)

    monkeypatch.setattr(files, "copy_verified", failing)
    return failed


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "it did not happen within ten seconds"
        time.sleep(0.01)


def file(place: Path, text: str, name: str = "model") -> Path:
    path = place / "local" / text / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_a_failing_drive_is_tried_until_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, system_error(errno.EIO), times=3)
    uploader = Uploader(tmp_path / "kept")
    uploader.upload(file(tmp_path, "a"), within="logs")
    until((tmp_path / "kept/logs/model").exists)
    assert uploader.flush() == {}
    printed = capsys.readouterr().out
    assert printed.count("logs/model was not copied") == 1
    assert "quota" in printed
    assert "logs/model is in" in printed


def test_flush_says_what_is_missing_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = Uploader(tmp_path / "kept")
    assert uploader.upload(file(tmp_path, "a", "history.csv"), wait=True) == ""
    failed = fail(monkeypatch, system_error(errno.ENOSPC), times=10**6)
    assert "trash" in uploader.upload(file(tmp_path, "b"), wait=True)
    assert list(uploader.flush()) == ["model"]
    tried = len(failed)
    uploader.flush()
    assert len(failed) > tried  # once more, for each who asks


@pytest.mark.parametrize("error", [TypeError("a {mistake}"), UserError("Drive was not mounted")])
def test_whatever_fails_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(upload, "BACK_OFF", (60.0,))
    fail(monkeypatch, error, times=2)
    uploader = Uploader(tmp_path / "kept")
    assert str(error) in uploader.upload(file(tmp_path, "a"), wait=True)
    assert uploader.flush() == {"model": f"{type(error).__name__} {error}"}
    assert uploader.flush() == {}
    assert (tmp_path / "kept/model").read_text() == "a"


def test_failures_are_not_tried_in_a_busy_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "BACK_OFF", (60.0,))
    failed = fail(monkeypatch, system_error(errno.EIO), times=10**6)
    uploader = Uploader(tmp_path / "kept")
    uploader.upload(file(tmp_path, "a"), wait=True)
    uploader.flush()
    time.sleep(0.3)
    assert len(failed) <= 3


def test_a_stalled_drive_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(files, "copy_verified", lambda *_, **__: answers.wait(20))
    uploader = Uploader(tmp_path / "kept")
    started = time.monotonic()
    uploader.upload(file(tmp_path, "a"))
    assert time.monotonic() - started < 0.3
    assert "has not answered" in uploader.flush()["model"]
    assert time.monotonic() - started < 4
    answers.set()


def test_a_slow_drive_that_moves_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(source: Path, directory: Path, *, moved: Callable[[], None]) -> Path:
        for _ in range(10):
            time.sleep(0.1)
            moved()
        return copy_verified(source, directory)

    monkeypatch.setattr(files, "copy_verified", slow)
    uploader = Uploader(tmp_path / "kept")
    uploader.upload(file(tmp_path, "a"))
    assert uploader.flush() == {}


def test_a_newer_file_takes_the_place_of_an_older_one_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uploader = Uploader(tmp_path / "kept")
    old, new = file(tmp_path, "old"), file(tmp_path, "new")

    def superseded(source: Path, directory: Path, **options: Any) -> Path:
        if source == old:
            uploader.upload(new)
            source.unlink()
        return copy_verified(source, directory, **options)

    monkeypatch.setattr(files, "copy_verified", superseded)
    uploader.upload(old)
    assert uploader.flush() == {}
    assert (tmp_path / "kept/model").read_text() == "new"
    assert capsys.readouterr().out == ""


def test_what_is_there_already_is_not_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = Uploader(tmp_path / "kept")
    model = file(tmp_path, "a")
    uploader.upload(model, wait=True)
    fail(monkeypatch, system_error(errno.EIO), times=10**6)
    assert uploader.upload(model, wait=True) == ""
    model.write_text("b")
    assert "quota" in uploader.upload(model, wait=True)


def test_a_file_is_only_taken_as_it_was_when_it_was_handed_over_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader, model = Uploader(tmp_path / "kept"), file(tmp_path, "a")

    def copied_while_changing(source: Path, directory: Path, **options: Any) -> Path:
        copy = copy_verified(source, directory, **options)
        if source.read_text() == "a":
            files.write_whole(model, "b")
            uploader.upload(model)  # the same path
        return copy

    monkeypatch.setattr(files, "copy_verified", copied_while_changing)
    uploader.upload(model)
    assert uploader.flush() == {}
    assert (tmp_path / "kept/model").read_text() == "b"


def test_what_a_dead_session_was_copying_is_removed(tmp_path: Path) -> None:
    rest = tmp_path / "kept/checkpoints/.step-7.npz.partial"
    rest.parent.mkdir(parents=True)
    rest.write_text("half")
    Uploader(tmp_path / "kept")
    assert not rest.exists()


def test_made_again_it_goes_on_with_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "BACK_OFF", (60.0,))
    fail(monkeypatch, system_error(errno.EIO), times=1)
    first = Uploader(tmp_path / "kept")
    assert "quota" in first.upload(file(tmp_path, "a"), wait=True)
    again = Uploader(tmp_path / "kept")
    assert again is first
    assert again.flush() == {}
    assert again.close() == {}
    assert Uploader(tmp_path / "kept") is not first


def test_when_all_is_copied_the_next_session_need_not_wait(tmp_path: Path) -> None:
    uploader = Uploader(tmp_path / "kept")
    uploader.upload(file(tmp_path, "a"), wait=True)
    assert not json.loads((tmp_path / "kept/session.json").read_text())["ended"]
    uploader.flush()
    assert json.loads((tmp_path / "kept/session.json").read_text())["ended"]


def test_a_closed_uploader_copies_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail(monkeypatch, system_error(errno.EIO), times=10**6)
    uploader = Uploader(tmp_path / "kept")
    uploader.upload(file(tmp_path, "a"), wait=True)
    assert list(uploader.close()) == ["model"]
    tried = len(failed)
    time.sleep(0.2)
    assert len(failed) <= tried + 1
    assert uploader._thread is None


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file can't be written: .*Set persistent_dir"):
        Uploader(tmp_path / "file")


STOPS_HALF_WAY = """
import pathlib, sys, time
from exactrun import UserError, files, upload

copy = files.copy_verified
files.copy_verified = lambda *args, **options: time.sleep(0.5) or copy(*args, **options)
place = pathlib.Path(sys.argv[1])
(place / "run.json").write_text("a record")
uploader = upload.Uploader(place / "kept")
uploader.upload(place / "run.json")
if "missing" in sys.argv:
    uploader.upload(place / "missing")
raise UserError("The data can't be trained on")
"""


def stop_half_way(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", STOPS_HALF_WAY, *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "The data can't be trained on" in done.stderr
    return done.stdout


def test_a_process_that_stops_half_way_uploads_shortly_and_says_that_it_has_ended(
    tmp_path: Path,
) -> None:
    assert stop_half_way(str(tmp_path)) == ""
    assert (tmp_path / "kept/run.json").read_text() == "a record"
    assert json.loads((tmp_path / "kept/session.json").read_text())["ended"]


def test_a_process_that_ends_without_having_uploaded_all_names_it(tmp_path: Path) -> None:
    printed = stop_half_way(str(tmp_path), "missing")
    assert "missing is not in" in printed
    assert (tmp_path / "kept/run.json").read_text() == "a record"


def test_a_process_ends_quietly_after_drive_was_unmounted(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from exactrun import upload\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "(place / 'file').touch()\n"
        "upload.Uploader(place / 'kept').upload(place / 'file', wait=True)\n"
        "upload.mounts_made = lambda: 1\n"  # as it is when another mount took its place
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_forked_process_does_not_close_what_is_its_parents(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time\n"
        "from exactrun import files, upload\n"
        "files.copy_verified = lambda *_, **__: time.sleep(30)\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "(place / 'file').touch()\n"
        "upload.Uploader(place / 'kept').upload(place / 'file')\n"
        "if os.fork():\n"
        "    os.wait()\n"
        "    os._exit(0)\n"
    )
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - started < 8
    assert not json.loads((tmp_path / "kept/session.json").read_text())["ended"]


# --- Drive --------------------------------------------------------------------------------------


def test_a_drive_that_was_unmounted_is_mounted_again_and_looked_at(
    machine: Path, tmp_path: Path
) -> None:
    run, kept = colab.mount_drive() / "run", tmp_path / "drive/run"
    uploader = Uploader(run)
    uploader.upload(file(tmp_path, "a"), wait=True)
    colab._google("drive").flush_and_unmount()
    (kept / "model").write_text("b")  # what Drive has kept is not what was copied
    assert uploader.upload(file(tmp_path, "h", "history.csv"), wait=True) == ""
    assert mounts.is_drive(run)
    assert uploader.flush() == {}
    assert (kept / "model").read_text() == "a"
    assert (kept / "history.csv").read_text() == "h"


def test_a_local_directory_of_drives_name_is_never_uploaded_to(
    machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = colab.mount_drive() / "run"
    uploader = Uploader(run)
    uploader.upload(file(tmp_path, "a"), wait=True)
    colab._google("drive").flush_and_unmount()
    run.mkdir(parents=True)  # as anything may that does not look
    reason = uploader.upload(file(tmp_path, "h", "history.csv"), wait=True)
    assert "something has written to" in reason
    assert "-before" in reason
    assert set(uploader.flush()) == {"model", "history.csv"}
    assert list(run.iterdir()) == []


def test_what_went_to_the_machines_own_disk_is_not_said_to_be_on_drive(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = Uploader(colab.mount_drive() / "run")

    def unmounted_meanwhile(source: Path, directory: Path, **options: Any) -> Path:
        colab._google("drive").flush_and_unmount()
        return copy_verified(source, directory, **options)

    monkeypatch.setattr(files, "copy_verified", unmounted_meanwhile)
    assert "Drive is not mounted" in uploader.upload(file(tmp_path, "a"), wait=True)
    assert "model" in uploader.flush()


def test_all_is_not_said_to_be_kept_by_a_drive_that_is_gone(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = Uploader(colab.mount_drive() / "run")
    uploader.upload(file(tmp_path, "a"), wait=True)
    colab._google("drive").flush_and_unmount()
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    assert "Drive is not mounted" in uploader.flush()["model"]
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "answers")
    assert uploader.flush() == {}


def test_a_drive_that_goes_while_it_is_waited_for_is_told(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader = Uploader(colab.mount_drive() / "run")
    wait_for = uploader._wait_for

    def unmounted_then(*args: Any) -> dict[str, str]:
        missing = wait_for(*args)
        colab._google("drive").flush_and_unmount()
        return missing

    uploader.upload(file(tmp_path, "a"))
    monkeypatch.setattr(uploader, "_wait_for", unmounted_then)
    assert "Drive is not mounted" in uploader.flush()["model"]


def test_nothing_is_read_from_or_copied_to_a_drive_that_is_not_there(
    machine: Path, tmp_path: Path
) -> None:
    from exactrun.checkpoints import Checkpoints

    persistent = mounts.drive_mountpoint() / "My Drive/run/checkpoints"
    checkpoints = Checkpoints(tmp_path / "local", persistent=persistent)
    for what in (checkpoints.newest, checkpoints.require_writable):
        with pytest.raises(UserError, match="Drive is not mounted"):
            what()
    assert not mounts.drive_mountpoint().exists()
