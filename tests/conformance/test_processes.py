"""The harness as a command: exit codes, signals, and files that are never half written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cases import Case
from environment import Harness, running, wait_until

pytestmark = pytest.mark.slow
unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")

LONG = Case(
    name="long",
    cells=(
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print('child', child.pid)",
        "import os, time\nprint('kernel', os.getpid(), flush=True)\ntime.sleep(600)",
        "'never-shown'",
    ),
)


def command(harness: Harness, notebook: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(str(harness.python), "-m", "harness", "run", str(notebook)),
            *("--output", str(notebook.parent / "out"), *flags),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=harness.env | {"PYTHONIOENCODING": "ascii"},
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


@unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_stopped_it_puts_everything_away_and_tells_how_far_it_came(
    number: signal.Signals, harness: Harness, tmp_path: Path
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    process = command(harness, LONG.write(tmp_path))
    ids = in_the_midst(process)
    process.send_signal(number)
    printed, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "was not finished: cell 3 of 4 (The part): stopped by" in told
    assert "Traceback" not in printed + told
    assert not any(map(running, ids))
    executed = json.loads((tmp_path / "out/case.ipynb").read_text(encoding="utf-8"))
    assert "stopped by" in executed["metadata"]["harness"]["failure"]
    assert f"kernel {ids[0]}" in (tmp_path / "out/case.html").read_text(encoding="utf-8")


@unix
def test_killed_itself_it_leaves_no_process_and_a_notebook_that_can_be_read(
    harness: Harness, tmp_path: Path
) -> None:
    process = command(harness, LONG.write(tmp_path))
    kernel, child = in_the_midst(process)
    process.kill()
    process.wait(30)
    wait_until(lambda: not running(kernel) and not running(child))
    executed = (tmp_path / "out/case.ipynb").read_text(encoding="utf-8")
    assert f"child {child}" in json.dumps(json.loads(executed))


@pytest.mark.parametrize(("cell", "status"), [("print('é')", 0), ("1 / 0", 1)])
def test_the_exit_code_is_the_verdict(
    cell: str, status: int, harness: Harness, tmp_path: Path
) -> None:
    process = command(harness, Case(name="", cells=(cell,)).write(tmp_path))
    printed, told = process.communicate(timeout=60)
    assert process.returncode == status, told
    assert "UnicodeEncodeError" not in told  # the terminal lacks é
    assert ("Report: " in printed, "Up to there: " in told) == (status == 0, status == 1)
    assert "cell 2 of 2: The part\n" in printed


def test_quiet_it_names_the_cells_only(harness: Harness, tmp_path: Path) -> None:
    case = Case(name="", cells=("print('talk', 'ing')",))
    printed, _ = command(harness, case.write(tmp_path), "--quiet").communicate(timeout=60)
    assert "cell 2 of 2" in printed
    assert "talk ing" not in printed


def test_a_limit_is_a_flag(harness: Harness, tmp_path: Path) -> None:
    case = Case(name="", cells=("import time\ntime.sleep(60)",))
    process = command(harness, case.write(tmp_path), "--cell-limit", "1")
    _, told = process.communicate(timeout=60)
    assert (process.returncode, "limit of 1 s for a cell" in told) == (1, True)


def test_who_reads_the_executed_notebook_meanwhile_reads_a_whole_one(
    harness: Harness, tmp_path: Path
) -> None:
    cells = tuple(f"print('x' * 300_000)\n{number}" for number in range(15))
    process = command(harness, Case(name="", cells=cells).write(tmp_path), "--quiet")
    executed, read = tmp_path / "out/case.ipynb", 0
    while process.poll() is None:
        if executed.exists():
            json.loads(executed.read_text(encoding="utf-8"))
            read += 1
    process.communicate()
    assert process.returncode == 0
    assert read > 30
