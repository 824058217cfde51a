"""The harness: notebooks that must not pass, and parameters that must not be taken."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from harness.notebooks import HarnessError, parse_parameters, run

DECLARED = """\
steps = 3  # @param {type:"integer"}
fast = True
rate: float = 0.1
colour = "#ff0000"  # a value with a number sign, and one with an equals sign
query = "a=1"
sizes = [1, 2]
cap = None
"""


def notebook_of(folder: Path, *sources: str) -> Path:
    """Write a notebook whose first cell declares parameters."""
    cells = [new_code_cell(DECLARED, metadata={"tags": ["parameters"]})]
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
        ("=3", "'=3' is not of the form name=value"),
    ],
)
def test_a_parameter_that_can_not_be_taken_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(HarnessError, match=fault):
        parse_parameters(notebook_of(tmp_path), [text])
