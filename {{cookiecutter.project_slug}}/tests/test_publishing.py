"""Copying to Drive in the background: what survives, and what is told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from {{ cookiecutter.__package }}.colab import drive, publishing
from {{ cookiecutter.__package }}.colab.files import publish
from {{ cookiecutter.__package }}.colab.publishing import Job, Publisher
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training.folders import RunFolders
from {{ cookiecutter.__package }}.training.record import Record


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "BACK_OFF", (0.01,))
    monkeypatch.setattr(publishing, "PATIENCE", 0.5)


def fail(monkeypatch: pytest.MonkeyPatch, code: int, *, times: int) -> list[int]:
    """Let the next copies fail with an error of the system; return those that have."""
    failed: list[int] = []

    def failing(source: Path, folder: Path, **options: Any) -> Path:
        if len(failed) < times:
            failed.append(code)
            raise OSError(code, os.strerror(code))
        return publish(source, folder, **options)

    monkeypatch.setattr(publishing, "publish", failing)
    return failed


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "it did not happen within ten seconds"
        time.sleep(0.01)


def job(source: Path, target: Path, text: str, *, name: str = "model") -> Job:
    file = source / f"{name}-{text}"
    file.write_text(text)
    return Job(name=name, files=(file,), folder=target)


# One file


def test_a_published_file_is_the_same_and_alone(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)))
    copy = publish(source, tmp_path / "kept")
    assert copy.read_bytes() == source.read_bytes()
    assert list((tmp_path / "kept").iterdir()) == [copy]


def test_what_is_replaced_leaves_nothing_in_the_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    unlink = Path.unlink
    monkeypatch.setattr(
        Path,
        "unlink",
        lambda path, **options: (sizes.append(path.stat().st_size), unlink(path, **options)),
    )
    source = tmp_path / "model"
    for text in ("one", "two"):
        source.write_text(text)
        copy = publish(source, tmp_path / "kept")
    assert copy.read_text() == "two"
    assert sizes == [0]


def test_a_copy_that_reads_back_otherwise_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model"
    source.write_text("right")
    partial = tmp_path / "kept/.model.partial"
    monkeypatch.setattr(os, "fsync", lambda number: os.truncate(partial, 2))
    with pytest.raises(OSError, match="does not hold what was written to it"):
        publish(source, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


# The queue


def test_a_failing_drive_is_tried_until_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, errno.EIO, times=3)
    publisher = Publisher(tmp_path / "kept")
    publisher.submit(job(tmp_path, tmp_path / "kept", "a"))
    until((tmp_path / "kept/model-a").exists)
    assert publisher.flush().safe == ("model",)
    printed = capsys.readouterr().out
    assert printed.count("model was not copied") == 1
    assert "quota" in printed
    assert "model is in" in printed


def test_flush_says_what_is_safe_and_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(tmp_path / "kept")
    publisher.submit(job(tmp_path, tmp_path / "kept", "a", name="history"))
    publisher.flush()
    fail(monkeypatch, errno.ENOSPC, times=99)
    publisher.submit(job(tmp_path, tmp_path / "kept", "b"))
    report = publisher.flush()
    assert report.safe == ("history",)
    assert "trash" in report.unsafe["model"]


def test_a_stalled_drive_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "publish", lambda *args, **options: time.sleep(5))
    publisher = Publisher(tmp_path / "kept")
    publisher.submit(job(tmp_path, tmp_path / "kept", "a"))
    started = time.monotonic()
    assert "has not answered" in publisher.flush().unsafe["model"]
    assert time.monotonic() - started < 4


def test_a_newer_job_takes_the_place_of_an_older_one_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher = Publisher(tmp_path / "kept")
    old, new = (job(tmp_path, tmp_path / "kept", age) for age in ("old", "new"))

    def superseded(source: Path, folder: Path, **options: Any) -> Path:
        if source == old.files[0]:
            publisher.submit(new)
            source.unlink()
        return publish(source, folder, **options)

    monkeypatch.setattr(publishing, "publish", superseded)
    publisher.submit(old)
    assert publisher.flush().unsafe == {}
    assert [path.name for path in (tmp_path / "kept").glob("model-*")] == ["model-new"]
    assert capsys.readouterr().out == ""


def test_a_lost_connection_is_mended_before_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted: list[str] = []
    monkeypatch.setattr(drive, "MOUNTPOINT", tmp_path)
    monkeypatch.setattr(drive, "mount", lambda: mounted.append("again"))
    fail(monkeypatch, errno.ENOTCONN, times=1)
    publisher = Publisher(tmp_path / "kept")
    publisher.submit(job(tmp_path, tmp_path / "kept", "a"))
    assert publisher.flush().unsafe == {}
    assert mounted == ["again"]


def test_what_a_dead_session_was_copying_is_removed(tmp_path: Path) -> None:
    rest = tmp_path / "kept/checkpoints/.step-7.npz.partial"
    rest.parent.mkdir(parents=True)
    rest.write_text("half")
    Publisher(tmp_path / "kept")
    assert not rest.exists()


def test_opened_again_a_run_finds_its_queue(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert publishing.publisher(kept) is publishing.publisher(kept)


def test_a_file_that_is_not_copied_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = RunFolders("run", scratch=tmp_path / "scratch", persistent=tmp_path / "drive")
    fail(monkeypatch, errno.EIO, times=99)
    (folders.work / "model.keras").write_text("a model")
    with pytest.raises(UserError, match=r"model\.keras was not copied .*quota.* It is complete in"):
        folders.publish(folders.work / "model.keras")


def test_what_was_not_published_is_when_the_run_is_opened_again(tmp_path: Path) -> None:
    places = {"scratch": tmp_path / "scratch", "persistent": tmp_path / "drive"}
    first = RunFolders("run", **places)
    local, kept = first.checkpoints
    local.mkdir()
    for suffix in (".npz", ".json"):  # as a session leaves them that dies before it copies them
        (local / "step-00000007").with_suffix(suffix).write_text("{}")
    publishing._open.clear()
    assert RunFolders("run", **places).wait() == ""
    assert {path.name for path in kept.iterdir()} == {"step-00000007.npz", "step-00000007.json"}


def test_a_stalled_drive_holds_up_no_check_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(
        publishing, "publish", lambda *args, **options: answers.wait() and publish(*args, **options)
    )
    folders = RunFolders("run", scratch=tmp_path / "scratch", persistent=tmp_path / "drive")
    record, file = Record(project="birds"), folders.work / "run.json"
    started = time.monotonic()
    record.write_to(file, copy=folders.publish_later)
    record.check("data", "passed", "all of it")
    assert time.monotonic() - started < 0.4
    answers.set()
    folders.publish(file)
    kept = json.loads((folders.kept / "run.json").read_text())
    assert kept["checks"] == [{"name": "data", "status": "passed", "detail": "all of it"}]


STOPS_HALF_WAY = """
import pathlib, sys, time
from {{ cookiecutter.__package }}.colab import publishing
from {{ cookiecutter.__package }}.errors import UserError
from {{ cookiecutter.__package }}.training.folders import RunFolders

publish = publishing.publish
publishing.publish = lambda *args, **options: time.sleep(0.5) or publish(*args, **options)
place = pathlib.Path(sys.argv[1])
folders = RunFolders("run", scratch=place / "scratch", persistent=place / "drive")
(folders.work / "run.json").write_text("a record")
folders.publish_later(folders.work / "run.json")
raise UserError("The data can't be trained on")
"""


def test_a_process_that_stops_half_way_keeps_its_record_and_says_that_it_has_ended(
    tmp_path: Path,
) -> None:
    subprocess.run(
        [sys.executable, "-c", STOPS_HALF_WAY, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
    )
    assert (tmp_path / "drive/runs/run/run.json").read_text() == "a record"
    assert json.loads((tmp_path / "drive/runs/run/session.json").read_text())["ended"]


def test_a_drive_that_is_away_costs_no_local_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"scratch": tmp_path / "scratch", "persistent": tmp_path / "drive"}
    mine = RunFolders("run", **places).work / "checkpoint"
    mine.touch()

    def lost(path: Path, **options: Any) -> os.stat_result:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", lost)
        with pytest.raises(UserError, match="the connection to Drive was lost"):
            RunFolders("run", **places)
    assert mine.exists()
