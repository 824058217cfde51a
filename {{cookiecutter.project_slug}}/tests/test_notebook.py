"""The notebook setup.ipynb: its form, its file, and what it does when it is executed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
from conftest import NOTEBOOK, ROOT, Execution, NotebookSettings

from {{ cookiecutter.__package }}.config import Config

pytestmark = pytest.mark.xdist_group("setup")  # one worker, and so one execution, for all of them


def test_the_form_shows_the_defaults_of_config(form: dict[str, Any]) -> None:
    config = Config()
    settings = {setting.name for setting in fields(Config)}
    shown = {name: value for name, value in form.items() if name in settings}
    assert shown == {name: getattr(config, name) for name in shown}
    assert {"run_name", "epochs", "seed", "persistent"} <= shown.keys()


def test_the_notebook_is_stored_without_output() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    # As it is in the file: nbformat mends what it reads.
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    ran = [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")]
    assert ran == []
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.notebook
def test_the_record_follows_its_schema(first_execution: Execution) -> None:
    schema = json.loads((ROOT / "harness" / "run.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(first_execution.record, schema)


@pytest.mark.notebook
def test_the_model_learns_within_the_short_run(first_execution: Execution) -> None:
    classes = first_execution.record["data"]["classes"]
    # Twice as good as guessing: it is a short run.
    assert first_execution.record["metrics"]["test_accuracy"] > 2 / classes


@pytest.mark.notebook
def test_the_report_shows_the_pictures_and_loads_nothing(first_execution: Execution) -> None:
    report = (first_execution.output / "setup.html").read_text(encoding="utf-8")
    assert report.count('src="data:image/png;base64,') == 4
    assert "<script" not in report
    assert 'src="http' not in report


def python(*arguments: str | Path) -> None:
    """Run a module of the project's as its user does, and demand success."""
    command = [sys.executable, "-m", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.notebook
def test_the_command_line_ends_with_the_weights_of_the_notebook(
    first_execution: Execution, tmp_path: Path
) -> None:
    epochs = first_execution.record["settings"]["epochs"]
    train = ["train", "--epochs", str(epochs), "--persistent", tmp_path]
    python("{{ cookiecutter.__package }}", *train)
    python("harness", "compare", first_execution.folder, tmp_path / "runs" / "first")


@pytest.mark.notebook
def test_simulated_colab_ends_with_the_same_weights(
    first_execution: Execution, settings: dict[str, NotebookSettings]
) -> None:
    place = ROOT / "build" / "colab"  # below the project, where the notebook finds its package
    shutil.rmtree(place, ignore_errors=True)
    parameters = settings["setup"].parameters | {"persistent": ""}  # which is Drive
    given = [text for name, value in parameters.items() for text in ("-p", f"{name}={value}")]
    python("harness", "run", NOTEBOOK, "--colab", place, "--output", place, *given)
    (record,) = (place / "drive").rglob("run.json")
    python("harness", "compare", first_execution.folder, record)


@pytest.mark.notebook
def test_executed_again_it_goes_on_from_the_end(second_execution: Execution) -> None:
    record = second_execution.record
    assert record["resumed_from"] == record["steps"]


@pytest.mark.notebook
def test_executed_again_it_ends_with_the_same_weights(
    first_execution: Execution, second_execution: Execution
) -> None:
    assert second_execution.record["weights_sha256"] == first_execution.record["weights_sha256"]
