"""The harness: notebooks that must not pass, and parameters that must not be taken."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from harness.notebooks import HarnessError, Limits, declared_parameters, parse_parameters, run
from harness.progress import Progress

DECLARED = """\
steps = 3  # @param {type:"integer"}
fast = True
rate: float = 0.1
colour = "#ff0000"  # a value with a number sign, and one with an equals sign
query = "a=1"
sizes = [1, 2]
cap = None
"""


def notebook_of(folder: Path, *sources: str, declared: str = DECLARED, tagged: bool = True) -> Path:
    """Write a notebook whose first cell declares parameters."""
    tags = {"tags": ["parameters"]} if tagged else {}
    cells = [new_code_cell(declared, metadata=tags)]
    notebook = new_notebook(cells=cells + [new_code_cell(source) for source in sources])
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    path = folder / "small.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.notebook
def test_parameters_reach_the_notebook(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "print('made', steps + 1)")
    executed = run(notebook, output=tmp_path / "out", parameters={"steps": 7})
    assert "made 8" in executed.report.read_text(encoding="utf-8")


@pytest.mark.notebook
def test_a_failing_cell_fails_the_run_and_leaves_a_report(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "print('so far')", "1 / 0")
    with pytest.raises(HarnessError, match=r"cell 3 of 3: ZeroDivisionError"):
        run(notebook, output=tmp_path / "out", parameters={})
    assert "so far" in (tmp_path / "out" / "small.html").read_text(encoding="utf-8")


@pytest.mark.notebook
def test_leaving_half_way_is_not_a_success(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "import sys\nsys.exit(0)", "print('never')")
    with pytest.raises(HarnessError, match="cell 2 of 3: SystemExit: 0"):
        run(notebook, output=tmp_path / "out", parameters={})


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("!exit 3\n!true", "the command 'exit 3' ended with exit status 3"),
        (
            "import threading\nthreading.Thread(target=lambda: 1 / 0, name='loader').start()",
            "thread loader died of ZeroDivisionError",
        ),
    ],
)
def test_what_fails_without_an_exception_fails_the_run(
    tmp_path: Path, source: str, fault: str
) -> None:
    with pytest.raises(HarnessError, match=fault):
        run(notebook_of(tmp_path, source), output=tmp_path / "out", parameters={})


@pytest.mark.notebook
def test_a_cell_over_its_time_fails_the_run_and_keeps_what_it_printed(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "import time\nprint('so far')\ntime.sleep(60)")
    with pytest.raises(HarnessError, match="cell 2 of 2: it took longer than the limit of 1 s"):
        run(notebook, output=tmp_path / "out", parameters={}, limits=Limits(cell=1))
    assert "so far" in (tmp_path / "out" / "small.html").read_text(encoding="utf-8")


def test_a_notebook_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="would be overwritten"):
        run(notebook_of(tmp_path), output=tmp_path, parameters={})


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.ipynb"
    for text in ("", "[]", '{"nbformat": 3}', '{"nbformat": 4, "nbformat_minor": 5}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(HarnessError, match=r"small\.ipynb"):
            declared_parameters(path)


def test_an_unknown_parameter_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no parameter step\. Did you mean steps\?"):
        run(notebook_of(tmp_path), output=tmp_path / "out", parameters={"step": 1})


def test_a_notebook_without_tagged_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="0 cells tagged 'parameters'"):
        declared_parameters(notebook_of(tmp_path, tagged=False))


@pytest.mark.notebook
def test_a_notebook_without_parameters_runs_as_it_is(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "print('made', steps + 1)", tagged=False)
    executed = run(notebook, output=tmp_path / "out", parameters={})
    assert "made 4" in executed.report.read_text(encoding="utf-8")


def test_a_parameter_without_a_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"declares steps = len\('abc'\)"):
        declared_parameters(notebook_of(tmp_path, declared="steps = len('abc')"))


def test_a_form_is_read_as_python_reads_it(tmp_path: Path) -> None:
    assert declared_parameters(notebook_of(tmp_path)) == {
        "steps": 3,
        "fast": True,
        "rate": 0.1,
        "colour": "#ff0000",
        "query": "a=1",
        "sizes": [1, 2],
        "cap": None,
    }


def test_values_of_an_earlier_run_are_refused(tmp_path: Path) -> None:
    path = notebook_of(tmp_path, "steps = 9")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["injected-parameters"]
    nbformat.write(notebook, path)
    with pytest.raises(HarnessError, match="values of an earlier run"):
        declared_parameters(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=007", 7),
        ("fast=false", False),
        ("rate=1e-3", 0.001),
        ("rate=1", 1.0),
        ("colour=None", "None"),
        ("query=b=2", "b=2"),
        ("sizes=[3, 4]", [3, 4]),
        ("cap=None", None),
        ("cap=5", 5),
        ("cap=five", "five"),
    ],
)
def test_a_parameter_takes_the_type_that_the_notebook_declares(
    tmp_path: Path, text: str, value: object
) -> None:
    (parsed,) = parse_parameters(notebook_of(tmp_path), [text]).values()
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("steps=abc", "'abc' is not of type int"),
        ("fast=maybe", "'maybe' is not of type bool"),
        ("rate=fast", "'fast' is not of type float"),
        ("sizes=(1, 2)", "is not of type list"),
        ("sizes=[1", "is not of type list"),
        ("cap=(1, 2)", "can't be passed"),
        ("stepz=1", r"Did you mean steps\?"),
        ("steps", "'steps' is not of the form name=value"),
    ],
)
def test_a_parameter_that_can_not_be_taken_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(HarnessError, match=fault):
        parse_parameters(notebook_of(tmp_path), [text])


def test_a_value_of_another_type_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="'7' is not of type int"):
        run(notebook_of(tmp_path), output=tmp_path / "out", parameters={"steps": "7"})
    assert not (tmp_path / "out").exists()


def test_a_progress_bar_leaves_few_lines_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    with caplog.at_level("INFO", logger="harness.printed"):
        for percent in range(101):
            progress.message("stream", {"name": "stderr", "text": f"\r{percent} %"})
        progress.message("stream", {"name": "stderr", "text": "\n"})
        progress.message("stream", {"name": "stdout", "text": "first\nsec"})
        progress.message("stream", {"name": "stdout", "text": "ond"})
        progress.end()
    assert caplog.messages == ["0 %", "100 %", "first", "second"]


def test_displays_that_replace_each_other_leave_few_lines_in_a_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    progress = Progress()
    with caplog.at_level("INFO", logger="harness.printed"):
        for step in range(100):
            content = {"data": {"text/plain": f"step {step}"}, "transient": {"display_id": "bar"}}
            progress.message("update_display_data", content)
        for loop in range(100):
            progress.message("clear_output", {"wait": True})
            progress.message("stream", {"name": "stdout", "text": f"loop {loop}\n"})
        progress.end()
    assert caplog.messages == ["step 0", "loop 0", "step 99", "loop 99"]
