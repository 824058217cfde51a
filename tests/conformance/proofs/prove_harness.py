"""Parameters that must not be taken, and what a log shows of a running notebook."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from harness.notebooks import HarnessError, declared_parameters, parse_parameters, run
from harness.progress import Progress
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell
from test_harness import notebook_of


def rewritten(path: Path, change: Callable[[list[nbformat.NotebookNode]], object]) -> Path:
    """Change the cells of a stored notebook."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook.cells)
    nbformat.write(notebook, path)
    return path


def test_a_notebook_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="would be overwritten"):
        run(notebook_of(tmp_path), output=tmp_path, parameters={})


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("steps = len('abc')", r"declares steps = len\('abc'\)"),
        ("%matplotlib inline", "line 1 of the parameters is not Python: .* in other cells"),
    ],
)
def test_parameters_without_a_plain_value_are_refused(
    tmp_path: Path, source: str, fault: str
) -> None:
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].update(source=source))
    with pytest.raises(HarnessError, match=fault):
        declared_parameters(path)


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
    earlier = {"tags": ["injected-parameters"]}
    path = notebook_of(tmp_path, "steps = 9")
    rewritten(path, lambda cells: cells[1].metadata.update(earlier))
    with pytest.raises(HarnessError, match="values of an earlier run"):
        declared_parameters(path)


@pytest.mark.parametrize("new_cell", [new_markdown_cell, new_raw_cell])
def test_a_tagged_cell_that_is_not_code_is_refused(
    tmp_path: Path, new_cell: Callable[..., nbformat.NotebookNode]
) -> None:
    """Papermill would put the values after it, and the notebook's own would win."""
    cell = new_cell("# A title", metadata={"tags": ["parameters"]})
    path = rewritten(notebook_of(tmp_path), lambda cells: cells.insert(0, cell))
    with pytest.raises(HarnessError, match="2 cells tagged 'parameters', 1 of them code"):
        declared_parameters(path)
    rewritten(path, lambda cells: cells[1].metadata.clear())
    with pytest.raises(HarnessError, match="1 cells tagged 'parameters', 0 of them code"):
        declared_parameters(path)


@pytest.mark.parametrize(("source", "refused"), [("print(steps)", True), ("pass  # steps", False)])
def test_parameters_below_their_first_use_are_refused(
    tmp_path: Path, source: str, refused: bool
) -> None:
    cell = new_code_cell(source)
    path = rewritten(notebook_of(tmp_path), lambda cells: cells.insert(0, cell))
    assert declared_parameters(path, needed=False)["steps"] == 3
    with pytest.raises(HarnessError, match="uses steps above") if refused else nullcontext():
        declared_parameters(path)


def test_no_parameters_are_needed_where_none_are_given(tmp_path: Path) -> None:
    path = rewritten(notebook_of(tmp_path), lambda cells: cells[0].metadata.clear())
    assert parse_parameters(path, []) == {}
    with pytest.raises(HarnessError, match="0 cells tagged 'parameters'"):
        parse_parameters(path, ["steps=1"])


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


def test_a_long_line_is_cut_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="harness.printed"):
        Progress().message("stream", {"name": "stdout", "text": "x" * 1_000_000 + "\n"})
    (line,) = caplog.messages
    assert "left out here" in line
    assert len(line) < 11_000


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
