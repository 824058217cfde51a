"""A project stays whole when its user makes it their own: other data, models, losses and metrics.

Slow: of each kind a project is generated, `data.py` and `model.py` are replaced and nothing else,
and the project's whole `nox` is run, its training killed, too. All share one environment:
`PROJECT_PYTHON` names the Python of one that exists, which has the pins of `PROJECT_RUNTIME`;
otherwise one is made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import first_edition
import pytest
from baking import CHOICES, Project
from baking import bake as bake_anew

from tools.first_edition.__main__ import move

pytestmark = pytest.mark.slow

OWN_DATA = Path(__file__).parent / "own_data"
KINDS = sorted(path.name for path in OWN_DATA.iterdir() if path.is_dir())
RUNTIME = os.environ.get("PROJECT_RUNTIME", CHOICES["colab_runtime"][0])
FOLLOWING = {"backbone_unfrozen": "backbone"}
"""Kinds that go on with the model that another one has trained, under the name `frozen`."""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python that has what a project of either task requires."""
    if given := os.environ.get("PROJECT_PYTHON"):
        return Path(given)
    environment = tmp_path_factory.mktemp("environment") / "venv"
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
    for task in ("image", "text"):
        project = bake_anew(tmp_path_factory.mktemp(task), task=task, colab_runtime=RUNTIME)
        install = ["uv", "pip", "install", "--quiet", "--require-hashes", "--python", python]
        requirements = project.path / "requirements-dev.txt"
        subprocess.run([*install, "--requirement", requirements], check=True)
    return python


@pytest.fixture
def run(python: Path) -> Run:
    """Runs a command in a project, in the environment, and demands success."""

    def run(project: Project, *command: str) -> str:
        path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        modules = os.pathsep.join(["src", os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        done = project.run(*command, env={"PATH": path, "PYTHONPATH": modules})
        print(done.stdout, done.stderr, sep="\n")
        assert done.returncode == 0, f"{command} exited with {done.returncode}"
        return done.stdout + done.stderr

    return run


def replace(project: Project, kind: str) -> None:
    """Put a kind's own modules over the project's; one that follows another keeps its data."""
    (package,) = (project.path / "src").iterdir()
    for name in ("model.py",) if kind in FOLLOWING else ("data.py", "model.py"):
        shutil.copyfile(OWN_DATA / kind / name, package / name)


def make_data(project: Project, kind: str, python: Path) -> None:
    if (script := OWN_DATA / kind / "make.py").exists():
        subprocess.run([python, script], cwd=project.path, check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_nox_passes_with(kind: str, python: Path, run: Run, tmp_path: Path) -> None:
    task = "text" if kind == "texts" else "image"
    project = bake_anew(tmp_path, task=task, colab_runtime=RUNTIME)
    if first := FOLLOWING.get(kind):
        replace(project, first)
        run(project, str(python), "-m", "handwritten_digits", "train", "--run-name", "frozen")
    replace(project, kind)
    make_data(project, kind, python)
    nox = (sys.executable, "-m", "nox", "--no-venv", "--no-install")
    printed = run(project, *nox)
    for session in ("lint", "tests", "notebook"):
        assert f"* {session}: success" in printed
    (record,) = (project.path / "build" / "colab" / "drive").rglob("run.json")
    statuses = {c["name"]: c["status"] for c in json.loads(record.read_text())["checks"]}
    assert (statuses["training"], statuses["model"]) == ("passed", "passed")
    killed = run(project, *nox, "-s", "crash-test", "--", "--kills", "1", "--seed", "0")
    assert "1 kills in " in killed


MEAN_OVER_THE_BATCH = """
from my_project.model import build_model

def test_the_loss_is_one_number(few, config):
    model, (x, y) = build_model(few, config), few.train
    assert model.compute_loss(x, y, model(x)).shape == ()
"""
"""The first edition's losses were one of each example, which its loop added up."""


def test_data_and_model_of_the_first_edition_train(run: Run, python: Path, tmp_path: Path) -> None:
    first_edition.make_template(tmp_path / "template")
    (tmp_path / "old").mkdir()
    old = first_edition.make_project(tmp_path / "template", tmp_path / "old")
    (data,) = old.glob("src/*/data.py")
    data.write_text(data.read_text().replace('"c"', '"jay"'))
    move(old, tmp_path / "new", template=tmp_path / "template")
    (tmp_path / "new/tests/test_loss.py").write_text(MEAN_OVER_THE_BATCH)
    quick = [*(f"tests/test_{name}.py" for name in ("model", "train", "loss")), "-k", "not interr"]
    run(Project(tmp_path / "new"), str(python), "-m", "pytest", *quick)
