"""Generated projects keep their promises: their own checks pass, untouched, on fresh output.

Slow: each builds an environment with TensorFlow and trains. `nox -s projects` runs them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from baking import CHOICES, TEMPLATE, Project
from baking import bake as bake_anew

pytestmark = pytest.mark.slow

PYTHONS = {
    runtime: (TEMPLATE / "templates/pins" / runtime / "python.txt").read_text().strip()
    for runtime in CHOICES["colab_runtime"]
}


TASKS, RUNTIMES = CHOICES["task"], CHOICES["colab_runtime"]
PAIRS = [
    (TASKS[number % len(TASKS)], RUNTIMES[number % len(RUNTIMES)])
    for number in range(max(len(TASKS), len(RUNTIMES)))
]
"""Each task and each runtime, once at least: all pairs would take twice as many minutes."""


def python_of(runtime: str) -> str:
    """Return the runtime's own Python; skip the test, saying so, where it is not at hand."""
    name = f"python{PYTHONS[runtime]}"
    found = shutil.which(name)
    # pyenv puts a file of this name on the path for every Python that it could offer.
    if found is None or subprocess.run([found, "--version"], capture_output=True).returncode:
        pytest.skip(f"{name}, the Python of Colab's runtime {runtime}, is not at hand")
    return found


def in_terminal(project: Project, *command: str | Path, **variables: str) -> str:
    """Run a command in the project, show what it prints, and demand that it succeeds."""
    done = project.run(*command, env=variables)
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, f"{command} exited with {done.returncode}"
    return done.stdout + done.stderr


def committed(project: Project) -> str:
    """Make a git repository of the project, unless it is one, and return its commit."""
    if not (project.path / ".git").exists():
        git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org"]
        in_terminal(project, "git", "init", "--quiet", "--initial-branch", "main")
        in_terminal(project, "git", "add", "--all")
        in_terminal(project, *git, "commit", "--quiet", "--message", "First version")
    return in_terminal(project, "git", "rev-parse", "HEAD").strip()


def tool(environment: Path, name: str) -> Path:
    return environment / ("Scripts" if sys.platform == "win32" else "bin") / name


def nox_with_uv(python: str, environment: Path) -> Path:
    """Install nox as the generated README says, under a certain Python, and return it."""
    nox = next(
        requirement
        for requirement in tomllib.loads((TEMPLATE / "pyproject.toml").read_text())[
            "dependency-groups"
        ]["projects"]
        if isinstance(requirement, str) and requirement.startswith("nox==")
    )
    uv = ["uv", "venv", "--quiet", "--python", python, str(environment)]
    subprocess.run(uv, check=True)
    install = ["uv", "pip", "install", "--quiet", "--python", str(tool(environment, "python"))]
    subprocess.run([*install, nox.replace("nox==", "nox[uv]==")], check=True)
    return tool(environment, "nox")


def record_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("task", "runtime"), PAIRS)
def test_a_fresh_project_passes_its_own_checks(task: str, runtime: str, tmp_path: Path) -> None:
    python = python_of(runtime)
    project = bake_anew(tmp_path, task=task, colab_runtime=runtime)
    printed = in_terminal(project, nox_with_uv(python, tmp_path / "nox"))
    for session in ("lint", "tests", "notebook"):
        assert f"* {session}: success" in printed
    record = record_in(project.path / "build/setup/runs/notebook")
    assert record["environment"]["python"].startswith(PYTHONS[runtime] + ".")
    assert record["pins"] == {"runtime": runtime, "differences": []}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Project, Path]]:
    """A project of each task and its Python, installed as its README says, with pip alone."""
    projects = {}
    for task in CHOICES["task"]:
        project = bake_anew(tmp_path_factory.mktemp(task), task=task)
        environment = project.path / ".venv"
        in_terminal(project, sys.executable, "-m", "venv", environment)
        python = tool(environment, "python")
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        in_terminal(project, *pip, "--requirement", "requirements-dev.txt")
        in_terminal(project, *pip, "--editable", ".")
        projects[task] = (project, python)
    return projects


@pytest.mark.parametrize(
    ("task", "flags", "accuracy"),
    [
        ("image", [], 0.97),
        ("text", [], 0.78),
    ],
)
def test_it_learns_real_data(
    installed: dict[str, tuple[Project, Path]], task: str, flags: list[str], accuracy: float
) -> None:
    project, python = installed[task]
    package = next((project.path / "src").iterdir()).name
    name = f"learns-{len(flags)}"
    in_terminal(project, python, "-m", package, "train", "--run-name", name, *flags)
    record = record_in(project.path / "runs" / name)
    assert record["metrics"]["test_accuracy"] >= accuracy
    assert [check for check in record["checks"] if check["status"] == "failed"] == []


def test_doctor_finds_an_installed_project_in_order(
    installed: dict[str, tuple[Project, Path]],
) -> None:
    project, python = installed["image"]
    found = json.loads(project.run(python, "-m", "handwritten_digits", "doctor", "--json").stdout)
    statuses = {check["name"]: check["status"] for check in found["checks"]}
    gpu = statuses.pop("gpu")
    assert statuses == {"environment": "passed", "pins": "passed"}
    assert gpu in ("passed", "skipped")  # by the machine


def test_the_notebook_opened_alone_fetches_its_project(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    revision = committed(project)
    alone = Project(tmp_path / "content")
    alone.path.mkdir()
    notebook = shutil.copy(project.path / "notebooks/setup.ipynb", alone.path)
    harness: list[str | Path] = [python, "-m", "harness", "run", notebook, "--output", tmp_path]
    parameters = {
        "epochs": 1,
        "repository": project.path.as_uri(),
        "persistent": tmp_path,
    }
    flags = [flag for name, value in parameters.items() for flag in ("-p", f"{name}={value}")]
    in_terminal(project, *harness, *flags)
    assert record_in(tmp_path / "runs/first")["git_revision"] == revision
    assert record_in(tmp_path / "runs/first")["project"] == project.path.name
    assert (alone.path / project.path.name / "src").is_dir()


def test_on_kaggle_results_are_kept_and_the_code_is_not(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    committed(project)
    working, temporary = tmp_path / "machine/kaggle/working", tmp_path / "temporary"
    for folder in (working, temporary):
        folder.mkdir(parents=True)
    notebook = shutil.copy(project.path / "notebooks/setup.ipynb", working)
    harness: list[str | Path] = [python, "-m", "harness", "run", notebook, "--output", tmp_path]
    parameters = {"epochs": 1, "repository": project.path.as_uri(), "benchmark_scale": 0.01}
    flags = [flag for name, value in parameters.items() for flag in ("-p", f"{name}={value}")]
    in_terminal(
        project,
        *harness,
        *flags,
        SIMULATED_MACHINE=str(tmp_path / "machine"),
        KAGGLE_KERNEL_RUN_TYPE="Batch",
        COLAB_RELEASE_TAG="release-colab",  # Kaggle's images derive from Colab's
        TMPDIR=str(temporary),
    )
    record = record_in(working / "runs/first")
    assert record["environment"]["where"] == "kaggle"
    statuses = {check["name"]: check["status"] for check in record["checks"]}
    assert statuses["drive"] == "skipped"
    assert statuses["model"] == "passed"
    assert sorted(path.name for path in working.iterdir()) == ["runs", "setup.ipynb"]
    assert (temporary / project.path.name / "src").is_dir()


@pytest.mark.parametrize(
    ("answers", "given", "wanted"),
    [
        ({}, [], {"id": "your-github-name/handwritten-digits", "machine_shape": "NvidiaTeslaT4"}),
        ({"accelerator": "CPU"}, ["Me"], {"id": "me/handwritten-digits", "enable_gpu": False}),
        ({"project_slug": "a_b"}, [], {"id": "your-github-name/a-b-notebook"}),
    ],
)
def test_nox_writes_what_kaggle_wants_to_know(
    tmp_path: Path, answers: dict[str, str], given: list[str], wanted: dict[str, Any]
) -> None:
    project = bake_anew(tmp_path, **answers)
    in_terminal(project, sys.executable, "-m", "nox", "-s", "kaggle", "--", *given)
    metadata = json.loads(project.read("notebooks/kernel-metadata.json"))
    assert wanted.items() <= metadata.items()
    assert metadata["id"].endswith("/" + metadata["title"])  # Kaggle derives one from the other
    assert len(metadata["title"]) >= 5
    assert (project.path / "notebooks" / metadata["code_file"]).is_file()
    assert metadata["enable_internet"] is True


def test_in_colab_the_machine_is_given_back_when_all_of_it_is_on_drive(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    committed(project)
    simulate = (
        "import json, sys; from pathlib import Path; from harness.colab import new_machine;"
        "machine = new_machine(Path(sys.argv[1]));"
        "machine.open(Path('notebooks/setup.ipynb')); print(json.dumps(machine.variables))"
    )
    variables = json.loads(in_terminal(project, python, "-c", simulate, tmp_path))
    machine = Path(variables["SIMULATED_MACHINE"])
    notebook = machine / "content/setup.ipynb"
    parameters = {"epochs": 1, "repository": project.path.as_uri(), "disconnect": True}
    flags = [flag for name, value in parameters.items() for flag in ("-p", f"{name}={value}")]
    harness: list[str | Path] = [python, "-m", "harness", "run", notebook, "--output", tmp_path]
    printed = in_terminal(project, *harness, *flags, **variables)
    assert "All of it is on Drive" in printed
    assert (machine / "unassigned").exists()
    kept = Path(variables["SIMULATED_DRIVE"]) / project.path.name / "runs/first"
    assert record_in(kept)["environment"]["where"] == "colab"
    assert (kept / "model.keras").exists()
