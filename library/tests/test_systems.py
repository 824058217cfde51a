"""What Windows and macOS lack or do otherwise, forced on this machine."""

from __future__ import annotations

import ast
import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # before a test says that the platform is another one
import pytest

import exactrun
from exactrun import UserError, environment, files, gpu, lock
from exactrun.archive import write_archive
from exactrun.checkpoints import Checkpoint, Checkpoints
from exactrun.lock import Lock
from exactrun.pins import solution
from exactrun.record import git_revision
from exactrun.run import _set_aside

SOURCE = Path(exactrun.__file__).parent
PYTHONPATH = os.pathsep.join(sys.path)
COMMANDS = {"__main__.py", "console.py", "pins/commands.py", "notebooks/commands.py"}
COMMANDS |= {"notebooks/batch.py"}
"""Modules that print as they like: a command has its console replace what it can't show."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="a program is a script with #! here")


def program(path: Path, *printed: bytes, code: int = 0) -> Path:
    """Write a program that prints lines of bytes, one for each of its calls' last words."""
    lines = b"\n".join(b"printf '%s\\n' '" + line + b"'" for line in printed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!/bin/sh\n(\n" + lines + b"\n) | tee /dev/stderr\nexit %d\n" % code)
    path.chmod(0o755)
    return path


# Consoles that show few signs


def test_whatever_a_training_may_print_goes_by_one_function() -> None:
    printing = set()
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if name not in COMMANDS and not name.startswith("notebooks/simulated_colab/"):
            calls = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Call)]
            if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
                printing.add(name)
    assert printing == set()


STORY = """
import sys
from pathlib import Path
import keras, numpy as np
import exactrun
run = exactrun.Run({"epochs": 2}, name="erster", project_dir=sys.argv[1])
run.setup_storage()
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = exactrun.load_object(exactrun.save_object(np.ones((64, 2)), Path(sys.argv[1]) / "x"))
class Own(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs):
        self.жар = object()
epochs = {"epochs": 2, "callbacks": [Own(), keras.callbacks.CSVLogger(run.directory / "log.csv")]}
history = exactrun.fit(model, x, x[:, :1], checkpoint_dir=run.checkpoints, **epochs)
run.save_model(model, check_on=x)
run.log(history=history, test=exactrun.evaluate(model, x, x[:, :1]))
assert not run.failed and history.finished and not history.unsaved
"""


@pytest.mark.thorough
def test_a_run_ends_on_such_a_console_and_in_such_a_directory(long_place: Path) -> None:
    env = os.environ | {"PYTHONPATH": PYTHONPATH, "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-c", STORY, str(long_place)]
    done = subprocess.run(command, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert b"+ model: " in done.stdout


# Programs that print in any encoding


@posix
def test_git_may_print_in_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "Größe"
    place.mkdir()
    monkeypatch.setenv("LC_ALL", "C")
    git = ["git", "-C", str(place), "-c", "user.name=Jörg", "-c", "user.email=a@b"]
    (place / "one").touch()
    subprocess.run([*git, "init", "-q"], check=True)
    for command in (["config", "core.quotePath", "false"], ["add", "."], ["commit", "-qm", "1"]):
        subprocess.run([*git, *command], check=True)
    revision = git_revision(place)
    assert revision is not None
    if sys.platform == "linux":  # macOS takes no such name, of Latin-1
        Path(os.fsdecode(os.fsencode(place) + b"/Gr\xf6\xdfe")).touch()
        assert git_revision(place) == f"{revision}+changes"

    program(tmp_path / "bin/git", b"Gr\xf6\xdfe/", b"0" * 40)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert git_revision(place) is None  # it lies in another repository


@posix
def test_pip_uv_and_another_python_may_print_in_any_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = program(tmp_path / "bin/uv", b"kein Paket f\xfcr \x81", code=1)
    monkeypatch.setattr(sys, "executable", str(failing))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    pins = f"{environment.ADDED}\nnobody-has-this==1.0\n{environment.MADE_FOR}2026.07"
    (tmp_path / "requirements.txt").write_text(pins, encoding="utf-8")
    with pytest.raises(UserError, match="can't be installed: kein Paket f"):
        environment.install_added(tmp_path / "requirements.txt")
    with pytest.raises(UserError, match="it says:\nkein Paket f"):
        solution.solve(["a"], constraints="", conditions=["python_version > '3'"], options=[])
    found = gpu.Accelerator(
        kind="gpu", name="G", count=1, precisions=(), status="passed", checked=""
    )
    with pytest.raises(UserError, match="it said: kein Paket f"):
        gpu._verify_apart(found)


# Names that Windows can't hold


@pytest.mark.parametrize(
    ("name", "better"),
    [
        *((name, f"my-{name}") for name in ("nul", "COM1", "Aux", "lpt9", "con.second", "Prn.1")),
        ("first.", "first"),
        ("first...", "first"),
    ],
)
def test_such_a_name_is_refused_on_every_system(name: str, better: str, tmp_path: Path) -> None:
    ways: dict[str, Callable[[], object]] = {
        "run": lambda: exactrun.Run(name=name, project_dir=tmp_path),
        "object": lambda: exactrun.save_object([1], tmp_path / name),
    }
    if not name.endswith("."):
        ways["model"] = lambda: exactrun.save_model(None, tmp_path / f"{name}.keras")
    for way, call in ways.items():
        with pytest.raises(UserError, match="can't be used: Windows") as refusal:
            call()
        assert repr(better) in str(refusal.value) or way == "model"
        assert "my-" in str(refusal.value) or way != "model"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["null", "com10", "console", "a.nul", "aux-1", "v1.0"])
def test_a_name_that_only_looks_like_one_is_taken(name: str, tmp_path: Path) -> None:
    assert exactrun.Run(name=name, project_dir=tmp_path).name == name


# Files that another program has open


def damaged_checkpoint(place: Path) -> None:
    kept = Checkpoints(place / "local", persistent=place / "kept", max_to_keep=1)
    for step in (1, 2, 3):  # each deletes the one before
        arrays = {"a": np.full(9, step)}
        checkpoint = Checkpoint(step=step, arrays=arrays, lasting={}, facts={"library": "0"})
        kept.save(checkpoint, wait=True)
        assert kept.wait() == ""
    assert [path.name for path in (place / "kept").iterdir()] == ["step-00000003.npz"]
    (place / "local/step-00000003.npz").write_bytes(b"half")
    assert kept.newest() is not None
    kept.set_damaged_aside()
    assert [path.name for path in (place / "local").iterdir()] == ["step-00000003.npz.damaged"]


def staged_directory(place: Path) -> None:
    for names in (("a", "b"), ("b",)):  # brought up to date: what is gone is deleted
        source = place / "".join(names) / "birds"
        source.mkdir(parents=True)
        for name in names:
            (source / name).write_text(f"{names}")
        copy = exactrun.stage(source, place / "local")
        assert sorted(path.name for path in copy.iterdir()) == list(names)


def staged_archive(place: Path) -> None:
    for content in ("one", "other"):
        with zipfile.ZipFile(place / "birds.zip", "w") as file:
            file.writestr("birds/a", content)
        copy = exactrun.stage(place / "birds.zip", place / "local")
        assert (copy / "a").read_text() == content
        os.utime(place / "birds.zip", (1, 1))


def written_object(place: Path) -> None:
    for value in ([1], [2]):
        assert exactrun.load_object(exactrun.save_object(value, place / "labels")) == value


def written_shards(place: Path) -> None:
    shards = exactrun.write_shards(np.arange(9), place / "shards")
    assert list(shards[:]) == list(range(9))


def written_twice(place: Path) -> None:
    for text in ("one", "other"):
        files.write_whole(place / "text", text)
        assert (place / "text").read_text() == text
        write_archive(place / "archive.npz", {"a": np.ones(9)}, {})
        assert files.copy_verified(place / "text", place / "copies").read_text() == text
    files.discard(place / "copies/text")
    assert not any((place / "copies").iterdir())


def moved_aside(place: Path) -> None:
    (place / "first").mkdir()
    _set_aside(place / "first", place / "kept")
    assert (place / "first.1").is_dir()


def held(place: Path, times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each file in a directory refuse so often to be moved or deleted, as Windows does."""
    refused: dict[tuple[str, str], int] = {}

    def windows(name: str) -> Any:
        change = getattr(os, name)

        def refusing(path: Any, *more: Any, **options: Any) -> Any:
            key = (name, str(path))
            inside = Path(path).is_relative_to(place) and os.path.exists(path)
            if inside and refused.setdefault(key, 0) < times:
                refused[key] += 1
                error = PermissionError(errno.EACCES, "used by another process", str(path))
                error.winerror = 32  # type: ignore[attr-defined]
                raise error
            return change(path, *more, **options)

        return refusing

    for name in ("replace", "rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, windows(name))


@pytest.mark.parametrize(
    "change",
    [
        *(written_twice, written_object, written_shards, moved_aside),
        *(damaged_checkpoint, staged_directory, staged_archive),
    ],
)
def test_a_file_that_is_held_for_a_moment_is_waited_for(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        held(tmp_path, 3, patch)
        change(tmp_path)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_file_that_stays_held_is_told_and_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.txt").write_text("new")
    files.write_whole(tmp_path / "old", "old")
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with monkeypatch.context() as patch:
        held(tmp_path, float("inf"), patch)
        with pytest.raises(PermissionError):
            files.write_whole(tmp_path / "old", "new")
        with pytest.raises(UserError, match=r"a\.txt was not staged: used by another process"):
            exactrun.stage(tmp_path / "source/a.txt", tmp_path / "local")
    assert (tmp_path / "old").read_text() == "old"
    assert exactrun.stage(tmp_path / "source/a.txt", tmp_path / "local").read_text() == "new"


def test_what_is_forbidden_is_not_tried_again() -> None:
    calls = []

    def forbidden() -> None:
        calls.append(1)
        raise PermissionError(errno.EACCES, "forbidden")

    with pytest.raises(PermissionError):
        files.patiently(forbidden)
    assert len(calls) == 1


def test_a_file_that_is_really_open_is_replaced_once_it_is_closed(tmp_path: Path) -> None:
    files.write_whole(tmp_path / "text", "old")
    with (tmp_path / "text").open() as reader:
        threading.Timer(0.2, reader.close).start()
        files.write_whole(tmp_path / "text", "new")
    assert (tmp_path / "text").read_text() == "new"


# Modules, functions and signals that are not everywhere


@pytest.mark.thorough
def test_every_module_can_be_imported_without_those_of_posix() -> None:
    code = (
        "import pkgutil, sys\n"
        "for name in ('fcntl', 'resource', 'pexpect', 'ptyprocess', 'termios', 'pwd', 'grp'):\n"
        "    sys.modules[name] = None\n"
        "import exactrun, exactrun.notebooks\n"
        "for found in pkgutil.walk_packages(exactrun.__path__, 'exactrun.'):\n"
        "    if 'simulated_colab.packages' not in found.name and '.watch' not in found.name:\n"
        "        __import__(found.name)\n"
    )
    env = os.environ | {"PYTHONPATH": PYTHONPATH}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


HOLDS = """
import sys, time
from pathlib import Path
from exactrun import lock
lock.PROCESSES = Path("no such directory")
lock.Lock(sys.argv[1]).take()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a system without fcntl and /proc."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(lock, "PROCESSES", Path("no such directory"))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another session on such a machine, which has locked the directory `run`."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "run")]
    env = os.environ | {"PYTHONPATH": PYTHONPATH}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


@pytest.mark.usefixtures("windows")
def test_a_second_session_is_refused_without_proc(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(UserError, match=rf"\(taskkill /F /PID {other.pid}\)"):
        Lock(tmp_path / "run").take()
    assert other.poll() is None  # os.kill(…, 0) would have ended it on Windows


@pytest.mark.usefixtures("windows")
def test_a_killed_session_is_not_waited_for_without_proc(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    other.kill()
    with contextlib.suppress(psutil.NoSuchProcess):  # nobody has asked yet how it ended
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    started = time.monotonic()
    Lock(tmp_path / "run").take()
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("hidden", ["from this one", "by the other one"])
def test_a_session_that_can_not_be_told_of_is_not_taken_for_dead(
    hidden: str, tmp_path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if hidden == "from this one":

        def denied(process: psutil.Process) -> float:
            if process.pid == os.getpid():
                return 1.0
            raise psutil.AccessDenied(process.pid)

        monkeypatch.setattr(psutil.Process, "create_time", denied)
    else:
        file = tmp_path / "run/session.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"started": None}))
    assert Lock(tmp_path / "run")._other() is not None


@pytest.mark.usefixtures("windows")
def test_without_psutil_a_heartbeat_is_waited_for(
    tmp_path: Path,
    other: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other.kill()
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(lock, "SILENCE", 1.0)
    Lock(tmp_path / "run").take()
    assert "If nothing comes, this session takes over" in capsys.readouterr().out


@pytest.mark.usefixtures("windows")
def test_ctrl_c_is_left_to_the_console_that_tells_each_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = subprocess.Popen.send_signal

    def send_signal(process: Any, number: int) -> None:
        if number == signal.SIGINT:
            raise ValueError(f"Unsupported signal: {number}")
        send(process, number)

    monkeypatch.setattr(subprocess.Popen, "send_signal", send_signal)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    worker = [sys.executable, "-c", "import time; time.sleep(1)"]
    assert exactrun.run_workers(worker, 2) == 0
    timer.join()


# Long names, and such with spaces and umlauts


@pytest.fixture
def long_place(tmp_path: Path) -> Path:
    """A directory whose path has 250 characters, with spaces, umlauts and Cyrillic letters."""
    place = tmp_path / "Größe und Wärme" / "мои данные"
    place /= "x" * (249 - len(str(place)))
    try:
        place.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"this system takes no such path: {error}")
    assert len(str(place)) == 250
    return place


@pytest.mark.parametrize("name", ["ä" * 120 + ".txt", "x" * 246 + ".txt"], ids=["ä", "x"])
def test_a_file_may_have_the_longest_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    try:
        (tmp_path / "source" / name).write_text("text")
    except OSError as error:
        pytest.skip(f"this system takes no such path: {error}")
    one = exactrun.stage(tmp_path / "source" / name, tmp_path / "file")
    all_of_it = exactrun.stage(tmp_path / "source", tmp_path / "directory")
    assert one.read_text() == (all_of_it / name).read_text() == "text"
    files.write_whole(one, "new")
    assert one.read_text() == "new"
    assert files.copy_verified(one, tmp_path / "copies").read_text() == "new"


# Checkouts in which Git has made lines end as Windows' do


def test_requirements_may_end_their_lines_by_cr_lf(tmp_path: Path) -> None:
    lines = [
        "# Made for the Google Colab runtime 2026.07",
        "# Colab runtime 2026.07",
        "numpy==0.0.1 \\",
        "    --hash=sha256:00",
        "nobody-has-this==1.0",
    ]
    found = []
    for end in ("\n", "\r\n"):
        path = tmp_path / "requirements.txt"
        path.write_bytes(end.join([*lines, ""]).encode())
        found.append((environment.pinned_runtime(path), environment.pin_differences(path)))
    assert found[0] == found[1]
    assert [each.name for each in found[0][1]] == ["numpy", "nobody-has-this"]


def test_text_is_written_with_the_same_bytes_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = io.open

    def windows(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **more: Any,
    ) -> Any:
        if newline is None and "b" not in mode:
            newline = None if mode == "r" else "\r\n"
        return opened(file, mode, buffering, encoding, errors, newline, **more)

    monkeypatch.setattr(io, "open", windows)
    path = exactrun.save_object({"a": [1, 2]}, tmp_path / "labels")
    for each in (path, path.with_name(f"{path.name}.sha256")):
        assert b"\r" not in each.read_bytes(), each
