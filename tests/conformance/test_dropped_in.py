"""Notebooks dropped into a generated project's notebooks/ are tests, each executed once.

Slow: it builds an environment, with pytest-xdist, which generated projects don't bring.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from baking import bake
from environment import build
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

TABLES = """
[tool.harness.notebooks.checked]
parameters = { folder = "{output}", steps = 7 }
record = "run.json"
checks = ["data", "gpu", "model", "never recorded"]
markers = ["nightly"]

[tool.harness.notebooks.endless]
seconds = 3
"""
NOTEBOOKS = {
    "plain": ["print('nothing to declare')"],
    "deep/below": ["print('in a folder')"],
    "broken": ["1 / 0"],
    "endless": ["import time\ntime.sleep(600)"],
    "checked": [
        "folder = ''\nsteps = 3",
        "import json\n"
        "checks = [('data', 'passed', f'{steps} steps'), ('gpu', 'skipped', 'there is none'),\n"
        "          ('model', 'failed', 'it differs'), ('unlisted', 'failed', 'nobody asked')]\n"
        "checks = [dict(zip(('name', 'status', 'detail'), check)) for check in checks]\n"
        "with open(folder + '/run.json', 'w') as file:\n"
        "    json.dump({'checks': checks}, file)",
    ],
}
LOG = "with open('../{up}executions.log', 'a') as log:\n    print('{name}', file=log)"
"""What every notebook does first, so that executions can be counted."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What pytest said.

    Attributes:
        results: The verdict on each test, `passed`, or a failure's or skip's message, by its name.
        executions: The names of the notebooks, once for each time they were executed.
    """

    results: dict[str, str]
    executions: list[str]


def write_notebook(folder: Path, name: str, sources: list[str]) -> None:
    log = LOG.format(up="../" * name.count("/"), name=name)
    cells = [new_code_cell(source) for source in (log, *sources)]
    if sources[0].startswith("folder = "):
        cells[1].metadata["tags"] = ["parameters"]
    notebook = new_notebook(cells=cells)
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)


def verdict(case: ElementTree.Element) -> str:
    found = [*case.iter("failure"), *case.iter("error"), *case.iter("skipped")]
    return found[0].get("message", "") if found else "passed"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Run the tests of a project with such notebooks in one process, and by two workers."""
    folder = tmp_path_factory.mktemp("dropped")
    project = bake(folder)
    (project.path / "notebooks" / "setup.ipynb").unlink()  # it has its own tests, and needs more
    (project.path / "tests" / "test_notebook.py").unlink()
    for name, sources in NOTEBOOKS.items():
        write_notebook(project.path / "notebooks", name, sources)
    settings = project.path / "pyproject.toml"
    text = settings.read_text(encoding="utf-8").partition("[tool.harness.notebooks")[0] + TABLES
    text = text.replace("markers = [\n", 'markers = [\n    "nightly: only in the night",\n', 1)
    settings.write_text(text, encoding="utf-8")

    place = build(folder, project, "pytest-xdist", "jsonschema")
    outcomes = {}
    for way, flags in {"one process": [], "two workers": ["-n", "2"]}.items():
        command = [place.python, "-m", "pytest", "tests/test_every_notebook.py", "-m", "notebook"]
        done = project.run(*command, *flags, "--junitxml", folder / "junit.xml", env=place.env)
        assert done.returncode == 1, done.stdout + done.stderr
        cases = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
        results = {case.get("name", "").partition("@")[0]: verdict(case) for case in cases}
        log = project.path / "executions.log"
        outcomes[way] = Outcome(results=results, executions=log.read_text().split())
        log.unlink()
    return outcomes


WAYS = pytest.mark.parametrize("way", ["one process", "two workers"])


@WAYS
def test_each_is_executed_once_however_many_tests_read_it(
    way: str, outcomes: dict[str, Outcome]
) -> None:
    assert sorted(outcomes[way].executions) == sorted(NOTEBOOKS)


@WAYS
def test_each_is_a_test_and_each_declared_check_too(way: str, outcomes: dict[str, Outcome]) -> None:
    results = outcomes[way].results
    assert results.keys() == {
        *(f"test_notebook[{name}]" for name in NOTEBOOKS),
        *(f"test_check[checked-{name}]" for name in ("data", "gpu", "model", "never recorded")),
    }
    assert results["test_notebook[plain]"] == "passed"
    assert results["test_notebook[deep/below]"] == "passed"
    assert "ZeroDivisionError: division by zero" in results["test_notebook[broken]"]
    assert "longer than its limit of 3 s" in results["test_notebook[endless]"]
    assert "nobody asked" in results["test_notebook[checked]"]


@WAYS
def test_a_check_is_what_the_record_says(way: str, outcomes: dict[str, Outcome]) -> None:
    results = outcomes[way].results
    assert results["test_check[checked-data]"] == "passed"
    assert results["test_check[checked-gpu]"] == "there is none"
    assert "it differs" in results["test_check[checked-model]"]
    assert "recorded no check 'never recorded'" in results["test_check[checked-never recorded]"]
