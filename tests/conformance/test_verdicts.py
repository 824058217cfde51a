"""The harness's verdicts: of each small notebook it says the right thing, and puts all away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from cases import MATRIX, Case
from environment import running, wait_until
from more_cases import MORE

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


@pytest.mark.parametrize("env", [None, {}], ids=["with its environment", "with none"])
def test_a_process_left_over_is_ended_and_named(
    env: dict[str, str] | None, execute: Execute, place: Path
) -> None:
    call = f"subprocess.Popen(['sleep', '600'], env={env}, start_new_session=True)"
    case = Case(name="left", cells=(f"import subprocess\nprint('child', {call}.pid)",))
    answer = execute(case.write(place), place / "out", case)
    assert any("that the notebook left: sleep 600" in line for line in answer["log"])
    (child,) = re.findall(r"child (\d+)", (place / "out" / "case.ipynb").read_text("utf-8"))
    wait_until(lambda: not running(int(child)), seconds=5)


def test_a_picture_beside_the_notebook_is_in_its_report(execute: Execute, place: Path) -> None:
    path = Case(name="picture", cells=("1",)).write(place)
    path.write_text(path.read_text("utf-8").replace("# A title", "# A title\\n![A sketch](a.png)"))
    (place / "a.png").write_bytes(b"a picture")
    assert execute(path, place / "out", Case(name="", cells=()))["error"] is None
    page = (place / "out" / "case.html").read_text(encoding="utf-8")
    assert re.search(r'<img alt="A sketch" src="data:image/png;base64,', page)


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
        ("{", "is not JSON"),
        ("[]", "is not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "is not a valid notebook at its top"),
        (
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {},'
            ' "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "source": "1"}]}',
            "is not a valid notebook at cells/0",
        ),
    ],
)
def test_a_notebook_that_is_invalid_is_refused(
    execute: Execute, place: Path, text: str, fault: str
) -> None:
    path = place / "case.ipynb"
    path.write_text(text, encoding="utf-8")
    assert fault in execute(path, place / "out", Case(name="", cells=()))["error"]
