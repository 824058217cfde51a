"""A template and projects on Windows and macOS, as far as that can be forced on this machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import baking
import pytest
import yaml
from baking import TEMPLATE, Bake, Project

LIBRARY = TEMPLATE / "library/src"
GIT = (
    "git",
    "-c",
    "core.autocrlf=true",
    "-c",
    "core.longpaths=true",
    "-c",
    "user.name=Test",
    "-c",
    "user.email=a@b",
)


def git(place: Path, *arguments: str | Path) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=place, capture_output=True, check=True)
    return done.stdout.decode()


def checked_out_on_windows(source: Path, copy: Path) -> None:
    """Commit a directory, and check it out as Git for Windows does unless it is told otherwise."""
    git(source, "init", "--quiet")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "First")
    git(source, "clone", "--quiet", source, copy)


@pytest.fixture(scope="module")
def windows(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A project; and what Windows has of it, in a directory that is not easy to take."""
    place = tmp_path_factory.mktemp("checkout")
    shutil.copytree(bake().path, place / "source")
    copy = place / "Größe und Wärme" / "мои данные"
    copy /= "x" * max(1, 200 - len(str(copy)))
    checked_out_on_windows(place / "source", copy)
    return Project(place / "source"), Project(copy)


def test_what_is_hashed_or_compared_has_the_same_bytes_in_every_checkout(
    windows: tuple[Project, Project],
) -> None:
    source, copy = windows
    changed = {
        Path(name).suffix
        for name in source.files()
        if not name.startswith(".git/")
        and (source.path / name).read_bytes() != (copy.path / name).read_bytes()
    }
    assert ".py" in changed  # or nothing was forced
    assert changed & {".whl", ".ipynb", ".txt"} == set()
    assert git(copy.path, "status", "--porcelain") == ""


def test_such_a_checkout_passes_the_lint(windows: tuple[Project, Project]) -> None:
    _, copy = windows
    env = {"PYTHONPATH": os.pathsep.join([str(LIBRARY), os.environ.get("PYTHONPATH", "")])}
    for command in (
        ("ruff", "format", "--diff", "."),
        ("ruff", "check", "."),
        ("exactrun", "notebook", "lint", "notebooks/"),
    ):
        done = copy.run(sys.executable, "-m", *command, env=env)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_the_command_line_ends_on_no_sign_that_the_console_lacks(
    encoding: str, windows: tuple[Project, Project]
) -> None:
    _, copy = windows
    code = (
        "import handwritten_digits.__main__ as line\n"
        "line.predict = lambda **settings: print('✔ Größe: жар 98 %') or 0\n"
        "line.main(['predict', 'a.png']); line.main(['train', '--help'])"
    )
    env = os.environ | {"PYTHONIOENCODING": encoding}
    env["PYTHONPATH"] = os.pathsep.join(["src", str(LIBRARY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=copy.path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b": ??? 98 %" in done.stdout
    shown = b" ".join(done.stdout.split())
    assert b"what a lost session can cost" in shown  # read from the comments of config.py


def test_a_template_that_windows_checks_out_generates_the_same_project(
    bake: Bake, tmp_path: Path
) -> None:
    shutil.copytree(
        TEMPLATE,
        tmp_path / "source",
        ignore=lambda place, names: (
            set(names)
            - {"cookiecutter.json", "hooks", "templates", baking.PROJECT_FOLDER}
            - {".gitattributes"}
            if Path(place) == TEMPLATE
            else {"__pycache__"} & set(names)
        ),
    )
    checked_out_on_windows(tmp_path / "source", tmp_path / "template")
    project = baking.bake(tmp_path, template=tmp_path / "template")
    assert project.files() == bake().files()
    for name in project.files():
        assert (project.path / name).read_bytes() == (bake().path / name).read_bytes(), name


def test_ci_runs_on_three_systems_what_the_project_has(bake: Bake) -> None:
    project = bake()
    job = yaml.safe_load(project.read(".github/workflows/ci.yml"))["jobs"]["check"]
    matrix = {each["system"]: each["sessions"] for each in job["strategy"]["matrix"]["include"]}
    assert set(matrix) == {"ubuntu-latest", "windows-latest", "macos-latest"}
    default = re.findall(r"^@nox\.session\ndef (\w+)", project.read("noxfile.py"), re.M)
    assert matrix["ubuntu-latest"].split() == default
    assert {name for names in matrix.values() for name in names.split()} <= set(default)


@pytest.mark.skipif(sys.platform == "win32", reason="this step is one of Linux")
def test_the_summary_of_the_job_shows_the_reports_head_and_the_way_to_it(
    bake: Bake, tmp_path: Path
) -> None:
    job = yaml.safe_load(bake().read(".github/workflows/ci.yml"))["jobs"]["check"]
    (script,) = [step["run"] for step in job["steps"] if "SUMMARY" in step.get("run", "")]
    code = (
        "import nbformat.v4 as v4, nbformat; from exactrun.notebooks import run_notebook\n"
        "nbformat.write(v4.new_notebook(cells=[v4.new_code_cell('1')]), 'setup.ipynb')\n"
        "run_notebook('setup.ipynb')"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(LIBRARY), os.environ.get("PYTHONPATH", "")])}
    env |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "PAGE": "https://page"}
    place, python = Project(tmp_path), tmp_path / ".nox/notebook/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for command in ((python, "-c", code), ("bash", "-e", "-c", script)):
        done = place.run(*command, env=env)
        assert done.returncode == 0, done.stderr
    said = (tmp_path / "summary").read_text(encoding="utf-8")
    assert said.startswith("### ✔ setup: Passed: 1 of 1 cells executed")
    assert said.endswith("[The whole report, with its pictures](https://page)\n")
