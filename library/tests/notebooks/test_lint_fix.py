"""What `lint --fix` and `clean` change in a notebook's file, and that no other byte changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commanded import command
from test_lint import ALL, GOOD, Json, Store, executed, store

from exactrun.notebooks.lint import check, clean, fix

__all__ = ["store"]  # a fixture of pytest's


def mended() -> Json:
    """Return `executed()` without what its run left."""
    notebook = copy.deepcopy(executed())
    del notebook["metadata"]["papermill"]
    for cell in notebook["cells"][2:4]:
        cell |= {"outputs": [], "execution_count": None, "metadata": {}}
    notebook["cells"][3]["id"] = "cell-4"
    cell = notebook["cells"][4]
    cell["metadata"] = {}
    return notebook


def with_the_id_before_the_metadata(notebook: Json) -> Json:
    """Return a notebook whose last cell has its new id where Jupyter writes it."""
    *cells, last = notebook["cells"]
    last = {
        "cell_type": last["cell_type"],
        "id": "cell-5",
        "metadata": last["metadata"],
        "source": last["source"],
    }
    return notebook | {"cells": [*cells, last]}


STYLES: dict[str, Callable[[Json], str]] = {
    "Jupyter's": lambda n: json.dumps(n, indent=1, ensure_ascii=False) + "\n",
    "Colab's": lambda n: json.dumps(n, indent=2),
    "in one line": lambda n: json.dumps(n),
    "by tabs": lambda n: json.dumps(n, indent="\t", ensure_ascii=False) + "\n\n",
    "of Windows": lambda n: json.dumps(n, indent=4).replace("\n", "\r\n") + "\r\n",
    "with other spaces": lambda n: json.dumps(n, indent=1, separators=(",", " :  ")),
}


@pytest.mark.parametrize("way", ["fix", "clean"])
@pytest.mark.parametrize("style", STYLES)
def test_every_other_byte_stays(style: str, way: str, store: Store) -> None:
    write = STYLES[style]
    path = store(executed())
    path.write_bytes(write(executed()).encode())
    assert (fix if way == "fix" else clean)(path)
    wanted = write(with_the_id_before_the_metadata(mended()))
    assert path.read_bytes().decode() == wanted
    assert check(path) == []
    assert not fix(path)
    assert not clean(path)
    assert [file.name for file in path.parent.iterdir()] == ["small.ipynb"]


def test_a_text_that_no_tool_wrote_loses_its_leftovers_only(store: Store) -> None:
    path = store(GOOD, ALL)
    before = r"""
  { "metadata" : {"widgets":{"a":[1,{"]":"}"}]} , "kernelspec":{"name":"python3",
       "display_name":"\ud83d\ude00 \/"}, "signature": "x",
    "language_info":{"version":"3.12","name":"python","mimetype":"text/x-python"} },
    "nbformat":4, "nbformat_minor":4,
    "cells":[
      {"source":["print(\"outputs\")"],"outputs":[ {"output_type":"stream","name":"stdout",
         "text":"\"outputs\": ["} ],"metadata":{"a":1,"scrolled":true,"collapsed":false,
         "b":2.50},"execution_count" :
         7,"cell_type":"code"} ] }"""
    after = r"""
  { "metadata" : {"kernelspec":{"name":"python3",
       "display_name":"\ud83d\ude00 \/"}, "language_info":{"name":"python"} },
    "nbformat":4, "nbformat_minor":4,
    "cells":[
      {"source":["print(\"outputs\")"],"outputs":[],"metadata":{"a":1,"b":2.50},"execution_count" :
         null,"cell_type":"code"} ] }"""
    path.write_bytes(before.encode())
    assert clean(path)
    assert path.read_bytes().decode() == after


def test_fix_changes_what_the_settings_leave_on(store: Store) -> None:
    only_ids, nothing = executed(), executed()
    only_ids["cells"][3]["id"] = "cell-4"
    path = store(executed(), "")
    assert fix(path)
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held == with_the_id_before_the_metadata(only_ids)
    path = store(nothing, '[tool.exactrun.lint]\nignore = ["cell-id"]')
    assert not fix(path)
    path = store(nothing, '[tool.exactrun.lint]\nextend-select = ["execution-count"]')
    assert fix(path)
    held = json.loads(path.read_text(encoding="utf-8"))
    assert [cell.get("execution_count") for cell in held["cells"]] == [None] * 5
    assert held["cells"][2]["outputs"]


@pytest.mark.parametrize("minor", [0, 4])
def test_before_format_4_5_a_cell_needs_no_id(minor: int, store: Store) -> None:
    old = copy.deepcopy(GOOD) | {"nbformat_minor": minor}
    for cell in old["cells"]:
        del cell["id"]
    path = store(old)
    assert check(path) == []
    assert not clean(path)


def test_what_names_a_notebook_in_colab_stays(store: Store) -> None:
    colab: Json = {"gpuType": "T4", "provenance": [{"file_id": "1"}], "authorship_tag": "A"}
    path = store(GOOD | {"metadata": GOOD["metadata"] | {"colab": colab}})
    assert {finding.rule for finding in check(path)} == {"tool-metadata"}
    assert clean(path)
    assert json.loads(path.read_text(encoding="utf-8"))["metadata"]["colab"] == {"gpuType": "T4"}


def test_a_link_stays_one_and_a_file_keeps_its_mode(store: Store, tmp_path: Path) -> None:
    path = store(executed())
    path.chmod(0o640)
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    assert clean(link)
    assert link.is_symlink()
    assert check(path) == []
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("flag", ["--fix", "--clean"])
def test_the_command_fixes_and_names_the_rest(
    flag: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store(executed())
    assert command("notebook", "lint", path.parent) == 1
    assert f"{path}: cell work: outputs: it holds 1 outputs" in capsys.readouterr().out
    assert command("notebook", "lint", flag, path) == 0
    assert capsys.readouterr().out == f"{path}: fixed\nNotebooks: 1, findings: 0\n"
    before = path.stat().st_mtime_ns
    assert command("notebook", "clean", path) == 0
    assert (capsys.readouterr().out, path.stat().st_mtime_ns) == ("", before)


def test_ids_are_not_given_twice(store: Store) -> None:
    cells: list[dict[str, Any]] = [copy.deepcopy(GOOD["cells"][2]) for _ in range(4)]
    cells[0]["id"] = "cell-3"
    path = store(GOOD | {"cells": cells})
    assert fix(path)
    ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert ids == ["cell-3", "work", "cell-4", "cell-5"]
