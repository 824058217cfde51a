"""The lint of notebooks that are odd: what else it finds, leaves alone, and keeps."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from harness.errors import HarnessError
from harness.lint import check, clean, main
from test_lint import BADGE, GOOD, Store, code, executed, store, with_line

__all__ = ["store"]  # a fixture of pytest's


@pytest.mark.parametrize(
    "line",
    ["![A rising curve](curve.png)", '<img alt="A rising curve" src="c.png">', "`![](no picture)`"],
)
def test_a_line_of_text_without_fault_is_left_alone(line: str, store: Store) -> None:
    assert check(store(with_line(line, cell="title"))) == []


def test_a_secret_in_an_output_is_found_and_not_repeated(store: Store) -> None:
    notebook, secret = copy.deepcopy(GOOD), "ghp_" + "a1" * 18
    printed = {"output_type": "stream", "name": "stdout", "text": [f"token {secret}"]}
    notebook["cells"][2]["outputs"] = [printed]
    messages = "\n".join(map(str, check(store(notebook))))
    assert "cell work: it holds a GitHub token" in messages
    assert secret not in messages


@pytest.mark.parametrize("cell", ["title", "work"])
def test_an_address_of_another_repository_is_found(cell: str, store: Store) -> None:
    lines = {
        "title": f"{BADGE}/bob/engine/blob/main/notebooks/small.ipynb)",
        "work": "command = 'git clone https://github.com/bob/engine.git'",
    }
    (finding, *_) = check(store(with_line(lines[cell], cell=cell)))
    assert "bob/engine" in finding.fault
    assert "ada/engine" in finding.fault


@pytest.mark.parametrize("tagged", [0, 2])
def test_other_than_one_cell_of_parameters_is_found(tagged: int, store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][1]["metadata"] = {"tags": ["parameters"]} if tagged else {}
    notebook["cells"][2] = code("more", *(["# nothing"]), **notebook["cells"][1]["metadata"])
    (finding,) = check(store(notebook))
    assert f"{tagged} cells are tagged parameters" in finding.fault


def test_values_of_an_earlier_run_are_found(store: Store) -> None:
    notebook = copy.deepcopy(GOOD)
    notebook["cells"].append(code("injected", "epochs = 9", tags=["injected-parameters"]))
    (finding,) = check(store(notebook))
    assert finding.cell == "injected"


def test_what_an_execution_leaves_is_found_cell_by_cell(store: Store) -> None:
    found = {(finding.cell, finding.fault) for finding in check(store(executed()))}
    left = (
        "it holds outputs, which may show what is private; it holds an execution count,"
        " which every run changes; its metadata holds what a tool left: executionInfo, outputId"
    )
    assert found == {
        ("", "its metadata holds what a tool left, which differs on every machine"),
        ("work", left),
        ("work", f"its id is used twice; {left}"),
        ("5", "its id is missing; its metadata holds what a tool left: id"),
    }


def test_a_notebook_from_before_cells_had_ids_is_mended(store: Store) -> None:
    old = copy.deepcopy(GOOD) | {"nbformat_minor": 0}
    for cell in old["cells"]:
        del cell["id"]
    path = store(old)
    assert {finding.fault for finding in check(path)} == {"its id is missing"}
    assert clean(path)
    assert check(path) == []


def test_cleaning_again_changes_nothing(store: Store) -> None:
    path = store(executed())
    clean(path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert not clean(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_cleaning_keeps_text_and_tags(store: Store) -> None:
    path = store(executed())
    clean(path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[:2] == GOOD["cells"][:2]
    assert "é" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["small.ipynb"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("<<<<<<< HEAD", "not JSON"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "nbformat_minor": 0}', "not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "cells": []}', "not a valid notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused(content: str, fault: str, store: Store) -> None:
    path = store(GOOD)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=fault):
        clean(path)
    assert path.read_text(encoding="utf-8") == content


def test_the_command_fails_where_there_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == 2
