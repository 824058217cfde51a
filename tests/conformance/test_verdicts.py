"""The harness's verdicts: of each small notebook it says the right thing, and puts all away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from cases import MATRIX, MORE, Case

pytestmark = pytest.mark.slow
Execute = Callable[[Path, Path, Case], dict[str, Any]]


@pytest.mark.parametrize("case", MATRIX + MORE, ids=lambda case: case.name)
def test_verdict(case: Case, execute: Execute, place: Path) -> None:
    notebook, output = case.write(place), place / "out"
    before = notebook.read_bytes()
    answer = execute(notebook, output, case)
    if case.fault is None:
        assert answer["error"] is None
    else:
        assert answer["error"] is not None, "it passed"
        assert re.search(case.fault, answer["error"], re.S), answer["error"]
    assert answer["left"] == []
    assert notebook.read_bytes() == before
    if " failed in " in (answer["error"] or " failed in "):  # it was started
        check_what_is_kept(case, output)
    else:
        assert not output.exists()


def check_what_is_kept(case: Case, output: Path) -> None:
    executed = nbformat.read(output / "case.ipynb", as_version=4)
    nbformat.validate(executed)
    page = (output / "case.html").read_text(encoding="utf-8")
    outputs = json.dumps([cell.get("outputs") for cell in executed.cells], ensure_ascii=False)
    assert case.shows in outputs
    assert case.hides not in outputs
    assert len(page) < 5_000_000
    assert sorted(path.name for path in output.iterdir()) == ["case.html", "case.ipynb"]
    failed = [cell for cell in executed.cells if cell.metadata.papermill.status == "failed"]
    assert len(failed) == (case.fault is not None)
    for cell in failed:
        assert "error" in [output.output_type for output in cell.outputs]
        after = executed.cells[executed.cells.index(cell) + 1 :]
        assert [cell.id for cell in after if cell.get("execution_count")] == []
        assert {cell.metadata.papermill.status for cell in after} <= {"pending"}


def test_cells_are_named_with_the_heading_they_stand_under(execute: Execute, place: Path) -> None:
    case = Case(name="named", cells=("1", "", "2"))
    answer = execute(case.write(place), place / "out", case)
    assert answer["log"] == [
        "cell 1 of 3: A title",
        "cell 2 of 3: The part",
        "cell 3 of 3: The part",
    ]


def test_a_process_left_over_is_named(execute: Execute, place: Path) -> None:
    source = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)"
    case = Case(name="left", cells=(source,))
    answer = execute(case.write(place), place / "out", case)
    assert any("that the notebook left: sleep 600" in line for line in answer["log"])


def test_cell_ids_that_are_missing_are_made_up(execute: Execute, place: Path) -> None:
    case = Case(name="without ids", cells=("print('rea', 'ched')",))
    path = case.write(place)
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        del cell["id"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert execute(path, place / "out", case)["error"] is None
    assert "rea ched" in (place / "out" / "case.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not a notebook"),
        ("[]", "is not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "is not a notebook"),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {},'
            ' "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "source": "1"}]}',
            "breaks the notebook format",
        ),
    ],
)
def test_a_notebook_that_is_invalid_is_refused(
    execute: Execute, place: Path, text: str, fault: str
) -> None:
    path = place / "case.ipynb"
    path.write_text(text, encoding="utf-8")
    assert fault in execute(path, place / "out", Case(name="", cells=()))["error"]
