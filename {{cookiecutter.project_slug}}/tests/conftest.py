"""What several tests share: small data, and one execution of the notebook."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.notebooks import declared_parameters, run

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "setup.ipynb"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=2, help="how often a training is killed and resumed"
    )


@dataclass(frozen=True, kw_only=True)
class Execution:
    """An executed notebook: where it left its files, and its run's record."""

    output: Path
    record: dict[str, Any]


def execute(output: Path) -> Execution:
    """Execute the notebook with the short parameters of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        parameters = tomllib.load(file)["tool"]["harness"]["parameters"]
    parameters |= {"run_name": "notebook", "persistent": str(output)}
    record = output / "runs" / "notebook" / "run.json"
    run(NOTEBOOK, output=output, parameters=parameters, record=record)
    return Execution(output=output, record=json.loads(record.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def form() -> dict[str, Any]:
    """The notebook's parameters and their values."""
    return declared_parameters(NOTEBOOK)


@pytest.fixture(scope="session")
def first_execution() -> Execution:
    """The notebook, executed from nothing; its report stays in build/ for people to read."""
    output = ROOT / "build" / "notebook"
    shutil.rmtree(output, ignore_errors=True)
    return execute(output)


@pytest.fixture(scope="session")
def second_execution(first_execution: Execution) -> Execution:
    """The same once more, as after a lost session."""
    return execute(first_execution.output)
