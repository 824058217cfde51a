"""What pyproject.toml says of notebooks and of the lint: what is taken, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from commanded import command
from test_run_notebook import RECORD_CELL, notebook_of

from exactrun.errors import UserError
from exactrun.notebooks.settings import (
    LintSettings,
    NotebookSettings,
    read_lint_settings,
    read_settings,
)


def settings_of(directory: Path, table: str) -> NotebookSettings:
    """Return the settings of a project's one notebook, deep/small.ipynb, from its table."""
    (directory / "notebooks" / "deep").mkdir(parents=True)
    (directory / "notebooks" / "deep" / "small.ipynb").touch()
    (directory / "pyproject.toml").write_text(table, encoding="utf-8")
    return read_settings(directory)["deep/small"]


def test_a_notebook_without_a_table_has_the_defaults(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "")
    assert settings == NotebookSettings(path=tmp_path / "notebooks" / "deep" / "small.ipynb")
    assert settings.seconds == 600


def test_what_jupyter_keeps_aside_is_no_notebook(tmp_path: Path) -> None:
    (tmp_path / "notebooks" / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "notebooks" / ".ipynb_checkpoints" / "small-checkpoint.ipynb").touch()
    (tmp_path / "pyproject.toml").touch()
    assert read_settings(tmp_path) == {}


@pytest.mark.thorough
def test_a_table_decides_how_its_notebook_is_executed(tmp_path: Path) -> None:
    table = """
seconds = 60
record = "deep/run.json"
checks = ["data"]
parameters = { place = "{output}", steps = 7 }"""
    settings = settings_of(tmp_path, f'[tool.exactrun.notebooks."deep/small"]{table}')
    write = "import os\nos.makedirs(place + '/deep')\nplace += '/deep/run.json'\n"
    notebook_of(settings.path.parent, write + RECORD_CELL)
    executed = settings.run(tmp_path / "out")
    assert executed.check("data")["detail"] == "7 steps"
    more = dataclasses.replace(settings, checks=("data", "never recorded"))
    with pytest.raises(UserError, match="recorded no check 'never recorded'"):
        more.run(tmp_path / "again")
    with pytest.raises(UserError, match="limit of 0.5 s|did not answer within 1 s"):
        dataclasses.replace(settings, seconds=0.5).run(tmp_path / "out")


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('"deep/smal"]', r"there is no notebooks/deep/smal\.ipynb\. Did you mean deep/small\?"),
        ('"deep/small"]\nsecond = 9', r"second is unknown\. Did you mean seconds\?"),
        ('"deep/small"]\nseconds = "9"', "seconds = '9' is not of the form 600"),
        ('"deep/small"]\nseconds = true', "seconds = True is not of the form"),
        ('"deep/small"]\nchecks = [1]', r"checks = \[1\] is not of the form"),
    ],
)
def test_a_table_that_can_not_be_taken_is_refused(tmp_path: Path, table: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        settings_of(tmp_path, f"[tool.exactrun.notebooks.{table}")


def lint_rules(
    directory: Path, table: str, *, name: str = "notebooks/small.ipynb"
) -> frozenset[str]:
    """Return the rules that are on for a notebook of a project with this `pyproject.toml`."""
    (directory / "pyproject.toml").write_text(table, encoding="utf-8")
    return read_lint_settings(directory / name).rules


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("", set()),
        ("ignore = ['badge']", {"badge"}),
        ("extend-select = ['outputs', 'badge']", {"outputs"}),
        ("extend-select = ['outputs']\nignore = ['outputs', 'badge']", {"badge"}),
        ("per-file-ignores = { 'notebooks/*' = ['badge'] }", {"badge"}),
        ("per-file-ignores = { 'small.ipynb' = ['badge'] }", {"badge"}),
        ("per-file-ignores = { 'sm*' = ['badge'], '*' = ['secret'] }", {"badge", "secret"}),
        ("per-file-ignores = { 'drafts/*' = ['badge'] }", set()),
    ],
)
def test_rules_are_switched_as_ruff_does(tmp_path: Path, table: str, change: set[str]) -> None:
    rules = lint_rules(tmp_path, f"[tool.exactrun.lint]\n{table}")
    assert rules ^ LintSettings().rules == change


def test_the_nearest_settings_count(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.other]", encoding="utf-8")
    table = "[tool.exactrun.lint]\nignore = ['badge']"
    assert "badge" not in lint_rules(tmp_path, table, name="inner/small.ipynb")
    assert "badge" in lint_rules(inner, "[tool.exactrun.lint]", name="small.ipynb")


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("ignore = ['plot_alt']", r"there is no rule plot_alt\. Did you mean plot-alt\?"),
        ("per-file-ignores = { x = ['E501'] }", r"there is no rule E501\. There is: secret, "),
        ("ignores = []", r"ignores is unknown\. Did you mean ignore\?"),
        ("ignore = 'badge'", r"ignore = 'badge' is not of the form \['local-path'\]"),
        ("per-file-ignores = { x = 'badge' }", "x = 'badge' is not of the form"),
        ("ignore = [", "pyproject.toml can't be read: Invalid value"),
        ("[[tool.exactrun.notebooks]]", r"notebooks = \[\{\}\] is not of the form"),
        ("[tool.exactrun.lints]", r"lints is unknown\. Did you mean lint\?"),
    ],
)
def test_settings_of_the_lint_that_can_not_be_taken_are_refused_once(
    tmp_path: Path, table: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=fault):
        lint_rules(tmp_path, f"[tool.exactrun.lint]\n{table}\n")
    for name in ("one", "two"):
        notebook_of(tmp_path, "1").rename(tmp_path / f"{name}.ipynb")
    assert command("notebook", "lint", tmp_path) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(fault, told.err)
    assert len(told.err.splitlines()) == 1
