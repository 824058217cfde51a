"""An environment in which a generated project's harness runs, and a warm process in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from baking import Project
from cases import Case
from environment import Harness, build

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def harness(bake: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """Build the environment, with Colab's versions of the kernel's packages."""
    return build(tmp_path_factory.mktemp("conformance"), bake())


@pytest.fixture(scope="session")
def execute(harness: Harness) -> Iterator[Callable[[Path, Path, Case], dict[str, Any]]]:
    """Execute notebooks in one warm process, which ends with the tests."""
    worker = subprocess.Popen(
        [str(harness.python), str(HERE / "worker.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=harness.env,
        encoding="utf-8",
    )
    assert worker.stdin is not None
    assert worker.stdout is not None

    def execute(notebook: Path, output: Path, case: Case) -> dict[str, Any]:
        request = {"notebook": str(notebook), "output": str(output)}
        request |= {"parameters": list(case.parameters), "limits": dict(case.limits)}
        patience = threading.Timer(90, worker.kill)
        patience.start()
        try:
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        finally:
            patience.cancel()
        assert answer, "the harness hung for 90 seconds, or broke down"
        return json.loads(answer)

    yield execute
    worker.stdin.close()
    worker.wait(10)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for one case, not kept: fifty megabytes are printed in some."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
