"""What several tests share: the notebooks' settings, and one execution of each notebook."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.notebooks import HarnessError, Limits, declared_parameters, run
from harness.settings import NotebookSettings, read_settings

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "setup.ipynb"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=3, help="how often a training is killed and resumed"
    )


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist: `-n 2` means `--dist loadgroup`, so that one worker takes all the tests of a
    # notebook, and it is executed once. The workers are not told of that, but of `loadgroup`.
    if config.getoption("dist", "no") == "load":
        config.option.dist = "loadgroup"
    if hasattr(config, "workerinput"):
        config.option.loadgroup = True


@dataclass(frozen=True, kw_only=True)
class Execution:
    """An executed notebook.

    Attributes:
        output: Where it left its files.
        folder: Where its `run.json` is, or would be.
        record: Its `run.json`; empty if it wrote none.
        failure: Why it did not pass; empty if it did.
    """

    output: Path
    folder: Path
    record: dict[str, Any]
    failure: str = ""


def execute(settings: NotebookSettings, output: Path) -> Execution:
    """Execute a notebook as pyproject.toml says."""
    record = output / (settings.record or "run.json")
    failure = ""
    try:
        run(
            settings.path,
            output=output,
            parameters=settings.parameters_for(output),
            limits=Limits(notebook=settings.seconds),
            record=record if settings.record else None,
        )
    except HarnessError as error:
        failure = str(error)
    content = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return Execution(output=output, folder=record.parent, record=content, failure=failure)


@pytest.fixture(scope="session")
def settings() -> dict[str, NotebookSettings]:
    """How each notebook is executed."""
    return read_settings(ROOT)


@pytest.fixture(scope="session")
def executed(settings: dict[str, NotebookSettings]) -> Callable[[str], Execution]:
    """Executes a notebook when it is first asked for; its files stay in build/ to be read."""

    @functools.cache
    def executed(name: str) -> Execution:
        output = ROOT / "build" / name
        shutil.rmtree(output, ignore_errors=True)
        return execute(settings[name], output)

    return executed


@pytest.fixture(scope="session")
def form() -> dict[str, Any]:
    """The parameters of setup.ipynb and their values."""
    return declared_parameters(NOTEBOOK)


@pytest.fixture(scope="session")
def first_execution(executed: Callable[[str], Execution]) -> Execution:
    """The notebook setup.ipynb, executed from nothing."""
    return executed("setup")


@pytest.fixture(scope="session")
def second_execution(
    first_execution: Execution, settings: dict[str, NotebookSettings]
) -> Execution:
    """The same once more, as after a lost session."""
    return execute(settings["setup"], first_execution.output)
