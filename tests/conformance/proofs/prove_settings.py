"""What pyproject.toml says of notebooks: what is taken, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.errors import HarnessError
from harness.settings import NotebookSettings, read_settings


def settings_of(folder: Path, table: str) -> NotebookSettings:
    """Return the settings of a project's one notebook, deep/small.ipynb, from its table."""
    (folder / "notebooks" / "deep").mkdir(parents=True)
    (folder / "notebooks" / "deep" / "small.ipynb").touch()
    (folder / "pyproject.toml").write_text(table, encoding="utf-8")
    return read_settings(folder)["deep/small"]


def test_a_notebook_without_a_table_has_the_defaults(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "")
    assert settings == NotebookSettings(path=tmp_path / "notebooks" / "deep" / "small.ipynb")
    assert settings.seconds == 600


def test_what_jupyter_keeps_aside_is_no_notebook(tmp_path: Path) -> None:
    (tmp_path / "notebooks" / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "notebooks" / ".ipynb_checkpoints" / "small-checkpoint.ipynb").touch()
    (tmp_path / "pyproject.toml").touch()
    assert read_settings(tmp_path) == {}


def test_a_table_gives_a_notebook_its_own_settings(tmp_path: Path) -> None:
    table = 'seconds = 9\nparameters = { to = "{output}", n = 1 }'
    settings = settings_of(tmp_path, f'[tool.harness.notebooks."deep/small"]\n{table}')
    assert settings.seconds == 9
    assert settings.parameters_for(Path("out")) == {"to": "out", "n": 1}


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
    with pytest.raises(HarnessError, match=fault):
        settings_of(tmp_path, f"[tool.harness.notebooks.{table}")
