"""`pytest --exactrun`, as pytest finds it among what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from notebook_cases import Case
from test_run_notebook import RECORD_CELL

Pytest = Callable[..., subprocess.CompletedProcess[str]]

SETTINGS = """
[tool.exactrun.notebooks."ch1/good"]
parameters = { steps = 7 }
"""
STRICT = 'filterwarnings = ["error"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a notebook that passes, one that fails, and a test in Python."""
    for name, cells in {
        "ch1/good": ("print('steps', steps)",),
        "ch2/bad": ("print('so', 'far')\nmissing = {}\nmissing['key']", "'never-shown'"),
    }.items():
        place = tmp_path / "notebooks" / name
        place.parent.mkdir(parents=True)
        Case(name="", cells=cells).write(place.parent).rename(f"{place}.ipynb")
    (tmp_path / "test_python.py").write_text("def test_python(): pass\n")
    (tmp_path / "pyproject.toml").write_text(SETTINGS + "[tool.pytest.ini_options]\n" + STRICT)
    return tmp_path


@pytest.fixture
def run(installed: Path, project: Path) -> Pytest:
    """Run pytest in the project, with nothing of this suite but the library."""

    def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
        command = ["-c", code] if code else ["-m", "pytest", "-p", "no:cacheprovider"]
        env = os.environ | {"PYTHONPATH": str(installed), "PYTEST_ADDOPTS": ""}
        return subprocess.run(
            [sys.executable, *command, *arguments],
            **{"capture_output": True, "encoding": "utf-8", "env": env},
            cwd=project,
            timeout=120,
        )

    return run


def test_notebooks_are_tests_with_pytests_own_options(run: Pytest, project: Path) -> None:
    done = run("--exactrun", "--junitxml", "results.xml", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "notebooks/ch1/good.ipynb::good PASSED" in done.stdout
    assert "notebooks/ch2/bad.ipynb::bad FAILED" in done.stdout
    assert "test_python.py::test_python PASSED" in done.stdout
    _, _, failure = done.stdout.partition("= FAILURES =")
    page = project / "build/notebooks/ch2/bad.html"
    for part in (
        "_ notebooks/ch2/bad.ipynb _",
        "failed in cell 2 of 3 (The part): KeyError: 'key'",
        f"Up to there: {page}",
        "\n    missing['key']\n",
        "----> 3 missing['key']",
        "- Captured stdout call -",
        "so far",
    ):
        assert part in failure, failure
    assert "\x1b" not in failure
    assert "execution.py" not in failure
    assert page.exists()
    passed = (project / "build/notebooks/ch1/good.html").read_text(encoding="utf-8")
    assert "steps 7" in passed  # by its table
    suite = ElementTree.parse(project / "results.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    reports = {each.get("value") for each in suite.iter("property")}
    assert reports == {str(page), str(page).replace("ch2/bad", "ch1/good")}
    again = run("--exactrun", "--collect-only", "-q", "-k", "good")
    assert "notebooks/ch1/good.ipynb::good\n" in again.stdout
    assert "1/3 tests collected" in again.stdout


def test_not_asked_for_nothing_changes_and_nothing_is_loaded(run: Pytest) -> None:
    code = (
        "import sys, pytest\nstatus = pytest.main(['-q'])\n"
        "loaded = [name for name in sys.modules if name.startswith('exactrun')]\n"
        "print(sorted(loaded), {'numpy', 'IPython', 'papermill'} & set(sys.modules))\n"
        "sys.exit(status)"
    )
    done = run(code=code)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout
    names = "['exactrun', 'exactrun.errors', 'exactrun.pytest_plugin', 'exactrun.version'] set()"
    assert names in done.stdout


@pytest.mark.thorough
def test_xdist_runs_them_beside_each_other(run: Pytest, project: Path) -> None:
    done = run("--exactrun", "-n", "2", "notebooks", "--exactrun-output", "results")
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert (project / "results/notebooks/ch2/bad.html").exists()
    again = run("--exactrun", "--collect-only", "-q", "--exactrun-output", "results")
    assert "3 tests collected" in again.stdout  # what the run wrote is no test


@pytest.mark.thorough
def test_a_record_and_its_checks_are_held(run: Pytest, project: Path) -> None:
    Case(name="", cells=(f"place, status = 'run.json', 'skipped'\n{RECORD_CELL}",)).write(
        project / "notebooks"
    )
    table = '[tool.exactrun.notebooks.case]\nchecks = ["gpu"]\n'
    (project / "pyproject.toml").write_text(table)
    done = run("--exactrun", "notebooks/case.ipynb")
    assert "recorded no check 'gpu'. It recorded: none." in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("table", "fault"),
    [("[tool.exactrun.notebooks.typo]\n", "no notebooks/typo.ipynb"), ("[tool\n", "pyproject")],
)
def test_settings_that_can_not_be_taken_are_a_usage_error(
    table: str, fault: str, run: Pytest, project: Path
) -> None:
    (project / "pyproject.toml").write_text(table)
    done = run("--exactrun", "--rootdir", ".")
    assert (done.returncode, fault in done.stderr) == (4, True), done.stderr
    assert "INTERNALERROR" not in done.stderr + done.stdout


def test_without_papermill_a_sentence_names_it(run: Pytest) -> None:
    code = (
        "import importlib.util, pytest, sys\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'papermill' else find(n, *a)\n"
        "sys.exit(pytest.main({}))"
    )
    done = run(code=code.format(["--exactrun"]))
    assert done.returncode == 4
    assert "ERROR: --exactrun needs papermill: python -m pip install papermill" in done.stderr
    assert run(code=code.format([])).returncode == 0


@pytest.mark.thorough
def test_what_is_no_notebook_fails_with_a_sentence(run: Pytest, project: Path) -> None:
    (project / "notebooks" / "broken.ipynb").write_text("{")
    done = run("--exactrun", "notebooks/broken.ipynb")
    assert "_ notebooks/broken.ipynb _" in done.stdout
    assert "\nis not JSON: " in done.stdout
    assert "Traceback" not in done.stdout
