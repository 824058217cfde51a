"""Verdicts: of each small notebook the right thing is said, and all is put away."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from notebook_cases import MATRIX, MORE, Case
from right_notebooks import RIGHT
from wrong_notebooks import WRONG

from exactrun.errors import UserError
from exactrun.notebooks import Limits, NotebookFailed, outputs, run_notebook
from exactrun.notebooks.parameters import parse_parameters

HANGS = {"notebook": 90.0}
"""The limits of a case that has none: what takes longer than that hangs."""


OTHERS = [*MORE, *RIGHT, *WRONG]
REFERENCE = Path(__file__).parents[3] / "docs" / "verdicts.md"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for one case, not kept: megabytes are printed in some."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def executed(case: Case, place: Path, notebook: Path | None = None) -> UserError | None:
    """Execute a case as the command does; return why it did not pass."""
    path = notebook or case.write(place)
    limits = Limits(**(HANGS | dict(case.limits)))  # type: ignore[arg-type]
    try:
        parameters = parse_parameters(path, case.parameters)
        run_notebook(path, output=place / "out", parameters=parameters, limits=limits)
    except UserError as error:
        return error
    return None


@pytest.mark.parametrize(
    "case",
    [*MATRIX, *(pytest.param(case, marks=pytest.mark.thorough) for case in OTHERS)],
    ids=lambda case: case.name,
)
def test_verdict(case: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "TOTAL_LIMIT", outputs.TOTAL_LIMIT // 10)  # megabytes take long
    notebook = case.write(place)
    before = notebook.read_bytes()
    error = executed(case, place, notebook)
    if case.fault is None:
        assert error is None
    else:
        assert error is not None, "it passed"
        assert re.search(case.fault, str(error), re.S), str(error)
    assert notebook.read_bytes() == before
    if error is None or isinstance(error, NotebookFailed):  # it was started
        check_what_is_kept(case, place / "out")
    else:
        assert not (place / "out").exists()


def test_every_verdict_of_the_reference_is_held_by_a_case() -> None:
    rows = re.findall(r"^\| (.+?) \| (passes|fails) ", REFERENCE.read_text("utf-8"), re.M)
    cases = {case.name: case.fault for case in (*MATRIX, *OTHERS)}
    held = [(name.replace("\\", ""), verdict) for name, verdict in rows]
    assert len(held) > 50
    assert [name for name, _ in held if name not in cases] == []
    wrong = [name for name, verdict in held if (verdict == "passes") != (cases[name] is None)]
    assert wrong == []
    named = {name for name, _ in held}
    assert [case.name for case in (*RIGHT, *WRONG) if case.name not in named] == []


def check_what_is_kept(case: Case, output: Path) -> None:
    executed = nbformat.read(output / "case.ipynb", as_version=4)
    nbformat.validate(executed)
    page = (output / "case.html").read_text(encoding="utf-8")
    shown = json.dumps([cell.get("outputs") for cell in executed.cells], ensure_ascii=False)
    assert case.shows in shown
    assert case.hides not in shown
    assert "left out here" in shown or not case.cut
    assert len(page) < 5_000_000
    assert ("✔ Passed" in re.sub(r"<[^>]+>", "", page)) == (case.fault is None)
    found = {path.name for path in output.iterdir()}
    # The hidden file tells the next run's page what this one found.
    assert found - {".case.report.json"} == {"case.html", "case.ipynb"}
    failed = [cell for cell in executed.cells if cell.metadata.papermill.status == "failed"]
    assert len(failed) == (case.fault is not None)
    for cell in failed:
        assert "error" in [output.output_type for output in cell.outputs]
        after = executed.cells[executed.cells.index(cell) + 1 :]
        assert [cell.id for cell in after if cell.get("execution_count")] == []
        assert {cell.metadata.papermill.status for cell in after} <= {"pending"}


def test_cells_are_named_with_the_heading_they_stand_under(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="exactrun.notebooks.cells"):
        executed(Case(name="named", cells=("1", "", "2")), place)
    assert caplog.messages == [
        "cell 1 of 3: A title",
        "cell 2 of 3: The part",
        "cell 3 of 3: The part",
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("env", [None, {}], ids=["with its environment", "with none"])
def test_a_process_left_over_is_ended_and_named(
    env: dict[str, str] | None, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    call = f"subprocess.Popen(['sleep', '600'], env={env}, start_new_session=True)"
    case = Case(name="left", cells=(f"import subprocess\nprint('child', {call}.pid)",))
    with caplog.at_level(logging.INFO, logger="exactrun.notebooks.cells"):
        assert executed(case, place) is None
    assert any("that the notebook left: sleep 600" in line for line in caplog.messages)
    (child,) = re.findall(r"child (\d+)", (place / "out" / "case.ipynb").read_text("utf-8"))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(int(child)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == "zombie"


def test_a_picture_beside_the_notebook_is_in_its_report(place: Path) -> None:
    path = Case(name="picture", cells=("1",)).write(place)
    path.write_text(path.read_text("utf-8").replace("# A title", "# A title\\n![A sketch](a.png)"))
    (place / "a.png").write_bytes(b"a picture")
    assert executed(Case(name="", cells=()), place, path) is None
    page = (place / "out" / "case.html").read_text(encoding="utf-8")
    assert re.search(r'<img alt="A sketch" src="data:image/png;base64,', page)


def test_cell_ids_that_are_missing_are_made_up(place: Path) -> None:
    case = Case(name="without ids", cells=("print('rea', 'ched')",))
    path = case.write(place)
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        del cell["id"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert executed(case, place, path) is None
    assert "rea ched" in (place / "out" / "case.ipynb").read_text(encoding="utf-8")


START = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (r'{"cells": ["\ud800"]}', r"has \ud800, half of a character"),
        ("[]", "is not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5}', "is not a valid notebook at its top"),
        (START + ', "cells": null}', "is not a valid notebook at cells"),
        (START + ', "cells": ["1"]}', "is not a valid notebook at cells/0"),
        (
            '{"nbformat": 4, "nbformat_minor": "5", "metadata": {}, "cells": []}',
            "not a notebook of format",
        ),
        (
            START + ', "cells": [{"cell_type": "code", "id": "a", "metadata": {}, "source": "1"}]}',
            "is not a valid notebook at cells/0",
        ),
    ],
)
def test_a_notebook_that_is_invalid_is_refused(place: Path, text: str, fault: str) -> None:
    path = place / "case.ipynb"
    path.write_text(text, encoding="utf-8")
    assert fault in str(executed(Case(name="", cells=()), place, path))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_another_encoding_is_told_and_utf_8_with_its_mark_is_read(
    place: Path, encoding: str
) -> None:
    case = Case(name="encoded", cells=("print('é')",))
    path = case.write(place)
    path.write_text(path.read_text("utf-8").replace("\\u00e9", "é"), encoding=encoding)
    error = str(executed(case, place, path))
    assert error == "None" if encoding == "utf-8-sig" else "is not in UTF-8" in error
