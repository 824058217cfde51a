{% set python %}{% include "pins/" ~ cookiecutter.colab_runtime ~ "/python.txt" %}{% endset %}
"""The project's chores; `nox` alone checks everything, `nox --list` names them all."""

import json
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"

PACKAGE = "{{ cookiecutter.__package }}"
COLAB_PYTHON = "{{ python | trim }}"


def prepare(session: nox.Session) -> None:
    """Install what the notebook has in Colab, the tools, and the project itself."""
    session.install("--require-hashes", "--requirement", "requirements-dev.txt")
    session.install("--no-deps", "--editable", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, types and notebooks; `-- --fix` mends what can be mended."""
    tools = ["ipython", "jsonschema", "mypy", "nbformat", "ruff"]
    session.install("--constraint", "requirements-dev.txt", *tools)
    fix = "--fix" in session.posargs
    session.run("ruff", "format", *([] if fix else ["--diff"]), ".")
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("mypy")
    session.run("python", "-m", "harness.lint", *(["--clean"] if fix else []), "notebooks/")


@nox.session(name="notebook-clean", default=False)
def notebook_clean(session: nox.Session) -> None:
    """Take out of the notebooks what running them put in: outputs, counts, tools' metadata."""
    session.install("--constraint", "requirements-dev.txt", "ipython", "jsonschema", "nbformat")
    session.run("python", "-m", "harness.lint", "--clean", "notebooks/")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of the package; the notebook has a session of its own."""
    prepare(session)
    session.run("pytest", "-m", "not notebook", *session.posargs)


@nox.session
def notebook(session: nox.Session) -> None:
    """Execute every notebook and check what it recorded; the reports land in build/."""
    prepare(session)
    try:
        session.run("pytest", "-m", "notebook", *session.posargs)
    finally:
        session.run("python", "-m", "harness", "index", "build")


@nox.session(default=False, python=COLAB_PYTHON)
def colab(session: nox.Session) -> None:
    """Execute the notebook as in Colab, on its Python, and see that it changes no package."""
    session.install("--require-hashes", "--requirement", "requirements-dev.txt")
    session.install("pip==24.1.2")  # Colab's: by it the notebook installs what it lacks
    before = session.run("python", "-m", "pip", "freeze", silent=True)
    same = "tests/test_notebook.py::test_simulated_colab_ends_with_the_same_weights"
    session.run("pytest", same, *session.posargs)
    after = session.run("python", "-m", "pip", "freeze", silent=True)
    if changed := sorted({*before.splitlines()} ^ {*after.splitlines()}):
        session.error(f"The notebook changed what was installed: {', '.join(changed)}")


@nox.session(default=False)
def drift(session: nox.Session) -> None:
    """Name the packages that Colab has moved since; `-- FREEZE` compares with another freeze."""
    session.install("--constraint", "requirements-dev.txt", "packaging")
    session.run("python", "-m", "harness.drift", *session.posargs)


@nox.session(default=False)
def torture(session: nox.Session) -> None:
    """Kill a training of your model again and again: `nox -s torture -- --kills 50`."""
    prepare(session)
    session.run("pytest", "-s", "tests/test_training.py", "-k", "killed", *session.posargs)


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train without a notebook: `nox -s train -- --epochs 20`."""
    prepare(session)
    session.run("python", "-m", PACKAGE, "train", *session.posargs)


@nox.session(default=False, venv_backend="none")
def kaggle(session: nox.Session) -> None:
    """Write what `kaggle kernels push -p notebooks` needs; `-- NAME` if Kaggle knows you by it."""
    owner = session.posargs[0] if session.posargs else "{{ cookiecutter.github_owner }}"
{% set short = cookiecutter.project_slug | length < 5 %}
    name = "{{ cookiecutter.project_slug | replace("_", "-") }}{{ "-notebook" if short }}"
    metadata = {
        "id": f"{owner.lower()}/{name}",
        "title": name,  # Kaggle makes the address of it
        "code_file": "setup.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_internet": True,  # the notebook fetches its project
{% if cookiecutter.accelerator != "CPU" %}
        "enable_gpu": True,
        "machine_shape": "NvidiaTeslaT4",
{% else %}
        "enable_gpu": False,
{% endif %}
        "dataset_sources": [],
        "competition_sources": [],
        "kernel_sources": [],
    }
    file = Path("notebooks") / "kernel-metadata.json"
    file.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    session.log(f"{file} is written; next: pip install kaggle && kaggle kernels push -p notebooks")
