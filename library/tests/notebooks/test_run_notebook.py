"""`run_notebook`: what it returns, what it leaves, and what it raises."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from exactrun.errors import UserError
from exactrun.notebooks import NotebookFailed, execution, run_notebook
from exactrun.notebooks.record import read_record

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
