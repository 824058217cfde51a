"""`run_notebook`: what it returns, what it leaves, and what it raises."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from jupyter_client.connect import LocalPortCache
from nbformat.v4 import new_code_cell, new_notebook

from exactrun.errors import UserError
from exactrun.notebooks import (
    Limits,
    NotebookFailed,
    engine,
    execution,
    kernels,
    outputs,
    run_notebook,
)
from exactrun.notebooks.record import read_record
from exactrun.notebooks.summary import judge

RECORD_CELL = """\
import json, pathlib
checks = [{"name": "data", "status": "passed", "detail": f"{steps} steps"},
          {"name": "gpu", "status": status, "detail": "there is none"}]
pathlib.Path(place).write_text(json.dumps({"checks": checks}))"""


def notebook_of(directory: Path, *sources: str) -> Path:
    """Write a notebook whose first cell declares parameters; cells are called c1, c2, …"""
    parameters = "steps = 3\nstatus = 'skipped'\nplace = ''"
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source, id=f"c{n}") for n, source in enumerate(sources, 1)]
    notebook = new_notebook(cells=cells)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    path = directory / "small.ipynb"
    nbformat.write(notebook, path)
    return path


def test_what_a_notebook_put_out_is_found_by_id_and_tag(tmp_path: Path) -> None:
    path = notebook_of(tmp_path, "print('made', steps + 1)", "steps * 2")
    executed = run_notebook(path, output=tmp_path / "out", parameters={"steps": 7})
    assert executed.text("c1") == "made 8\n"
    assert executed.text("c2") == "14"
    assert executed.outputs("c2")[0].output_type == "execute_result"
    assert executed.outputs("parameters") == []
    with pytest.raises(UserError, match="no cell of code with the id or tag 'c3'"):
        executed.outputs("c3")
    assert executed.path == tmp_path / "out" / "small.ipynb"
    assert "made 8" in executed.report.read_text(encoding="utf-8")
    assert executed.notebook == nbformat.read(executed.path, as_version=4)
    assert executed.notebook.metadata.exactrun.passed is True
    assert 0.1 < executed.seconds < 60


def test_what_failed_is_raised_with_how_far_it_came(tmp_path: Path) -> None:
    path = notebook_of(tmp_path, "print('so far')", "1 / 0")
    with pytest.raises(NotebookFailed, match=r"cell 3 of 3: ZeroDivisionError") as failed:
        run_notebook(path, output=tmp_path / "out")
    executed = failed.value.executed
    assert executed.text("c1") == "so far\n"
    assert "so far" in executed.report.read_text(encoding="utf-8")
    assert executed.notebook.metadata.exactrun.cell == "c2"


def test_the_record_of_a_notebook_comes_with_it(tmp_path: Path) -> None:
    path, record = notebook_of(tmp_path, RECORD_CELL), tmp_path / "record.json"
    given = {"place": str(record)}
    executed = run_notebook(path, output=tmp_path / "out", parameters=given, record=record)
    assert executed.check("data")["detail"] == "3 steps"
    assert executed.check("gpu")["status"] == "skipped"
    with pytest.raises(UserError, match=r"no check 'model'\. It recorded: data, gpu"):
        executed.check("model")
    page = executed.report.read_text(encoding="utf-8")
    assert "Passed: 1 of 2 checks, 1 skipped" in page


def test_a_check_that_failed_fails_the_run_and_its_report(tmp_path: Path) -> None:
    path, record = notebook_of(tmp_path, RECORD_CELL), tmp_path / "record.json"
    given = {"place": str(record), "status": "failed"}
    with pytest.raises(NotebookFailed, match="the check 'gpu' failed: there is none") as failed:
        run_notebook(path, output=tmp_path / "out", parameters=given, record=record)
    assert failed.value.executed.check("data")["status"] == "passed"
    assert "1 of 2 checks failed" in failed.value.executed.report.read_text(encoding="utf-8")
    written = json.loads(failed.value.executed.path.read_text(encoding="utf-8"))["metadata"]
    assert written["exactrun"] == {
        "passed": False,
        "problem": "the check 'gpu' failed: there is none",
    }
    # Also for whoever has the notebook's file alone.
    assert judge(failed.value.executed.notebook, {}).detail == written["exactrun"]["problem"]


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("", "can't be read"),
        ('{"checks": [', "is not JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "has no checks of the form"),
        ('{"checks": [1]}', "has no checks of the form"),
        (
            '{"checks": [{"name": "gpu", "status": "fine", "detail": ""}]}',
            "passed, failed, skipped",
        ),
        ('{"checks": [{"name": "gpu", "status": "passed"}]}', "has no checks of the form"),
        ('{"checks": [], "figures": {"Loss": 0.5}}', "figures that are not texts"),
    ],
)
def test_what_is_no_record_is_refused(written: str, fault: str, tmp_path: Path) -> None:
    if written:
        (tmp_path / "record.json").write_text(written, encoding="utf-8")
    with pytest.raises(UserError, match=fault):
        read_record(tmp_path / "record.json")


def test_a_record_that_was_not_written_fails_the_run(tmp_path: Path) -> None:
    path, record = notebook_of(tmp_path, "1"), tmp_path / "record.json"
    with pytest.raises(NotebookFailed, match="it left no record: .* can't be read") as failed:
        run_notebook(path, output=tmp_path / "out", record=record)
    assert "✖</span> Failed" in failed.value.executed.report.read_text(encoding="utf-8")


def test_a_run_that_failed_does_not_show_the_record_of_the_run_before(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    checks = [{"name": "gpu", "status": "passed", "detail": "of the run before"}]
    record.write_text(json.dumps({"checks": checks}), encoding="utf-8")
    with pytest.raises(NotebookFailed) as failed:
        run_notebook(notebook_of(tmp_path, "1 / 0"), output=tmp_path / "out", record=record)
    assert failed.value.executed.record == {}
    assert "of the run before" not in failed.value.executed.report.read_text(encoding="utf-8")


def test_a_notebook_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would be overwritten"):
        run_notebook(notebook_of(tmp_path), output=tmp_path)


def test_a_value_of_another_type_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'7' is not of type int"):
        run_notebook(notebook_of(tmp_path), output=tmp_path / "out", parameters={"steps": "7"})
    assert not (tmp_path / "out").exists()


def test_an_error_that_nobody_foresaw_leaves_no_report_that_says_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook_of(tmp_path, "'a'", "'b'")
    output = tmp_path / "out"
    run_notebook(path, output=output)
    assert "Passed" in (output / "small.html").read_text(encoding="utf-8")
    saved: list[Any] = []
    save = execution._AtomicManager.save

    def fill_the_disk(manager: Any, **options: Any) -> None:
        saved.append(manager)
        if len(saved) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(manager, **options)

    monkeypatch.setattr(execution._AtomicManager, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        run_notebook(path, output=output)
    page = (output / "small.html").read_text(encoding="utf-8")
    assert "Passed" not in page
    assert "OSError" in page


def test_a_simulated_colab_is_the_kernels_environment(tmp_path: Path) -> None:
    cell = "import google.colab, os\nprint(os.getcwd(), os.environ['COLAB_RELEASE_TAG'])"
    path = notebook_of(tmp_path, cell)
    executed = run_notebook(path, output=tmp_path / "out", colab=True)
    machine, tag = executed.text("c1").split()
    assert machine.startswith(str(tmp_path.resolve() / "out" / "colab"))
    assert machine.endswith("/content")
    assert tag
    elsewhere = run_notebook(path, output=tmp_path / "out", colab=tmp_path / "place")
    assert elsewhere.text("c1").startswith(str(tmp_path.resolve() / "place"))


@pytest.mark.parametrize("refused", ["a parameter", "a kernel", "no JSON"])
def test_a_run_that_is_refused_leaves_nothing_of_the_run_before(
    refused: str, tmp_path: Path
) -> None:
    path = notebook_of(tmp_path, "1")
    page = run_notebook(path, output=tmp_path / "out").report
    assert page.exists()
    parameters = {"steps": "many"} if refused == "a parameter" else {}
    text = path.read_text(encoding="utf-8")
    if refused == "a kernel":
        path.write_text(text.replace('"python3"', '"there-is-none"'), encoding="utf-8")
    elif refused == "no JSON":
        path.write_text(text[:-9], encoding="utf-8")
    with pytest.raises(UserError):
        run_notebook(path, output=tmp_path / "out", parameters=parameters)
    # But for what tells the next page what has changed.
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".small.report.json"]


@pytest.mark.thorough
def test_a_second_run_into_one_place_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    path, elsewhere = notebook_of(tmp_path, "import time; time.sleep(2)"), tmp_path / "other"
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_notebook, path, output=tmp_path / "out")
        while not (tmp_path / "out/small.ipynb").exists():
            time.sleep(0.01)
        with pytest.raises(UserError, match="is being written by another run"):
            run_notebook(path, output=tmp_path / "out")
        run_notebook(path, output=elsewhere)
        assert first.result().report.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_lock_leaves_no_file_and_who_waited_for_a_deleted_one_takes_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(execution.tempfile, "gettempdir", lambda: str(tmp_path))
    flock, first = fcntl.flock, execution._locked(tmp_path / "out")

    def late(file: Any, how: int) -> None:
        """Lock a file which the run before deletes between its opening and its locking."""
        first.__exit__(None, None, None)
        monkeypatch.setattr(fcntl, "flock", flock)
        flock(file, how)

    first.__enter__()
    monkeypatch.setattr(fcntl, "flock", late)
    with execution._locked(tmp_path / "out"):
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(UserError, match="another run"), execution._locked(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_what_papermill_noted_of_an_earlier_run_is_no_matter(tmp_path: Path) -> None:
    path = notebook_of(tmp_path, "print('done')")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["papermill"] = notebook.metadata["exactrun"] = "passed"
    notebook.cells[0].metadata["papermill"] = None
    nbformat.write(notebook, path)
    assert run_notebook(path, output=tmp_path / "out").text("c1") == "done\n"


@pytest.mark.thorough
def test_updates_of_displays_are_bounded_as_other_outputs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "TOTAL_LIMIT", 100_000)
    show = "shown = [display('first', display_id=True) for _ in range(9)]"
    update = "for each in shown:\n    each.update('x' * 30_000)"
    path = notebook_of(tmp_path, f"from IPython.display import display\n{show}", update)
    shown = run_notebook(path, output=tmp_path / "out").outputs("c1")
    lengths = [len(each.data["text/plain"]) > 1_000 for each in shown]
    assert lengths == [True] * 2 + [False] * 7
    assert "left out here" in shown[-1].data["text/plain"]


@pytest.mark.thorough
def test_a_display_is_updated_after_streams_before_it_were_joined(tmp_path: Path) -> None:
    show = (
        "from IPython.display import display\n"
        "for n in range(3):\n    print('x' * 70_000, flush=True)\n"
        "shown = display('first', display_id=True)\nprint('after')"
    )
    path = notebook_of(tmp_path, show, "shown.update('second')")
    found = run_notebook(path, output=tmp_path / "out").outputs("c1")
    kinds = [each.output_type for each in found]
    assert kinds == ["stream", "display_data", "stream"]
    assert found[0].text == ("x" * 70_000 + "\n") * 3
    assert found[1].data["text/plain"] == "'second'"


def test_an_exception_that_the_engine_does_not_know_leaves_no_page_that_says_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a fault of our own")

    monkeypatch.setattr(engine._StrictClient, "_end_kernel", fail)
    with pytest.raises(ZeroDivisionError):
        run_notebook(notebook_of(tmp_path, "1"), output=tmp_path / "out")
    page = (tmp_path / "out/small.html").read_text(encoding="utf-8")
    assert "Passed" not in page
    assert "a fault of our own" in page


def test_ctrl_c_before_the_first_cell_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._StrictClient, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt, match="not finished: stopped by Ctrl-C\nUp to there"):
        run_notebook(notebook_of(tmp_path, "1"), output=tmp_path / "out")
    assert "stopped by Ctrl-C" in (tmp_path / "out/small.html").read_text(encoding="utf-8")


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_disk_that_is_full_leaves_no_half_written_file(tmp_path: Path) -> None:
    path = notebook_of(tmp_path, "print('x' * 3_000_000)", "1")
    code = (
        "import resource, signal, sys\nsys.path[:0] = sys.argv[2].split(':')\n"
        "from commanded import command\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "sys.exit(command('notebook', 'run', sys.argv[1], '--quiet', '--output', sys.argv[3]))"
    )
    paths = ":".join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", code, str(path), paths, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "File too large" in done.stderr
    assert [each.name for each in (tmp_path / "out").iterdir() if "partial" in each.name] == []
    assert not (tmp_path / "out/small.html").exists()


def test_channels_are_asked_again_though_no_sign_comes() -> None:
    """Nbclient #312: what wakes who waits for a message may be lost."""
    asked = []

    async def get_msg(timeout: float | None) -> str:
        asked.append(timeout)
        if len(asked) < 3:
            raise Empty  # a message is there, but nobody was woken
        return "message"

    assert asyncio.run(kernels.polled(get_msg)()) == "message"
    assert asked == [1.0, 1.0, 1.0]
    asked.clear()
    with pytest.raises(Empty):
        asyncio.run(kernels.polled(get_msg)(timeout=0))


@pytest.mark.skipif(sys.platform == "win32", reason="ZeroMQ has no such sockets on Windows")
def test_a_kernel_needs_no_port_that_another_program_may_take_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(LocalPortCache, "find_available_port", lambda *_: taken)
        done = run_notebook(
            notebook_of(tmp_path, "print('star', 'ted')"),
            output=tmp_path / "out",
            limits=Limits(start=20),
        )
    assert "star ted" in json.dumps(done.notebook.cells[-1].outputs)


@pytest.mark.thorough
def test_a_temporary_directory_too_long_for_a_socket_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    done = run_notebook(notebook_of(tmp_path, "print('star', 'ted')"), output=tmp_path / "out")
    assert "star ted" in json.dumps(done.notebook.cells[-1].outputs)
    assert not list(temporary.glob("*"))
