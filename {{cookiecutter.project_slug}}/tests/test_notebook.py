"""The notebook, executed once on a simulated Colab: GPU, Drive, a short training, its weights."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import pytest
from exactrun.notebooks import Executed, run_notebook

from {{ cookiecutter.__package }}.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "setup.ipynb"
COLAB = sys.platform != "win32"  # where Drive can't be simulated: there, as on a laptop
DRIVE = ROOT / "build" / "colab" / "drive"
EPOCHS = {{ 2 if cookiecutter.task == "image" else 1 }}  # enough to see it learn, few enough to wait for


@pytest.fixture(scope="module")
def executed() -> Executed:
    """The notebook, run by papermill as in Colab; its report is build/setup.html."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    parameters = {"epochs": EPOCHS, "persistent_dir": "" if COLAB else str(DRIVE)}
    return run_notebook(NOTEBOOK, output=ROOT / "build", parameters=parameters, colab=COLAB)


@pytest.fixture(scope="module")
def kept(executed: Executed) -> Path:
    """The run's directory on the simulated Drive."""
    (record,) = DRIVE.rglob("run.json")
    return record.parent


@pytest.fixture(scope="module")
def record(kept: Path) -> dict[str, Any]:
    return json.loads((kept / "run.json").read_text(encoding="utf-8"))


def status(record: dict[str, Any], name: str) -> str:
    """Return how a check ended; a skipped one skips the test, with its reason."""
    (check,) = (check for check in record["checks"] if check["name"] == name)
    if check["status"] == "skipped":
        pytest.skip(check["detail"])
    return check["status"]


def test_the_form_has_the_defaults_of_config() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (cell,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    lines = ast.parse("".join(cell["source"])).body
    form = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    settings = asdict(Config())
    shared = form.keys() & settings.keys()
    assert {name: form[name] for name in shared} == {name: settings[name] for name in shared}
    assert {"run_name", "epochs", "seed", "persistent_dir"} <= shared


def test_the_packages_are_those_of_colab(record: dict[str, Any]) -> None:
    assert status(record, "environment") == "passed"
    assert status(record, "pins") == "passed"


def test_the_gpu_computes(record: dict[str, Any]) -> None:
    assert status(record, "gpu") == "passed"


def test_drive_is_mounted(record: dict[str, Any]) -> None:
    assert status(record, "drive") == "passed"


def test_drive_keeps_what_is_written(record: dict[str, Any], kept: Path) -> None:
    assert status(record, "persistent directory") == "passed"
    assert {"run.json", "history.csv", "model.keras", "checkpoints"} <= {
        path.name for path in kept.iterdir()
    }


def test_the_training_goes_to_its_end(record: dict[str, Any]) -> None:
    assert status(record, "training") == "passed"
    assert record["epochs"] == EPOCHS


def test_the_saved_model_is_the_trained_one(record: dict[str, Any], kept: Path) -> None:
    assert status(record, "model") == "passed"
    assert keras.models.load_model(kept / "model.keras", compile=False).count_params() > 0


def test_the_command_line_ends_with_the_same_weights(
    record: dict[str, Any], tmp_path: Path
) -> None:
    package = "{{ cookiecutter.__package }}"
    settings = ["--epochs", str(EPOCHS), "--persistent-dir", str(tmp_path)]
    command = [sys.executable, "-m", package, "train", *settings]
    subprocess.run(command, cwd=ROOT / "src", check=True)
    (same,) = tmp_path.rglob("run.json")
    there = json.loads(same.read_text(encoding="utf-8"))
    assert there["weights_sha256"] == record["weights_sha256"]
