"""Each notebook in notebooks/ passes, and so does each check of its run.json."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import ROOT, Execution

from harness.settings import NotebookSettings, read_settings

NOTEBOOKS = read_settings(ROOT)


def marks(name: str, settings: NotebookSettings) -> list[pytest.MarkDecorator]:
    own = [getattr(pytest.mark, marker) for marker in settings.markers]
    return [pytest.mark.notebook, pytest.mark.xdist_group(name), *own]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks(name, each)) for name, each in NOTEBOOKS.items()]
)
def test_notebook(executed: Callable[[str], Execution], name: str) -> None:
    execution = executed(name)
    if execution.failure:
        pytest.fail(execution.failure, pytrace=False)
    checks = {check["name"]: check for check in execution.record.get("checks", [])}
    tested_below = NOTEBOOKS[name].checks
    others = [check for each, check in checks.items() if each not in tested_below]
    assert [check for check in others if check["status"] == "failed"] == []


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=marks(name, each))
        for name, each in NOTEBOOKS.items()
        for check in each.checks
    ],
)
def test_check(executed: Callable[[str], Execution], name: str, check: str) -> None:
    found = [each for each in executed(name).record.get("checks", []) if each["name"] == check]
    assert found, f"{name}.ipynb recorded no check {check!r}"
    if found[0]["status"] == "skipped":
        pytest.skip(found[0]["detail"])
    assert found[0]["status"] == "passed", found[0]["detail"]
