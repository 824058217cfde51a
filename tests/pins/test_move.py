"""Bringing a project to another runtime of Colab, with the libraries that its user has added."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from exactrun.errors import UserError
from exactrun.pins.project import add, move
from pinning import (
    FREEZE,
    HEAD,
    Github,
    add_package,
    contents,
    freeze_of,
    pins_of,
    rendered,
    run,
    versions_in,
)

NEWER = (
    FREEZE.replace("numpy==2.1.3", "numpy==2.4.0")
    .replace("h5py==3.16.0", "h5py==3.17.0")
    .replace("cp313-cp313", "cp312-cp312")
    + "colabs-own==6.0\n"
)
"""Of a runtime with other versions, and with Python 3.12."""


def write_notebook(path: Path, colab: dict[str, Any] | None, *, indent: int | None = 1) -> None:
    """Write a notebook as some program formats it; its cell has a character escaped."""
    metadata = {"kernelspec": {"display_name": "Python 3", "name": "python3"}}
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["é"]}
    notebook = {"cells": [cell], "metadata": metadata | ({} if colab is None else {"colab": colab})}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5}, indent=indent))


def findings(notebook: Path) -> list[Any]:
    """What the lint finds; imported here, since the slow tests are collected without Jupyter."""
    from exactrun.notebooks.lint import check

    return check(notebook)


@pytest.fixture
def movable(project: Path) -> Path:
    """A project of runtime 2026.08, with a notebook, beside the freeze of another runtime."""
    settings = project / "pyproject.toml"
    named = 'name = "small"\n'
    text = settings.read_text().replace(named, f'{named}requires-python = ">=3.11,<3.14"\n')
    settings.write_text(text)
    asked = {"runtime_attributes": {"runtime_version": "2026.08"}}
    write_notebook(project / "notebooks/setup.ipynb", {"gpuType": "T4"} | asked)
    (project.parent / "newer.txt").write_text(NEWER)
    return project


def newer(project: Path) -> str:
    return str(project.parent / "newer.txt")


def test_a_moved_project_is_the_one_that_would_be_generated(root: Path, movable: Path) -> None:
    before = contents(movable)
    change = move(movable, "2026.10", freeze=newer(movable))
    assert change.moved == ("h5py 3.16.0 → 3.17.0", "numpy 2.1.3 → 2.4.0")
    assert (change.lacking, change.removed) == ((), ())

    assert run(root, newer(movable), runtime="2026.10") == 0
    for name, head in (("requirements.txt", HEAD), ("requirements-dev.txt", "")):
        generated = rendered(pins_of(root, name, runtime="2026.10"), "image")
        assert (movable / name).read_text(encoding="utf-8") == head + generated
    after = contents(movable)
    changed = {name: (before[name].decode(), after[name].decode()) for name in before}
    old, new = changed["pyproject.toml"]
    assert old.replace("<3.14", "<3.13") == new != old
    old, new = changed["notebooks/setup.ipynb"]
    assert old.replace("2026.08", "2026.10") == new != old
    assert after.keys() == before.keys()
    assert findings(movable / "notebooks/setup.ipynb") == []


def test_there_and_back_leaves_every_byte_as_it_was(movable: Path) -> None:
    before = contents(movable)
    move(movable, "latest", freeze=newer(movable))
    assert "runtime latest (Python 3.12): Colab's own versions, as of 20" in (
        movable / "requirements.txt"
    ).read_text(encoding="utf-8")
    asked = json.loads((movable / "notebooks/setup.ipynb").read_text(encoding="utf-8"))
    assert asked["metadata"]["colab"] == {"gpuType": "T4"}
    assert findings(movable / "notebooks/setup.ipynb") == []
    move(movable, "2026.08", freeze=freeze_of(movable))
    assert contents(movable) == before


@pytest.mark.parametrize("colab", [None, {}, {"provenance": []}])
@pytest.mark.parametrize("indent", [None, 1, 2])
def test_a_notebook_that_asked_for_none_asks_for_it_and_is_else_the_same(
    colab: dict[str, Any] | None, indent: int | None, movable: Path
) -> None:
    further = movable / "notebooks/further.ipynb"
    write_notebook(further, colab, indent=indent)
    move(movable, "2026.10", freeze=newer(movable))
    text = further.read_text(encoding="utf-8")
    held = json.loads(text)["metadata"]["colab"]
    assert held == (colab or {}) | {"runtime_attributes": {"runtime_version": "2026.10"}}
    assert text == json.dumps(json.loads(text), indent=indent)


def test_libraries_of_the_users_own_are_kept_under_the_new_versions(movable: Path) -> None:
    add(movable, ["birdlib", "colabs-own"], freeze=freeze_of(movable))
    assert ("colabs-own", "5.0") in versions_in((movable / "requirements.txt").read_text())
    change = move(movable, "2026.10", freeze=newer(movable))
    assert "colabs-own 5.0 → 6.0" in change.moved
    assert change.lacking == ("birdlib", "chirp")
    head = (movable / "requirements.txt").read_text().partition("# Made for")[0]
    assert versions_in(head) == [("exactrun", "0.1.0"), ("birdlib", "1.0"), ("chirp", "0.3")]


def test_what_colab_lacks_keeps_its_version_where_that_still_fits(movable: Path) -> None:
    add(movable, ["birdlib"], freeze=freeze_of(movable))
    add_package(movable.parent / "own-index", "birdlib", "1.1", [])
    add_package(movable.parent / "own-index", "tenacity", "9.1.0", [])
    move(movable, "2026.10", freeze=newer(movable))
    text = (movable / "requirements.txt").read_text() + (
        movable / "requirements-dev.txt"
    ).read_text()
    assert {("birdlib", "1.0"), ("tenacity", "9.0.0")} <= {*versions_in(text)}


def test_what_does_not_fit_the_new_versions_is_said_and_changes_nothing(movable: Path) -> None:
    add_package(movable.parent / "own-index", "settled", "1.0", ["numpy<2.3"])
    add(movable, ["settled"], freeze=freeze_of(movable))
    before = contents(movable)
    with pytest.raises(UserError, match=r"settled(?s:.*)bound it to releases that fit"):
        move(movable, "2026.10", freeze=newer(movable))
    assert contents(movable) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("notebooks/setup.ipynb", '"cells": [', '"cells": [,', "setup.ipynb is not JSON"),
        ("pyproject.toml", ">=3.11,<3.14", ">=3.11", r"Add to \[project\].*\">=3.11,<3.13\""),
        ("../newer.txt", "tensorflow==2.20.0", "tensorflow==2.19.0", "2026.10 is too old: it has "),
        ("../newer.txt", "tensorflow==2.20.0", "tensorflow==2.19.0", "needs tensorflow>=2.20"),
        ("../newer.txt", "mlxtend==0.23.4", "!", "line 6: !"),
        ("../newer.txt", "cp312-cp312", "py3-none", "--python 3.13"),
    ],
)
def test_what_can_not_be_done_is_said_and_changes_nothing(
    file: str, old: str, new: str, said: str, movable: Path
) -> None:
    text = (movable / file).read_text(encoding="utf-8")
    assert old in text
    (movable / file).write_text(text.replace(old, new), encoding="utf-8")
    before = contents(movable)
    with pytest.raises(UserError, match=said):
        move(movable, "2026.10", freeze=newer(movable))
    assert contents(movable) == before


def test_the_python_can_be_said_where_the_freeze_tells_none(movable: Path) -> None:
    (movable.parent / "newer.txt").write_text(NEWER.replace("cp312-cp312", "py3-none"))
    move(movable, "2026.10", freeze=newer(movable), python="3.12")
    assert 'requires-python = ">=3.11,<3.13"' in (movable / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["2026.11", "2026.8", "newest"])
def test_an_unknown_runtime_is_refused_with_those_that_there_are(
    name: str, movable: Path, github: Github
) -> None:
    before = contents(movable)
    with pytest.raises(
        UserError, match=rf"no runtime '{name}'\. It offers 2026\.08, 2026\.07, and"
    ):
        move(movable, name)
    assert contents(movable) == before
    if name != "2026.11":
        with pytest.raises(UserError, match=f"'{name}' names no runtime"):
            move(movable, name, freeze=newer(movable))


def test_the_freeze_is_googles_own(movable: Path, github: Github) -> None:
    github.freeze = NEWER
    move(movable, "2026.07")
    assert ("numpy", "2.4.0") in versions_in((movable / "requirements.txt").read_text())
    assert [path for path, _ in github.asked][1:] == ["/files/past/2026.07/pip-freeze.gpu.txt"]
    move(movable, "latest")
    comment = f"runtime latest (Python 3.12): Colab's own versions, as of {github.day}.\n"
    assert comment in (movable / "requirements.txt").read_text()


def test_the_command_says_what_changed(movable: Path) -> None:
    command = [sys.executable, "-m", "exactrun", "pins", "move", "2026.10"]
    done = subprocess.run(
        [*command, "--freeze", newer(movable)], cwd=movable, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "~ h5py 3.16.0 → 3.17.0",
        "~ numpy 2.1.3 → 2.4.0",
        "Install the new versions: python -m pip install -r requirements-dev.txt",
    ]
