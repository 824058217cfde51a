"""Two sessions on one run: who is refused, who waits, and who takes over."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import on_colab
from test_checkpoints import names, save

from exactrun import Run, UserError, lock, mounts
from exactrun.lock import Lock
from exactrun.upload import Uploader

HOLDS = """
import sys, time
from exactrun.lock import Lock
lock = Lock(sys.argv[1])
try:
    lock.take()
except Exception as error:
    sys.exit(str(error))
print("taken", flush=True)
time.sleep(float(sys.argv[2]))
"""


def session(directory: Path, seconds: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(directory), str(seconds)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another session on this machine, which has locked the directory `run`."""
    process = session(tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def elsewhere(directory: Path, **other: Any) -> None:
    """Leave the heartbeat of a session, by default a living one on another machine."""
    content = {
        "session": "another",
        "machine": "elsewhere",
        "process": 1,
        "started": "",
        "at": time.time(),
        "ended": False,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "session.json").write_text(json.dumps(content | other))


def written(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "session.json").read_text()))


def test_a_second_session_on_this_machine_is_refused_at_once(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"process {other.pid} on .*\(kill {other.pid}\)"):
        Lock(tmp_path / "run").take()
    assert time.monotonic() - started < 1
    assert written(tmp_path / "run")["process"] == other.pid


def test_a_killed_session_is_not_waited_for(
    tmp_path: Path, other: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other.send_signal(signal.SIGKILL)
    while ") Z " not in Path(f"/proc/{other.pid}/stat").read_text():
        time.sleep(0.01)  # it has ended then, though nobody has asked how yet
    assert not written(tmp_path / "run")["ended"]
    lock = Lock(tmp_path / "run")
    lock.take()
    assert written(tmp_path / "run")["process"] == os.getpid()
    lock.release()
    assert written(tmp_path / "run")["ended"]
    assert capsys.readouterr().out == ""


def test_a_number_that_another_process_has_now_is_no_session(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    content = written(tmp_path / "run")
    elsewhere(tmp_path / "two", **content | {"started": "1"})
    Lock(tmp_path / "two").take()
    elsewhere(tmp_path / "three", **content | {"process": os.getpid()})
    Lock(tmp_path / "three").take()


def test_of_sessions_that_begin_in_the_same_instant_one_is_first(tmp_path: Path) -> None:
    sessions = [session(tmp_path / "run", seconds=3) for _ in range(4)]
    ends = [process.communicate() for process in sessions]
    assert sorted(printed for printed, _ in ends) == ["", "", "", "taken\n"]
    assert sum("Another session is writing" in error for _, error in ends) == 3


def test_nothing_is_written_while_another_process_looks_and_writes(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)
    thread = threading.Thread(target=Lock(tmp_path).take)
    thread.start()
    time.sleep(0.3)
    before = (tmp_path / "session.json").exists()
    os.close(number)
    thread.join(10)
    assert not before
    assert written(tmp_path)["session"] == lock.SESSION


def test_a_session_elsewhere_that_gives_a_sign_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path, at=time.time() - 1)
    monkeypatch.setattr(lock, "SILENCE", 20.0)
    threading.Timer(0.3, elsewhere, [tmp_path]).start()
    with pytest.raises(UserError, match=r"process 1 on elsewhere.*\(Runtime → Manage sessions\)"):
        Lock(tmp_path).take()


def test_a_silent_session_elsewhere_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "SILENCE", 20.5)
    elsewhere(tmp_path, at=time.time() - 20)
    Lock(tmp_path).take()
    told = r"elsewhere\) wrote to .* 2\d s ago, .* writes again within 30 s, .* up to [01] s"
    assert re.search(told, capsys.readouterr().out)
    assert written(tmp_path)["session"] == lock.SESSION


@pytest.mark.parametrize("state", [{"ended": True}, {"at": 0.0}], ids=["ended", "long ago"])
def test_a_session_that_has_ended_is_not_waited_for(
    tmp_path: Path, state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(tmp_path, **state)
    Lock(tmp_path).take()
    assert capsys.readouterr().out == ""


def test_a_heartbeat_that_is_just_being_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SILENCE", 2.0)
    elsewhere(tmp_path)
    whole = (tmp_path / "session.json").read_text()
    (tmp_path / "session.json").write_text("")
    threading.Timer(0.02, (tmp_path / "session.json").write_text, [whole]).start()
    assert Lock(tmp_path)._other() == json.loads(whole)
    (tmp_path / "session.json").write_text("nonsense")
    Lock(tmp_path).take()


def test_the_first_session_stops_uploading_when_it_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    uploader = Uploader(tmp_path / "kept")
    take_over(tmp_path / "kept", uploader.lock)
    (tmp_path / "model").write_text("a model")
    assert "another session has taken the run over" in uploader.upload(
        tmp_path / "model", wait=True
    )
    assert not (tmp_path / "kept/model").exists()
    uploader.close(0.1)
    assert written(tmp_path / "kept")["session"] == "another"  # whose heartbeat stays as it is


def take_over(directory: Path, lock: Lock) -> None:
    """Have another machine's session write its heartbeats until this one has seen one of them."""
    assert lock._beating is not None
    ends = time.monotonic() + 10
    while lock._beating.is_alive():  # which may have looked before, and written after
        assert time.monotonic() < ends
        elsewhere(directory)
        lock._beating.join(0.1)


def test_a_session_that_was_taken_over_writes_no_checkpoint_and_deletes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    run = Run(project_dir=tmp_path)
    run.setup_storage()
    save(run.checkpoints, 1, 2)
    take_over(run.persistent_directory, run._uploader.lock)
    save(run.checkpoints, 3, 4)
    assert "another session has taken the run over" in run.checkpoints.unsaved
    local, kept = run.checkpoints.places
    assert names(kept) == ["step-00000001.npz", "step-00000002.npz"]
    assert names(local) == ["step-00000003.npz", "step-00000004.npz"]


def test_a_released_directory_is_locked_again_only_if_it_is_free(tmp_path: Path) -> None:
    mine = Lock(tmp_path)
    mine.take()
    mine.release()
    mine.hold()
    mine.release()
    elsewhere(tmp_path)
    with pytest.raises(OSError, match="taken the run over: process 1 on elsewhere"):
        mine.hold()


def test_whoever_was_taken_over_does_not_end_the_other_session(tmp_path: Path) -> None:
    mine = Lock(tmp_path)
    mine.take()
    elsewhere(tmp_path)
    mine.release()  # before its next heartbeat, which would have told
    assert not written(tmp_path)["ended"]
    assert written(tmp_path)["session"] == "another"


def test_a_heartbeat_outlives_a_drive_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    mine = Lock(tmp_path)
    mine.take()

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTCONN, "away")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", away)
        time.sleep(0.2)
    before = written(tmp_path)["at"]
    ends = time.monotonic() + 5
    while written_or(tmp_path, before) == before:
        assert time.monotonic() < ends
        time.sleep(0.01)
    mine.release()


def written_or(directory: Path, default: float) -> float:
    try:
        return float(written(directory)["at"])
    except ValueError:  # it is just being written
        return default


def test_nothing_is_locked_where_drive_belongs_and_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_colab(tmp_path, monkeypatch):
        run = mounts.drive_mountpoint() / "My Drive/run"
        with pytest.raises(OSError, match="Drive is not mounted"):
            Lock(run).take()
        assert not mounts.drive_mountpoint().exists()
