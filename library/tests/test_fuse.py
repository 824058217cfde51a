"""Drive as a FUSE mount of the type `fuse.drive`, which stalls, dies and is full."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mounting
import numpy as np
import pytest
from machines import on_colab
from mounting import command, kill, process_of, unmount

from exactrun import UserError, colab, lock, mounts, upload
from exactrun.checkpoints import Checkpoint, Checkpoints
from exactrun.notebooks import simulated_colab
from exactrun.staging import stage
from exactrun.upload import Uploader

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(mounting.MISSING), reason=mounting.WHY_NOT),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """What is really in Drive."""
    store = tmp_path / "store"
    (store / "My Drive").mkdir(parents=True)
    return store


@pytest.fixture
def machine(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    mount = command(store, cache=tmp_path / "cache")
    with on_colab(tmp_path, monkeypatch, EXACTRUN_SIMULATED_MOUNT=mount) as machine:
        monkeypatch.setattr(colab, "BACK_OFF", (0.1, 0.2, 0.5))
        monkeypatch.setattr(upload, "BACK_OFF", (0.1, 0.2, 0.5))
        try:
            yield machine
        finally:
            unmount(machine / "content/drive")


@pytest.fixture
def point(machine: Path) -> Path:
    return machine / "content/drive"


def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"it did not happen within {seconds} seconds"
        time.sleep(0.05)


def checkpoint(step: int, *, megabytes: int = 1) -> Checkpoint:
    random = np.random.default_rng(step)
    arrays = {"weights": random.random(megabytes * 131_072)}
    return Checkpoint(step=step, arrays=arrays, lasting={}, facts={})


def checkpoints_on_drive(tmp_path: Path) -> Checkpoints:
    run = colab.mount_drive() / "run/checkpoints"
    return Checkpoints(tmp_path / "local", persistent=run)


def kept(store: Path) -> Path:
    return store / "My Drive/run/checkpoints"


def newest_step(directory: Path) -> int:
    """Return the step of the newest whole checkpoint; 0 if there is none."""
    try:
        found = Checkpoints(directory).newest()
    except UserError:  # the only one is just being uploaded
        return 0
    return found.step if found is not None else 0


def until_lost(my_drive: Path) -> None:
    """Wait until the mount of a killed process is as it stays: what was under way is aborted."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        try:
            os.statvfs(my_drive)
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return
    raise AssertionError("it was not lost")


@contextlib.contextmanager
def held_open(path: Path) -> Iterator[None]:
    number = os.open(path, os.O_WRONLY | os.O_CREAT)
    yield
    with contextlib.suppress(OSError):  # its mount is gone
        os.close(number)


def written(tmp_path: Path, text: str, name: str = "model") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


# --- Mounting -----------------------------------------------------------------------------------


def test_a_mount_is_looked_at_first(
    machine: Path, point: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert colab.mount_drive() == colab.mount_drive() == point / "My Drive"
    assert capsys.readouterr().out.count("Mounted at") == 1
    assert f" {point} fuse.drive " in Path("/proc/mounts").read_text()
    assert mounts.is_drive(point / "My Drive/anything")
    assert "64 KiB" in colab.prove_writable(point / "My Drive/new")


def test_a_lost_mount_that_is_busy_is_freed_and_mounted_again(
    machine: Path, point: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    my_drive = colab.mount_drive()
    (my_drive / "directory").mkdir()
    monkeypatch.chdir(my_drive / "directory")
    with held_open(my_drive / "open"):
        kill(point)
        until_lost(my_drive)
        assert mounts.is_drive(my_drive)  # as the table says: it is lost, not gone
        with pytest.raises(ValueError, match="mount failed"):  # what Google's own does
            colab._google("drive").mount(str(point), force_remount=True)
        assert colab.mount_drive() == my_drive
        assert "64 KiB" in colab.prove_writable(my_drive)
        monkeypatch.chdir("/")


def test_a_directory_left_under_an_unmounted_drive_is_not_drive(
    machine: Path, point: Path, store: Path, tmp_path: Path
) -> None:
    my_drive = colab.mount_drive()
    uploader = Uploader(my_drive / "run")
    uploader.upload(written(tmp_path, "one"), wait=True)
    until((store / "My Drive/run/model").exists)
    until(lambda: not colab._google("drive")._unmount(point) and not mounts.is_drive(point))
    (my_drive / "run").mkdir(parents=True)
    assert not mounts.is_drive(my_drive)
    for refused in (colab.mount_drive, lambda: colab.prove_writable(my_drive)):
        with pytest.raises(UserError, match=f"!mv {point} {point}-before|Drive is not mounted"):
            refused()
    assert set(uploader.flush()) == {"model"}
    with pytest.raises(UserError, match="would be deleted with it"):
        colab.disconnect(my_drive / "run")
    point.rename(point.with_name("before"))
    assert uploader.flush() == {}
    assert mounts.is_drive(my_drive)
    assert list((point.with_name("before") / "My Drive/run").iterdir()) == []


def test_a_machine_is_given_back_only_when_drive_could_be_unmounted(
    machine: Path, store: Path
) -> None:
    my_drive = colab.mount_drive()
    with held_open(my_drive / "open"), pytest.raises(UserError, match="has not taken everything"):
        colab.disconnect(my_drive)
    assert not (machine / "unassigned").exists()
    colab.mount_drive()
    colab.disconnect(my_drive)
    assert (machine / "unassigned").exists()


def test_a_lost_drive_is_not_taken_for_one_that_has_everything(machine: Path, point: Path) -> None:
    my_drive = colab.mount_drive()
    kill(point)
    with pytest.raises(UserError, match="not taken everything: .*connection to Drive was lost"):
        colab.disconnect(my_drive)
    assert not (machine / "unassigned").exists()


# --- Checkpoints and uploads --------------------------------------------------------------------


def test_a_mount_that_dies_in_the_middle_costs_no_checkpoint(
    machine: Path, point: Path, store: Path, tmp_path: Path
) -> None:
    checkpoints = checkpoints_on_drive(tmp_path)
    checkpoints.save(checkpoint(1))
    assert checkpoints.wait() == ""
    kill(point)
    checkpoints.save(checkpoint(2))
    assert checkpoints.wait() == ""
    until(lambda: newest_step(kept(store)) == 2)


def test_a_drive_that_stays_away_is_told_in_the_end(
    machine: Path, point: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = checkpoints_on_drive(tmp_path)
    uploader = Uploader(colab.mount_drive() / "run")
    kill(point)
    monkeypatch.setenv("EXACTRUN_SIMULATED_PAGE", "refuses")
    checkpoints.save(checkpoint(1))
    reasons = [checkpoints.wait(), uploader.upload(written(tmp_path, "one"), wait=True)]
    for reason in reasons:
        assert "the connection to Drive was lost" in reason
        assert "the question in the browser was refused" in reason
    assert newest_step(tmp_path / "local") == 1
    monkeypatch.delenv("EXACTRUN_SIMULATED_PAGE")
    checkpoints.save(checkpoint(2))
    assert checkpoints.wait() == ""
    assert uploader.flush() == {}


def test_what_was_copied_to_a_mount_that_died_is_copied_again(
    machine: Path, point: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = command(store, cache=tmp_path / "cache", upload_after="60s")
    monkeypatch.setenv("EXACTRUN_SIMULATED_MOUNT", slow)
    uploader = Uploader(colab.mount_drive() / "run")
    assert uploader.upload(written(tmp_path, "one"), wait=True) == ""
    kill(point)
    assert not (store / "My Drive/run/model").exists()
    (tmp_path / "cache").rename(tmp_path / "cache of the dead")
    fast = command(store, cache=tmp_path / "cache", upload_after="200ms")
    monkeypatch.setenv("EXACTRUN_SIMULATED_MOUNT", fast)
    assert uploader.upload(written(tmp_path, "two", "history.csv"), wait=True) == ""
    assert uploader.flush() == {}
    until((store / "My Drive/run/model").exists)
    assert (store / "My Drive/run/model").read_text() == "one"


def test_a_machine_that_dies_before_the_upload_leaves_a_run_to_go_on_with(
    machine: Path, point: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = command(store, cache=tmp_path / "cache", upload_after="2s")
    monkeypatch.setenv("EXACTRUN_SIMULATED_MOUNT", slow)
    checkpoints = checkpoints_on_drive(tmp_path)
    checkpoints.save(checkpoint(1))
    assert checkpoints.wait() == ""
    until(lambda: newest_step(kept(store)) == 1)
    checkpoints.save(checkpoint(2))
    assert checkpoints.wait() == ""  # as far as the mount tells
    kill(point)
    assert newest_step(kept(store)) == 1


def test_a_stalled_drive_holds_up_no_step_and_no_upload(
    machine: Path, point: Path, store: Path, tmp_path: Path
) -> None:
    checkpoints = checkpoints_on_drive(tmp_path)
    uploader = Uploader(colab.mount_drive() / "run")
    checkpoints.save(checkpoint(1))
    assert checkpoints.wait() == ""
    assert uploader.upload(written(tmp_path, "zero"), wait=True) == ""
    process, started = process_of(point), time.monotonic()
    os.kill(process, signal.SIGSTOP)
    threading.Timer(3, os.kill, [process, signal.SIGCONT]).start()
    slowest, step, state = 0.0, 1, checkpoint(1)
    while time.monotonic() < started + 2.5:
        step += 1
        began = time.perf_counter()
        checkpoints.save(state)
        uploader.upload(tmp_path / "model")
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.01)
    checkpoints.save(checkpoint(step))
    files_now = written(tmp_path, "all of it")
    uploader.upload(files_now)
    assert checkpoints.wait() == ""
    assert uploader.flush() == {}
    assert time.monotonic() - started > 2.9  # so Drive did stall
    assert slowest < 0.2
    assert step > 50
    until(lambda: (store / "My Drive/run/model").read_text() == "all of it")


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
        with on_colab(tmp_path, monkeypatch, EXACTRUN_SIMULATED_MOUNT=direct) as machine:
            try:
                checkpoints = checkpoints_on_drive(tmp_path)
                checkpoints.save(checkpoint(1, megabytes=3))
                assert "it is full" in checkpoints.wait()
                assert [path.name for path in store.rglob("*.npz")] == []
                ballast.unlink()
                checkpoints.save(checkpoint(2, megabytes=3))
                assert checkpoints.wait() == ""
                assert [path.name for path in store.rglob("*.npz")] == ["step-00000002.npz"]
            finally:
                unmount(machine / "content/drive")
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


def test_a_directory_on_drive_is_staged(machine: Path, store: Path, tmp_path: Path) -> None:
    my_drive = colab.mount_drive()
    for number in range(120):
        path = store / f"My Drive/pictures/{number % 3}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 1000)
    (store / "My Drive/pictures/empty").mkdir()
    until((my_drive / "pictures/empty").exists)
    first = stage(my_drive / "pictures", tmp_path / "first")
    until((store / "My Drive/pictures.pack.json").exists)
    second = stage(my_drive / "pictures", tmp_path / "second")
    for copy in (first, second):
        names = {path.relative_to(copy).as_posix() for path in copy.rglob("*")}
        source = store / "My Drive/pictures"
        assert names == {path.relative_to(source).as_posix() for path in source.rglob("*")}
    kill(mounts.drive_mountpoint())
    with pytest.raises(UserError, match="the connection to Drive was lost"):
        stage(my_drive / "pictures", tmp_path / "third")


# --- Two machines -------------------------------------------------------------------------------

SESSION = """
import sys, time
from exactrun import lock
lock.BEAT = 2.0
lock._this_machine = lambda: "another machine"
lock.Lock(sys.argv[1]).take()
print("taken", flush=True)
time.sleep(60)
"""


def test_two_machines_that_write_one_run_are_noticed(
    machine: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = colab.mount_drive() / "run"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    mount = command(store, cache=tmp_path / "theirs-cache", upload_after="200ms").split()
    subprocess.run([*mount, str(theirs)], check=True)
    monkeypatch.setattr(lock, "SILENCE", 8.0)
    other = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(theirs / "My Drive/run")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        until((run / "session.json").exists)
        with pytest.raises(UserError, match="Another session is writing .* another machine"):
            Uploader(run)
        other.kill()
        other.wait()
        uploader = Uploader(run)  # after its silence
        assert uploader.upload(written(tmp_path, "a model"), wait=True) == ""
        assert uploader.flush() == {}
    finally:
        other.kill()
        other.communicate()
        unmount(theirs)


# --- A machine that is lost ---------------------------------------------------------------------

TRAINING = """
import hashlib, sys, time
from pathlib import Path
from types import SimpleNamespace

import IPython

IPython.get_ipython = lambda: SimpleNamespace(kernel=object())
import keras
import numpy as np

import exactrun
from exactrun import colab
from exactrun.upload import Uploader

run = colab.mount_drive() / "run"
uploader = Uploader(run)
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
random = np.random.default_rng(0)
x, y = random.random((4096, 8), np.float32), random.random(4096, np.float32)
pause = float(sys.argv[2])
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: time.sleep(pause))
checkpoints = exactrun.Checkpoints(sys.argv[1], persistent=run / "checkpoints")
history = exactrun.fit(
    model, x, y, epochs=4, batch_size=32, verbose=0, checkpoint_dir=checkpoints,
    save_interval_secs=0.5, callbacks=[slow],
)
weights = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()
print("ended", history.resumed_from, weights, checkpoints.wait(), flush=True)
"""


class Colab:
    """Machines of a simulated Colab, one after the other, on one Drive."""

    def __init__(self, place: Path) -> None:
        self.store, self._place, self._number = place / "store", place, 0
        (self.store / "My Drive").mkdir(parents=True)

    def start(self, *, pause: float) -> subprocess.Popen[str]:
        """Train on a fresh machine; what the one before had not uploaded is lost with it."""
        self._number += 1
        place = self._place / f"machine-{self._number}"
        place.mkdir()
        self.point = place / "machine/content/drive"
        mount = command(self.store, cache=place / "cache", upload_after="200ms")
        variables = simulated_colab.environment(place, EXACTRUN_SIMULATED_MOUNT=mount)
        path = [variables["PYTHONPATH"], *sys.path]
        return subprocess.Popen(
            [sys.executable, "-c", TRAINING, place / "local", str(pause)],
            env=os.environ | variables | {"PYTHONPATH": os.pathsep.join(path)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> list[str]:
        """Train to the end; return the step that it went on from, and the weights."""
        machine = self.start(pause=0)
        printed, _ = machine.communicate()
        unmount(self.point)
        print(printed)
        assert machine.returncode == 0
        return next(line for line in printed.splitlines() if line.startswith("ended")).split()[1:]


def test_a_destroyed_machine_costs_no_digit(tmp_path: Path) -> None:
    unbroken, colab = Colab(tmp_path / "unbroken"), Colab(tmp_path / "broken")
    machine = colab.start(pause=0.02)
    try:
        until(lambda: machine.poll() is not None or newest_step(kept(colab.store)) > 40, seconds=90)
        kill(colab.point)  # what it has not uploaded is lost
        assert machine.poll() is None
    finally:
        machine.kill()
        machine.communicate()
        unmount(colab.point)
    resumed_from, *rest = colab.finish()
    assert 40 < int(resumed_from) < 512
    assert ["0", *rest] == unbroken.finish()
