"""`exactrun notebook new`: a second notebook that begins as the first one does."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from commanded import command
from test_lint import GOOD, Json, Store, code, executed, store

from exactrun.notebooks.lint import check

__all__ = ["store"]  # a fixture of pytest's


def with_setup(*, first: bool) -> Json:
    """Return a notebook with a cell of setup, before its parameters or after them."""
    notebook = copy.deepcopy(GOOD)
    notebook["cells"].insert(1 if first else 2, code("setup", "import sys"))
    return notebook


@pytest.mark.parametrize("first", [True, False], ids=["setup first", "parameters first"])
def test_it_has_the_setup_and_the_parameters_of_the_other(
    first: bool, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = with_setup(first=first)
    path = store(other)
    monkeypatch.chdir(path.parents[1])
    assert command("notebook", "new", "own_data") == 0
    assert capsys.readouterr().out == f"Written: {Path('notebooks/own_data.ipynb')}\n"
    made = json.loads((path.parent / "own_data.ipynb").read_text(encoding="utf-8"))
    assert [cell["id"] for cell in made["cells"]] == [
        "title",
        *(("setup", "settings") if first else ("settings", "setup")),
        "work",
    ]
    assert made["cells"][1:3] == other["cells"][1:3]
    assert made["cells"][0]["source"][0] == "# Own data\n"
    assert "/notebooks/own_data.ipynb" in made["cells"][0]["source"][2]
    assert made["metadata"] == other["metadata"]
    assert check(path.parent / "own_data.ipynb") == []


def test_what_running_the_other_left_does_not_come_along(store: Store) -> None:
    path = store(executed())
    before = path.read_bytes()
    assert command("notebook", "new", path.with_name("second.ipynb"), "--like", path) == 0
    assert check(path.with_name("second.ipynb")) == []
    assert path.read_bytes() == before


def test_the_setup_notebook_is_taken_before_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(GOOD)
    path.with_name("setup.ipynb").write_text(json.dumps(with_setup(first=True)), encoding="utf-8")
    monkeypatch.chdir(path.parent)
    assert command("notebook", "new", "second") == 0
    made = json.loads(path.with_name("second.ipynb").read_text(encoding="utf-8"))
    assert made["cells"][1]["id"] == "setup"


def test_nothing_is_overwritten(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = store(GOOD)
    before = path.read_bytes()
    assert command("notebook", "new", path) == 1
    assert "small.ipynb exists already" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("cells", "fault"), [(None, "no notebook in"), ([], "no cell of code to begin with")]
)
def test_without_a_beginning_there_is_none(
    cells: list[Json] | None, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if cells is not None:
        (tmp_path / "a.ipynb").write_text(json.dumps(GOOD | {"cells": cells}), encoding="utf-8")
    assert command("notebook", "new", tmp_path / "second") == 1
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "second.ipynb").exists()
