"""Notebooks where Windows and macOS lack something or do it otherwise, forced on this machine."""

from __future__ import annotations

import errno
import ntpath
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from commanded import command
from nbformat.v4 import new_code_cell, new_notebook
from test_systems import held

from exactrun.errors import UserError
from exactrun.notebooks import execution, new, run_notebook, simulated_colab
from exactrun.notebooks.kernels import in_words
from exactrun.notebooks.watch import commands


def write(path: Path, *cells: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


@pytest.mark.thorough
def test_a_child_that_can_not_be_asked_about_is_no_failure(tmp_path: Path) -> None:
    cells = ("import os\nvars(os).pop('waitid', None)", "import subprocess, sys")
    child = "child = subprocess.Popen([sys.executable, '-c', 'raise SystemExit(3)'])"
    run_notebook(write(tmp_path / "a.ipynb", *cells, child), output=tmp_path / "out")


def test_notebooks_on_several_drives_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os.path, "commonpath", lambda tops: ntpath.commonpath(["C:\\a", "D:\\b"]))
    assert command("notebook", "run", write(tmp_path / "a.ipynb", "1")) == 1
    assert "lie on several drives. Run those of one drive." in capsys.readouterr().err


def test_lines_go_to_windows_own_shell_though_there_is_a_bash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv("SHELL", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"C:\\Git\\{name}.exe")
    ran: list[str] = []
    commands.watched("dir && echo on", lambda line: ran.append(line) or 0, lambda status: status)
    assert ran == ["dir && echo on"]


@pytest.mark.thorough
def test_two_runs_into_one_place_are_refused_without_fcntl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: set[int] = set()

    def locking(file: int, mode: int, size: int) -> None:
        if (inode := os.fstat(file).st_ino) in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        locked.add(inode)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    execution.forget(tmp_path / "a.ipynb", tmp_path / "out")
    with pytest.raises(UserError, match="is being written by another run"):
        execution.forget(tmp_path / "a.ipynb", tmp_path / "out")


def test_the_simulated_colab_says_that_it_is_not_for_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = write(tmp_path / "a.ipynb", "1")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        with pytest.raises(UserError, match="simulated Colab can't run on Windows.*without it"):
            simulated_colab.environment(tmp_path / "colab")
    assert not (tmp_path / "colab").exists()
    if sys.platform != "win32":
        assert run_notebook(notebook, output=tmp_path / "out", colab=True).report.exists()


@pytest.mark.parametrize("name", ["nul", "COM1.ipynb", "notes/aux.second"])
def test_a_new_notebook_has_a_name_that_windows_can_hold(name: str, tmp_path: Path) -> None:
    like = write(tmp_path / "setup.ipynb", "1")
    with pytest.raises(UserError, match="can't be used: Windows takes it for the device"):
        new.new_notebook(tmp_path / name, like=like)


@pytest.mark.thorough
def test_a_notebook_may_have_a_long_name_and_its_files_be_held_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        path = write(tmp_path / "Größe und мои" / f"{'n' * 249}.ipynb", "print('→ ж')")
    except OSError as error:
        pytest.skip(f"this system takes no such path: {error}")
    for _ in range(2):  # what the first one left is in the way
        with monkeypatch.context() as patch:
            held(tmp_path, 3, patch)
            executed = run_notebook(path, output=tmp_path / "out")
        assert "→ ж" in executed.text(executed.notebook.cells[0].id)
        assert executed.report.exists()


@pytest.mark.thorough
def test_a_console_in_cp1252_shows_what_it_can(tmp_path: Path) -> None:
    path = write(tmp_path / "мои данные" / "Größe.ipynb", "print('✔ ж Größe')")
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "cp1252"}
    code = "import sys; from commanded import command; sys.exit(command(*sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "notebook", "run", path, "--output", tmp_path / "out"],
        env=os.environ | env,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert "+ ? Größe" in done.stdout.decode("cp1252")
    assert b"Traceback" not in done.stderr
    assert command("notebook", "lint", path) == 0


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert in_words(-40) == "was ended by signal 40"  # a real-time signal of Linux
    assert in_words(-9) == "was ended by SIGKILL, which the system sends when memory runs out"
