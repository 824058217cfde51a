"""`papermill --engine exactrun`, as papermill finds it among what is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_cases import MATRIX, Case

# What only the notebook's file can tell is papermill's own to check before the engine is asked.
CASES = list(enumerate(case for case in MATRIX if not case.parameters))
LATER = "import time\ntime.sleep(0.5)\nprint('af', 'ter')"  # in a message of its own
LIMITS = {"cell": "--execution-timeout"}


def papermill(
    installed: Path, place: Path, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run papermill in a directory, which is the kernel's, too."""
    command = [sys.executable, "-m", "papermill", "--engine", "exactrun", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", env=env, timeout=90, cwd=place
    )


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.thorough] * (number > 0)) for number, case in CASES],
    ids=lambda case: case.name,
)
def test_verdict(case: Case, installed: Path, tmp_path: Path) -> None:
    flags = [text for name, value in case.limits.items() for text in (LIMITS[name], str(value))]
    notebook, output = case.write(tmp_path), tmp_path / "out.ipynb"
    done = papermill(installed, tmp_path, *flags, notebook, output)
    assert (done.returncode != 0) == (case.fault is not None), done.stderr
    executed = nbformat.read(output, as_version=4)
    assert case.shows in json.dumps(executed)
    assert case.hides not in json.dumps([cell.get("outputs") for cell in executed.cells])
    assert executed.metadata.exactrun.passed == (case.fault is None)
    if case.fault is not None:
        assert "PapermillExecutionError" in done.stderr
        assert "An Exception was encountered" in executed.cells[0].source


def test_papermills_own_options_are_honoured(installed: Path, tmp_path: Path) -> None:
    case = Case(name="", cells=(f"print('steps', steps, flush=True)\n{LATER}",))
    options = ["-p", "steps", "7", "--log-output", "--stdout-file", str(tmp_path / "printed.txt")]
    done = papermill(installed, tmp_path, *options, case.write(tmp_path), tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "printed.txt").read_text(encoding="utf-8") == "steps 7\naf ter\n"
    assert "steps 7" in done.stderr


@pytest.mark.thorough
def test_papermills_function_takes_it_too(installed: Path, tmp_path: Path) -> None:
    path = Case(name="", cells=("!exit 3", "'never-shown'")).write(tmp_path)
    code = (
        "import papermill, sys\n"
        "try:\n"
        "    papermill.execute_notebook(sys.argv[1], None, engine_name='exactrun',"
        " progress_bar=False)\n"
        "except papermill.PapermillExecutionError as error:\n"
        "    print(error.cell_index, error.evalue)\n"
    )
    env = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert "3 the command 'exit 3' ended with exit status 3" in done.stdout, done.stderr
