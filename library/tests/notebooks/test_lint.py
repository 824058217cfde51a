"""The lint of notebooks: what it finds in a stored notebook, and what it fixes."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commanded import command

from exactrun.errors import UserError
from exactrun.notebooks.lint import check, clean

Json = dict[str, Any]

BADGE = "[![Open in Colab](https://x.org/b.svg)](https://colab.research.google.com/github"


def code(name: str, *lines: str, **metadata: Any) -> Json:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": metadata,
        "outputs": [],
        "source": "\n".join(lines).splitlines(keepends=True),
    }


GOOD: Json = {
    "cells": [
        {
            "cell_type": "markdown",
            "id": "title",
            "metadata": {},
            "source": [f"{BADGE}/ada/engine/blob/main/notebooks/small.ipynb)"],
        },
        code(
            "settings",
            '# @title Settings {display-mode: "form"}',
            'epochs = 3  # @param {type:"integer"}',
            'rate = 1  # @param {type:"number"}',
            'name = "é # @param"  # @param {"type":"string","placeholder":"a name"}',
            'fast = True  # @param {type:"boolean"}',
            'device = "auto"  # @param ["auto", "gpu"]',
            'repository = "https://github.com/ada/engine"  # @param {type:"string"}',
            tags=["parameters"],
        ),
        code("work", "%matplotlib inline", "note = '''", "! no command", "'''", "print(note)"),
    ],
    "metadata": {
        "accelerator": "GPU",
        "colab": {"gpuType": "T4", "provenance": []},
        "kernelspec": {"display_name": "Python 3", "name": "python3"},
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}

Store = Callable[[Json], Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Write a notebook into a project's directory `notebooks`."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()

    def store(notebook: Json) -> Path:
        path = tmp_path / "notebooks" / "small.ipynb"
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    return store


def with_line(line: str, *, cell: str = "work") -> Json:
    """Return the good notebook with one line more."""
    notebook = copy.deepcopy(GOOD)
    (changed,) = (each for each in notebook["cells"] if each["id"] == cell)
    changed["source"].append(f"\n{line}")
    return notebook


def with_metadata(**metadata: Any) -> Json:
    """Return the good notebook with other metadata."""
    return GOOD | {"metadata": GOOD["metadata"] | metadata}


def executed() -> Json:
    """Return the good notebook as Colab and papermill leave it."""
    notebook = with_metadata(papermill={"duration": 3.0})
    notebook["cells"] = copy.deepcopy(notebook["cells"])
    work = notebook["cells"][2]
    work["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["hello"]}]
    work["execution_count"] = 3
    work["metadata"] = {"executionInfo": {"user": {"displayName": "Ada"}}, "outputId": "1"}
    notebook["cells"].append(copy.deepcopy(work))  # pasted, with its id
    notebook["cells"].append({"cell_type": "raw", "metadata": {"id": "kept"}, "source": []})
    return notebook


def test_a_good_notebook_is_without_fault(store: Store) -> None:
    assert check(store(GOOD)) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("!pip install numpy", "when `!pip install numpy` fails"),
        ("%pip install numpy", "when `%pip install numpy` fails"),
        # Colab's IPython 7.34 can't read this line on Python 3.12 and later.
        ("files = !ls", "when `!ls` fails" if sys.version_info < (3, 12) else "is not Python"),
        ("if note:\n    !rm x", "when `!rm x` fails"),
        ("import matplotlib.pyplot as plt; plt.show()", "its plot has no alt text"),
        ("open('/home/ada/data.csv')", "it names /home/ada, which is on one machine only"),
        (r"open('C:\\Users\\ada\\data.csv')", "which is on one machine only"),
        ("print(1", "is not Python"),
        *(
            (f"key = '{token}'", f"it holds {kind}, {token[:8]}…")
            for token, kind in (
                ("ghp_" + "a1" * 18, "a GitHub token"),
                ("github_pat_" + "a1" * 15, "a GitHub token"),
                ("AIza" + "b2" * 17 + "c", "a Google API key"),
                ("ya29." + "a0_-" * 10, "a Google access token"),
                ("hf_" + "c3" * 17, "a Hugging Face token"),
                ("sk-proj-" + "d4" * 15, "an API key"),
                ("AKIA" + "E5" * 8, "an AWS key"),
                ("-----BEGIN RSA " + "PRIVATE KEY-----", "a private key"),
            )
        ),
    ],
)
def test_a_line_of_code_with_a_fault_is_found(line: str, fault: str, store: Store) -> None:
    (finding,) = check(store(with_line(line)))
    assert finding.cell == "work"
    assert fault in finding.fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('size = len("abc")  # @param {type:"integer"}', "has no plain value"),
        ("size = 3", "has no form field"),
        ("size = 3  # @param", "has no form field"),
        ('size = "3"  # @param {type:"integer"}', "does not fit its form field of type integer"),
        ('size = True  # @param {type:"number"}', "does not fit its form field of type number"),
        ('size = 3  # @param {type:"int"}', "does not fit its form field of type int"),
        ('size = "3"  # @param ["1", "2"]', 'is none of the choices ["1", "2"]'),
        ("size = '1'  # @param ['1', '2']", "has choices that are not JSON"),
        ("print(epochs)", "is no parameter"),
    ],
)
def test_a_parameter_that_is_none_or_has_no_form_is_found(
    line: str, fault: str, store: Store
) -> None:
    (finding,) = check(store(with_line(line, cell="settings")))
    assert finding.cell == "settings"
    assert fault in finding.fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("![](curve.png)", "has no alt text"),
        ('<img src="curve.png" alt="">', "has no alt text"),
        (f"{BADGE}/ada/engine/blob/main/notebooks/other.ipynb)", "opens notebooks/other.ipynb"),
    ],
)
def test_a_line_of_text_with_a_fault_is_found(line: str, fault: str, store: Store) -> None:
    (finding,) = check(store(with_line(line, cell="title")))
    assert finding.cell == "title"
    assert fault in finding.fault


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, "kernelspec is ir"),
        ({"language_info": {"name": "R"}}, "language_info is R"),
        ({"accelerator": "None"}, "accelerator None and gpuType T4"),
        ({"colab": {}}, "accelerator GPU and gpuType None"),
    ],
)
def test_metadata_that_colab_takes_otherwise_is_found(
    metadata: Json, fault: str, store: Store
) -> None:
    (finding,) = check(store(with_metadata(**metadata)))
    assert fault in finding.fault


def test_cleaning_mends_what_an_execution_left(store: Store) -> None:
    path = store(executed())
    assert clean(path)
    assert check(path) == []
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells] == ["title", "settings", "work", "cell-4", "kept"]


def test_the_command_fails_while_there_are_findings(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store(executed())
    assert command("notebook", "lint", path.parent) == 1
    assert f"{path}: cell work: it holds outputs" in capsys.readouterr().out
    assert command("notebook", "lint", "--clean", path) == 0
    assert f"{path}: fixed" in capsys.readouterr().out


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
    with pytest.raises(UserError, match=fault):
        clean(path)
    assert path.read_text(encoding="utf-8") == content


def test_the_command_fails_where_there_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        command("notebook", "lint", tmp_path)
    assert ended.value.code == 2
