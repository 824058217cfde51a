"""Packing in a generated project withstands what is tried on it in `proofs/`.

Slow: builds an environment with what packing needs, and no TensorFlow. `nox -s projects` runs it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from baking import Project

pytestmark = pytest.mark.slow

PROOFS = sorted((Path(__file__).parent / "proofs").glob("prove_*.py"))
NEEDS = ["numpy", "pillow", "pytest", "tqdm"]
"""With the project's own versions."""


@pytest.fixture(scope="module")
def project(bake: Callable[..., Project]) -> Project:
    return bake()


@pytest.fixture(scope="module")
def python(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the project packs."""
    environment = tmp_path_factory.mktemp("packing") / "environment"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    constraint = ["--constraint", project.path / "requirements-dev.txt"]
    install = ["uv", "pip", "install", "--quiet", "--python", python, *constraint]
    subprocess.run([*install, *NEEDS, "hypothesis"], check=True)
    return python


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.stem.removeprefix("prove_"))
def test_it_holds(proof: Path, project: Project, python: Path, tmp_path: Path) -> None:
    """Each runs where the package is, away from the template's own conftest and settings."""
    done = project.run(
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"),
        *("-c", project.path / "pyproject.toml", "--rootdir", tmp_path),
        *("--basetemp", tmp_path / "results", proof),
        env={"PYTHONPATH": str(project.path / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0


def test_there_are_proofs() -> None:
    assert len(PROOFS) >= 3
