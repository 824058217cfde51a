"""What a user relies on beyond one machine: fresh environments agree.

Slow: it builds two environments and trains in each.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from baking import Project
from baking import bake as bake_anew

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Place:
    """A fresh project with an environment of its own."""

    project: Project
    python: Path

    def run(self, *command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        bin = str(self.python.parent)
        return self.project.run(*command, env={"PYTHONPATH": "src", "PATH": bin, **env})


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """The same project generated and installed twice."""
    places = []
    for name in ("first", "second"):
        project = bake_anew(tmp_path_factory.mktemp(name), __year="2026")
        environment = project.path / ".venv"
        python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        uv = ["uv", "venv", "--quiet", "--python", sys.executable, environment]
        subprocess.run(uv, check=True)
        install = ["uv", "pip", "install", "--quiet", "--require-hashes", "--python", python]
        requirements = project.path / "requirements-dev.txt"
        subprocess.run([*install, "--requirement", requirements], check=True)
        places.append(Place(project=project, python=python))
    return places


def test_two_fresh_environments_give_the_same_weights(places: list[Place]) -> None:
    for place in places:
        done = place.run(place.python, "-m", "handwritten_digits", "train", "--epochs", "1")
        assert done.returncode == 0, done.stdout + done.stderr
    runs = [place.project.path / "runs" / "first" for place in places]
    compared = places[0].run(places[0].python, "-m", "exactrun", "compare", *runs)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.endswith("The runs are equal.\n")


def commit(place: Place) -> subprocess.CompletedProcess[str]:
    """Run the hooks of a commit of all files, where nothing can be fetched."""
    nowhere = "http://127.0.0.1:9"
    hooks = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    path = f"{place.python.parent}:/usr/bin:/bin"
    subprocess.run(["git", "add", "--all"], cwd=place.project.path, check=True)
    cache = str(place.project.path.parent / "pre-commit")
    env = {"PRE_COMMIT_HOME": cache, "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}
    return place.run(*hooks, PATH=path, **env)


def test_the_hooks_of_a_commit_work_offline_and_find_what_lint_finds(places: list[Place]) -> None:
    place = places[1]
    subprocess.run(["git", "init", "--quiet"], cwd=place.project.path, check=True)
    clean = commit(place)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    notebook = place.project.path / "notebooks" / "setup.ipynb"
    text = notebook.read_text(encoding="utf-8")
    twice = text.replace('"id": "record"', '"id": "test"', 1)
    notebook.write_text(twice, encoding="utf-8")
    (place.project.path / "src" / "handwritten_digits" / "more.py").write_text("x=1\nimport os\n")
    found = commit(place)
    assert found.returncode == 1
    for fault in ("1 file reformatted", "F401", "cell-id: its id is used twice"):
        assert fault in found.stdout, found.stdout
