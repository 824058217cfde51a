"""The command `exactrun notebook run`: exit codes, signals, files that are never half written."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from commanded import command as run_command
from notebook_cases import Case

from exactrun.errors import UserError
from exactrun.notebooks import batch
from exactrun.notebooks.index import read_reports
from exactrun.notebooks.parameters import given_parameters, read_parameters

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


@pytest.mark.thorough
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


@pytest.fixture
def short_path() -> Iterator[str]:
    """Return a directory whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory() as path:
        yield path


def sockets(directory: str) -> list[Path]:
    return [*Path(directory).glob("exactrun-*-*")]


@pytest.mark.thorough
@unix
def test_killed_itself_it_leaves_no_process_a_notebook_that_can_be_read_and_no_old_report(
    tmp_path: Path, short_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/case.html").write_text("Passed, said the run before")
    monkeypatch.setenv("TMPDIR", short_path)
    process = command(LONG.write(tmp_path))
    kernel, child = in_the_midst(process)
    assert sys.platform != "linux" or sockets(short_path)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while running(kernel) or running(child) or sockets(short_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    executed = (tmp_path / "out/case.ipynb").read_text(encoding="utf-8")
    assert f"child {child}" in json.dumps(json.loads(executed))
    assert json.loads(executed)["metadata"]["exactrun"] == {"passed": False}
    assert not (tmp_path / "out/case.html").exists()


@pytest.mark.parametrize(("cell", "status"), [("print('é')", 0), ("1 / 0", 1)])
def test_the_exit_code_is_the_verdict(cell: str, status: int, tmp_path: Path) -> None:
    process = command(Case(name="", cells=(cell,)).write(tmp_path))
    printed, told = process.communicate(timeout=60)
    assert process.returncode == status, told
    assert "UnicodeEncodeError" not in told  # the terminal lacks é
    assert "WARNING" not in told  # of the kernel
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
        (("--limit", "9"), "longer than its limit of 9 s"),
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


@pytest.mark.parametrize("flaw", ["an old format", "output is a file", "output holds a directory"])
@pytest.mark.parametrize("results", [False, True])
def test_what_can_not_be_read_or_written_is_told_in_a_sentence(
    flaw: str, results: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook, out = Case(name="", cells=("1",)).write(tmp_path), tmp_path / "out"
    said = f"{out}/case.%s. Choose another place, or clear it.\n"
    if flaw == "an old format":
        old = nbformat.convert(nbformat.read(notebook, as_version=4), 3)
        notebook.write_text(json.dumps(old), encoding="utf-8")
        said = f"{notebook} is not a notebook of format 4. Save it again with Jupyter.\n"
    elif flaw == "output is a file":
        out.touch()
        said %= "html can't be written: Not a directory"
    else:
        (out / "case.ipynb").mkdir(parents=True)
        said %= "ipynb can't be written: Is a directory"
    before, there = notebook.read_bytes(), {*tmp_path.rglob("*")}
    flags = ["--json", tmp_path / "results.json"] if results else []
    assert run_command("notebook", "run", notebook, "--output", out, *flags) == 1
    assert capsys.readouterr().err == said
    assert notebook.read_bytes() == before
    assert {*tmp_path.rglob("*")} == there.union(flags[1:])
    if results:
        assert results_of(tmp_path)["notebooks"][0]["detail"] in said


@pytest.mark.thorough
@pytest.mark.parametrize("written", [1, 4, 7])
def test_a_disk_that_gets_full_is_told_in_a_sentence_and_nothing_is_half_written(
    written: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebook, results, count = Case(name="", cells=("1",)).write(tmp_path), tmp_path / "r.json", 0
    before, fsync = notebook.read_bytes(), os.fsync

    def full(number: int) -> None:
        nonlocal count
        count += 1
        if count >= written:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    flags = ["--output", tmp_path / "out", "--json", results]
    assert run_command("notebook", "run", notebook, *flags) == 1
    told = capsys.readouterr().err.splitlines()
    place = tmp_path / "out"
    assert [line.partition(" (it is full")[0] for line in told] == [
        f"{place} can't be written: No space left on device",
        f"{results} can't be written: No space left on device",
    ]
    assert notebook.read_bytes() == before
    assert not results.exists()
    assert [path for path in tmp_path.rglob("*") if "partial" in path.name] == []
    for path in (tmp_path / "out").iterdir():
        json.loads(path.read_text(encoding="utf-8"))


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


def test_running_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys\nfrom exactrun.notebooks import batch, papermill_engine\n"
        "unneeded = 'tensorflow keras numpy pandas h5py matplotlib IPython ipykernel nbconvert'\n"
        "print(set(unneeded.split()) & sys.modules.keys())"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "set()\n", done.stderr


def test_without_the_extra_a_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("batch", "execution"):
        monkeypatch.delitem(sys.modules, f"exactrun.notebooks.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "papermill.engines", None)
    notebook = Case(name="", cells=("1",)).write(tmp_path)
    assert run_command("notebook", "run", notebook, "--output", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert told == "papermill is missing: python -m pip install papermill nbconvert ipykernel\n"


VALUES = {
    "values.json": '{"steps": 7, "rate": 1e-3}',
    "values.toml": "steps = 7\nrate = 1e-3",
    "values.yaml": "steps: 7\nrate: 1e-3",
    "values.yml": "{steps: 7, rate: .1e-2}",
}


def results_of(place: Path) -> dict[str, Any]:
    """Run what is in a directory's `book`, into `out`, with results."""
    results: dict[str, Any] = json.loads((place / "results.json").read_text(encoding="utf-8"))
    return results


@pytest.mark.parametrize("name", VALUES)
def test_a_file_of_parameters_is_read_and_a_flag_wins(name: str, tmp_path: Path) -> None:
    notebook, file = Case(name="", cells=("rate = 0.1",)).write(tmp_path), tmp_path / name
    file.write_text(VALUES[name], encoding="utf-8")
    assert read_parameters(file) == {"steps": 7, "rate": 0.001}
    few = tmp_path / f"few{file.suffix}"
    few.write_text(VALUES[name].replace("rate", "steps"), encoding="utf-8")
    with pytest.raises(UserError, match=rf"{name}: .*no parameter rate\."):
        given_parameters(notebook, files=[file], texts=[])
    file.write_text(VALUES[name].split("rate")[0].rstrip(',\n "') + "}" * ("{" in VALUES[name]))
    assert given_parameters(notebook, files=[file], texts=[]) == {"steps": 7}
    assert given_parameters(notebook, files=[file], texts=["steps=8"]) == {"steps": 8}


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("v.yaml", "steps: seven", r"v\.yaml: steps=seven: 'seven' is not of type int"),
        ("v.yaml", "day: 2026-01-01", "no parameter day"),
        ("v.yaml", "a: [", r"v\.yaml is not YAML: .* line 1"),
        ("v.json", "{", r"v\.json is not JSON: .*line 1"),
        ("v.toml", "steps", r"v\.toml is not TOML: .*at end of document"),
        ("v.json", "[3]", "holds no names with values"),
        ("v.yaml", "3: 4", "holds no names with values"),
        ("v.ini", "", r"v\.ini: parameters are read from \.json, \.toml, \.yaml, \.yml files"),
        ("v.json", "caf\xe9", "v.json is not JSON: 'utf-8' codec"),
    ],
)
def test_a_file_of_parameters_that_can_not_be_taken_is_refused(
    name: str, text: str, fault: str, tmp_path: Path
) -> None:
    notebook = Case(name="", cells=()).write(tmp_path)
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=fault):
        given_parameters(notebook, files=[tmp_path / name], texts=[])
    with pytest.raises(UserError, match=r"none\.json can't be read: No such file"):
        read_parameters(tmp_path / "none.json")


@pytest.mark.thorough
def test_several_notebooks_are_run_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for chapter, cell in {"ch1": "print(steps)", "ch2": "1 / 0", ".aside": "1"}.items():
        (tmp_path / "book" / chapter).mkdir(parents=True)
        Case(name="", cells=(cell,)).write(tmp_path / "book" / chapter)
    (tmp_path / "book/ch3.ipynb").write_text("{")
    flags = ["-p", "steps=7", "--json", "deep/results.json", "--output", "book/out"]
    assert run_command("notebook", "run", "book", *flags) == 1
    said = capsys.readouterr().out
    summary = re.sub(r" +[\d.]+ s  ", " ", said.rpartition("\n\n")[2]).splitlines()
    assert summary == [
        "passed book/ch1/case.ipynb",
        "failed book/ch2/case.ipynb: cell 3 of 3 (The part): ZeroDivisionError: division by zero",
        f"failed book/ch3.ipynb: {summary[2].partition(': ')[2]}",
        "Notebooks: 3, failed: 2",
    ]
    results = results_of(tmp_path / "deep")
    assert (results["passed"], len(results["notebooks"])) == (False, 3)
    first, second, third = results["notebooks"]
    assert first["seconds"] > sum(cell["seconds"] for cell in first["cells"]) > 0
    for found in (first, second):
        assert Path(found["executed"]).exists()
        assert Path(found["report"]).exists()
        assert found["parameters"] == {"steps": 7}
    assert (first["verdict"], first["detail"], first["cell"]) == ("passed", "", None)
    assert (second["verdict"], second["cells"][-1]["status"]) == ("failed", "failed")
    assert second["cell"] == second["cells"][-1]["id"]
    assert (third["verdict"], third["report"], third["cells"]) == ("failed", None, [])
    told = {row["file"]: (row["verdict"], row["detail"]) for row in read_reports(Path("book/out"))}
    assert told["ch3.html"] == ("Failed", third["detail"])
    assert len(told) == 3
    # Once more: what the run wrote is no notebook to run, nor is the old file of results kept.
    assert run_command("notebook", "run", "book/ch1", "book/ch2/case.ipynb", *flags[4:]) == 1
    assert "Notebooks: 2, failed: 1" in capsys.readouterr().out
    places = batch.places([tmp_path / "book", tmp_path / "book/ch1"], output=tmp_path / "book/out")
    assert [path.relative_to(tmp_path).as_posix() for path, _ in places] == [
        "book/ch1/case.ipynb",
        "book/ch2/case.ipynb",
        "book/ch3.ipynb",
    ]


@pytest.mark.thorough
def test_one_notebook_has_results_too_also_when_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("of the run before")
    process = command(LONG.write(tmp_path), "--json", tmp_path / "results.json")
    in_the_midst(process)
    assert not (tmp_path / "results.json").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    (found,) = results_of(tmp_path)["notebooks"]
    assert (found["verdict"], found["detail"]) == ("failed", "it was not finished")


@pytest.mark.parametrize(
    ("flags", "fault"),
    [(["--record", "run.json"], "--record is for one notebook, and these are 2"), ([], "")],
)
def test_what_can_not_be_asked_for_is_a_usage_error(
    flags: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault:
        Case(name="", cells=()).write(tmp_path).rename(tmp_path / "a.ipynb")
        Case(name="", cells=()).write(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run_command("notebook", "run", tmp_path, *flags)
    assert (fault or f"there is no notebook in {tmp_path}") in capsys.readouterr().err


def test_results_that_can_not_be_written_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = Case(name="", cells=("1",)).write(tmp_path)
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file/results.json"):
        assert run_command("notebook", "run", notebook, "--json", place) == 1
        assert str(place.parent if place != tmp_path else place) in capsys.readouterr().err
    assert not (tmp_path / "build").exists()
