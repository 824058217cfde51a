"""The harness: notebooks that must not pass, and parameters that must not be taken."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from harness.notebooks import HarnessError, declared_parameters, parse_parameters, run

DECLARED = "steps = 3\nfast = True"


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
    with pytest.raises(HarnessError, match="ZeroDivisionError"):
        run(notebook, output=tmp_path, parameters={})
    assert "so far" in (tmp_path / "small.html").read_text(encoding="utf-8")


@pytest.mark.notebook
def test_leaving_half_way_is_not_a_success(tmp_path: Path) -> None:
    notebook = notebook_of(tmp_path, "import sys\nsys.exit(0)", "print('never')")
    with pytest.raises(HarnessError, match="never executed"):
        run(notebook, output=tmp_path, parameters={})


def test_an_unknown_parameter_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no parameter step\. Did you mean steps\?"):
        run(notebook_of(tmp_path), output=tmp_path, parameters={"step": 1})


def test_a_notebook_without_tagged_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="0 cells tagged 'parameters'"):
        declared_parameters(notebook_of(tmp_path, tagged=False))


def test_a_parameter_without_a_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"declares steps = len\('abc'\)"):
        declared_parameters(notebook_of(tmp_path, declared="steps = len('abc')"))


def test_parameters_take_the_type_that_the_notebook_declares(tmp_path: Path) -> None:
    parsed = parse_parameters(notebook_of(tmp_path), ["steps=007", "fast=false"])
    assert parsed == {"steps": 7, "fast": False}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("steps=abc", "'abc' is not of type int"),
        ("fast=maybe", "'maybe' is not of type bool"),
        ("steps", "'steps' is not of the form name=value"),
    ],
)
def test_a_parameter_that_can_not_be_taken_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(HarnessError, match=fault):
        parse_parameters(notebook_of(tmp_path), [text])
