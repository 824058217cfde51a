"""A generated project on a Drive that is a FUSE mount; runs among the project's own tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from handwritten_digits.colab import claim, drive, publishing
from handwritten_digits.colab.publishing import Job, publisher
from handwritten_digits.errors import UserError
from handwritten_digits.training import checkpoints
from handwritten_digits.training.checkpoints import Checkpoint
from handwritten_digits.training.folders import NEWEST, RunFolders
from handwritten_digits.training.record import Record
from harness.colab import PACKAGES, Machine, new_machine
from mounting import command, kill, process_of, unmount


@contextlib.contextmanager
def on_machine(place: Path, monkeypatch: pytest.MonkeyPatch, mount: str) -> Iterator[Machine]:
    machine = new_machine(place, SIMULATED_MOUNT=mount)
    for name, value in machine.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(PACKAGES)
    monkeypatch.setattr(drive, "HOSTNAME_FILE", machine.root / "var/colab/hostname")
    monkeypatch.setattr(drive, "MOUNTPOINT", machine.root / "content/drive")
    monkeypatch.setattr(drive, "BACK_OFF", (0.1, 0.2, 0.5))
    monkeypatch.setattr(publishing, "BACK_OFF", (0.1, 0.2, 0.5))
    try:
        yield machine
    finally:
        publishing._open.clear()
        unmount(drive.MOUNTPOINT)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """What is really in Drive."""
    store = tmp_path / "store"
    (store / "My Drive").mkdir(parents=True)
    return store


@pytest.fixture
def machine(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with on_machine(tmp_path, monkeypatch, command(store, cache=tmp_path / "cache")) as machine:
        yield machine


def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"it did not happen within {seconds} seconds"
        time.sleep(0.05)


def checkpoint(step: int, *, megabytes: int = 1) -> Checkpoint:
    random = np.random.default_rng(step)
    return Checkpoint(
        step=step,
        names=["weights"],
        arrays=[random.random(megabytes * 131_072)],
        best=[],
        sums=[0.0, 0.0],
        history=[],
        identity={},
        settings={},
    )


def folders_on_drive(tmp_path: Path) -> RunFolders:
    project = drive.mount() / "project"
    return RunFolders("run", scratch=tmp_path / "scratch", persistent=project)


def test_a_mount_is_proved_and_looked_at_first(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive.mount() == drive.mount()
    assert capsys.readouterr().out.count("Mounted at") == 1


def test_a_dead_mount_is_mounted_again(machine: Machine) -> None:
    my_drive = drive.mount()
    kill(drive.MOUNTPOINT)
    with pytest.raises(OSError, match="Errno 107"):
        my_drive.stat()
    assert drive.mount().is_dir()


def test_a_mount_that_dies_in_the_middle_costs_no_checkpoint(
    machine: Machine, store: Path, tmp_path: Path
) -> None:
    folders = folders_on_drive(tmp_path)
    folders.keep(checkpoint(1), wait=True)
    assert folders.wait() == ""
    kill(drive.MOUNTPOINT)
    folders.keep(checkpoint(2), wait=True)
    kept = store / "My Drive/project/runs/run/checkpoints"
    until((kept / "step-00000002.json").exists)
    assert folders.wait() == ""
    found = checkpoints.newest([kept], identity={})
    assert found is not None
    assert found.step == 2


def test_a_drive_that_stays_away_is_told_in_the_end(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = folders_on_drive(tmp_path)
    kill(drive.MOUNTPOINT)
    monkeypatch.setenv("SIMULATED_FAILURE", "refused")
    folders.keep(checkpoint(1), wait=True)
    reason = folders.wait()
    assert "the connection to Drive was lost" in reason
    assert "the question in the browser was refused" in reason
    assert checkpoints.newest(folders.checkpoints[:1], identity={}) is not None
    monkeypatch.delenv("SIMULATED_FAILURE")
    assert folders.wait() == ""


def test_a_machine_that_dies_before_the_upload_leaves_a_run_to_go_on_with(
    machine: Machine, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = command(store, cache=tmp_path / "cache", upload_after="2s")
    monkeypatch.setenv("SIMULATED_MOUNT", slow)
    folders = folders_on_drive(tmp_path)
    kept = store / "My Drive/project/runs/run/checkpoints"
    folders.keep(checkpoint(1), wait=True)
    assert folders.wait() == ""
    until((kept / "step-00000001.json").exists)
    until((kept / "step-00000001.npz").exists)
    folders.keep(checkpoint(2), wait=True)
    assert folders.wait() == ""  # as far as the mount tells
    kill(drive.MOUNTPOINT)
    found = checkpoints.newest([kept], identity={})
    assert found is not None
    assert found.step == 1


def test_a_stalled_drive_holds_up_no_step(machine: Machine, store: Path, tmp_path: Path) -> None:
    folders = folders_on_drive(tmp_path)
    folders.keep(checkpoint(0), wait=True)
    process = process_of(drive.MOUNTPOINT)
    os.kill(process, signal.SIGSTOP)
    threading.Timer(3, os.kill, [process, signal.SIGCONT]).start()
    ends, slowest, step = time.monotonic() + 3, 0.0, 0
    state = checkpoint(0)
    while time.monotonic() < ends:
        step += 1
        started = time.perf_counter()
        folders.keep(state, wait=False)
        slowest = max(slowest, time.perf_counter() - started)
        time.sleep(0.01)
    folders.keep(checkpoint(step), wait=True)
    assert folders.wait() == ""
    assert slowest < 0.05  # the benchmark measures it against 0.005, on a quiet machine
    assert step > 50


def test_a_stalled_drive_holds_up_no_check_of_the_record(
    machine: Machine, store: Path, tmp_path: Path
) -> None:
    folders = folders_on_drive(tmp_path)
    record, file = Record(project="birds"), folders.work / "run.json"
    record.write_to(file, copy=folders.publish_later)
    assert folders.unsafe() == {}
    process = process_of(drive.MOUNTPOINT)
    os.kill(process, signal.SIGSTOP)
    threading.Timer(3, os.kill, [process, signal.SIGCONT]).start()
    started = time.monotonic()
    record.check("data", "passed", "all of it")
    assert time.monotonic() - started < 1
    folders.publish(file)
    assert time.monotonic() - started > 2  # so Drive did stall
    until((store / "My Drive/project/runs/run/run.json").exists)
    assert "all of it" in (store / "My Drive/project/runs/run/run.json").read_text()


def test_a_full_drive_is_told_and_tried_again(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(store)]
    if subprocess.run(small, check=False, capture_output=True).returncode:
        pytest.skip("a Drive with a quota needs the right to mount a small tmpfs")
    try:
        (store / "My Drive").mkdir()
        ballast = store / "My Drive/ballast"
        ballast.write_bytes(bytes(4_000_000))
        # Without its cache rclone tells at once what Drive tells when it is full: Errno 5.
        direct = command(store, cache=tmp_path / "cache", more="--vfs-cache-mode off")
        with on_machine(tmp_path, monkeypatch, direct):
            folders = folders_on_drive(tmp_path)
            folders.keep(checkpoint(1, megabytes=3), wait=True)
            assert "Drive refused: it is full" in folders.wait()
            assert [path.name for path in store.rglob("*.npz")] == []
            ballast.unlink()
            assert folders.wait() == ""
            assert [path.name for path in store.rglob("*.npz")] == ["step-00000001.npz"]
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


SESSION = """
import sys, time
from pathlib import Path
from handwritten_digits.colab import claim
claim.BEAT = 2.0
claim.Claim(Path(sys.argv[1])).take()
print("taken", flush=True)
time.sleep(60)
"""


def test_two_machines_that_write_one_run_are_noticed(
    machine: Machine, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drive.mount() / "run"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    mount = command(store, cache=tmp_path / "theirs-cache", upload_after="200ms").split()
    subprocess.run([*mount, str(theirs)], check=True)
    monkeypatch.setattr(claim, "SILENCE", 30.0)
    source = tmp_path / "model"
    source.write_text("a model")
    other = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(theirs / "My Drive/run")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        until((run / "session.json").exists)
        with pytest.raises(UserError, match="Another session is writing"):
            publisher(run)
        other.kill()
        other.wait()
        publisher(run).submit(Job(name=NEWEST, files=(source,), folder=run))
        assert publisher(run).flush().unsafe == {}
    finally:
        other.kill()
        unmount(theirs)
