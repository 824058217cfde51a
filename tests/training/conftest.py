"""A generated project with its whole environment."""

from __future__ import annotations

import subprocess
import sys

import pytest
from baking import bake
from workbench import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Generate a project for images and install its pinned packages."""
    folder = tmp_path_factory.mktemp("bench")
    project = bake(folder, task="image")
    environment = folder / "environment"
    subprocess.run(
        ["uv", "venv", "--quiet", "--python", sys.executable, str(environment)], check=True
    )
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    requirements = str(project.path / "requirements-dev.txt")
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), "--require-hashes"]
    subprocess.run([*install, "--requirement", requirements], check=True)
    return Bench(project=project, python=python)
