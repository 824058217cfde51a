"""The command `exactrun notebook run`: exit codes, signals, files that are never half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from commanded import command as run_command
from notebook_cases import Case

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
COMMANDED = Path(__file__).with_name("commanded.py")

LONG = Case(
    name="long",
    cells=(
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('child', child.pid)",
        "import os, time\nprint('kernel', os.getpid(), flush=True)\ntime.sleep(600)",
        "'never-shown'",
    ),
)


def command(notebook: Path, *flags: str | Path) -> subprocess.Popen[str]:
    paths = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [
            *(sys.executable, COMMANDED, "notebook", "run", notebook),
            *("--output", notebook.parent / "out", *flags),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": paths},
        encoding="utf-8",
    )


def in_the_midst(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Wait for the long cell; return the ids of the kernel and of its child."""
    assert process.stdout is not None
    ids = {}
    for line in process.stdout:
        word, _, number = line.strip().partition(" ")
        if word in ("child", "kernel"):
            ids[word] = int(number)
        if len(ids) == 2:
            return ids["kernel"], ids["child"]
    raise AssertionError("it ended before the long cell")


def running(process: int) -> bool:
    """Tell whether a process runs; one that has ended and is not yet collected does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopped_it_puts_everything_away_and_tells_how_far_it_came(
    number: signal.Signals, tmp_path: Path
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    process = command(LONG.write(tmp_path))
    ids = in_the_midst(process)
    process.send_signal(number)
    printed, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "was not finished: cell 3 of 4 (The part): stopped by" in told
    assert "Traceback" not in printed + told
    assert not any(map(running, ids))
    executed = json.loads((tmp_path / "out/case.ipynb").read_text(encoding="utf-8"))
    assert "stopped by" in executed["metadata"]["exactrun"]["failure"]
    assert f"kernel {ids[0]}" in (tmp_path / "out/case.html").read_text(encoding="utf-8")


@unix
def test_killed_itself_it_leaves_no_process_a_notebook_that_can_be_read_and_no_old_report(
    tmp_path: Path,
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/case.html").write_text("Passed, said the run before")
    process = command(LONG.write(tmp_path))
    kernel, child = in_the_midst(process)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while running(kernel) or running(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    executed = (tmp_path / "out/case.ipynb").read_text(encoding="utf-8")
    assert f"child {child}" in json.dumps(json.loads(executed))
    assert not (tmp_path / "out/case.html").exists()


@pytest.mark.parametrize(("cell", "status"), [("print('é')", 0), ("1 / 0", 1)])
def test_the_exit_code_is_the_verdict(cell: str, status: int, tmp_path: Path) -> None:
    process = command(Case(name="", cells=(cell,)).write(tmp_path))
    printed, told = process.communicate(timeout=60)
    assert process.returncode == status, told
    assert "UnicodeEncodeError" not in told  # the terminal lacks é
    assert "Debugger" not in told + printed
    assert ("Report: " in printed, "Up to there: " in told) == (status == 0, status == 1)
    assert "cell 2 of 2: The part\n" in printed


@pytest.mark.thorough
def test_quiet_it_names_the_cells_only(tmp_path: Path) -> None:
    case = Case(name="", cells=("print('talk', 'ing')",))
    printed, _ = command(case.write(tmp_path), "--quiet").communicate(timeout=60)
    assert "cell 2 of 2" in printed
    assert "talk ing" not in printed


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("flag", "fault"),
    [
        (("--cell-limit", "1"), "limit of 1 s for a cell"),
        (("--limit", "4"), "longer than its limit of 4 s"),
        (("--start-limit", "2"), "did not start"),
        (("--memory-limit", "0.01"), "over its 0.01 GB"),
    ],
)
def test_a_limit_is_a_flag(flag: tuple[str, ...], fault: str, tmp_path: Path) -> None:
    kernel = "never" if "--start-limit" in flag else "python3"
    case = Case(name="", cells=("import time\ntime.sleep(60)",), kernel=kernel)
    process = command(case.write(tmp_path), *flag)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, fault in told) == (1, True), told


@pytest.mark.parametrize("value", ["-1", "soon"])
def test_a_limit_that_is_none_is_a_usage_error(value: str, tmp_path: Path) -> None:
    process = command(tmp_path / "none.ipynb", "--limit", value)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, "--limit" in told) == (2, True)


@pytest.mark.thorough
def test_a_limit_of_0_is_none(tmp_path: Path) -> None:
    process = command(Case(name="", cells=("1",)).write(tmp_path), "--limit", "0")
    assert process.communicate(timeout=60)
    assert process.returncode == 0


def test_an_output_that_is_a_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    process = command(Case(name="", cells=("1",)).write(tmp_path))
    _, told = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in told) == (1, False), told
    assert "out" in told


@pytest.mark.thorough
def test_who_reads_the_executed_notebook_meanwhile_reads_a_whole_one(tmp_path: Path) -> None:
    cells = tuple(f"print('x' * 300_000)\n{number}" for number in range(15))
    process = command(Case(name="", cells=cells).write(tmp_path), "--quiet")
    executed, read = tmp_path / "out/case.ipynb", 0
    while process.poll() is None:
        if executed.exists():
            json.loads(executed.read_text(encoding="utf-8"))
            read += 1
    process.communicate()
    assert process.returncode == 0
    assert read > 30


def test_nothing_of_the_extra_is_loaded_before_it_is_used() -> None:
    code = (
        "import argparse, sys, exactrun.notebooks.compare\n"
        "from exactrun.notebooks import commands\n"
        "commands.add_to(argparse.ArgumentParser().add_subparsers())\n"
        "print({'papermill', 'nbformat', 'nbconvert', 'IPython', 'psutil'} & sys.modules.keys())"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "set()\n", done.stderr


def test_without_the_extra_a_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "exactrun.notebooks.execution", raising=False)
    monkeypatch.setitem(sys.modules, "papermill.engines", None)
    notebook = Case(name="", cells=("1",)).write(tmp_path)
    assert run_command("notebook", "run", notebook, "--output", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert told == 'papermill is missing: pip install "exactrun[notebooks]"\n'
