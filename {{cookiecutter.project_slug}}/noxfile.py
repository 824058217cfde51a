"""The project's chores; `nox` alone checks everything, `nox --list` names them all."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"

PACKAGE = "{{ cookiecutter.__package }}"


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


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of the package; the notebook has a session of its own."""
    prepare(session)
    session.run("pytest", "-m", "not notebook", *session.posargs)


@nox.session
def notebook(session: nox.Session) -> None:
    """Execute the notebook and check what it recorded; the report lands in build/."""
    prepare(session)
    session.run("pytest", "-m", "notebook", *session.posargs)
    session.run("python", "-m", "harness", "index", "build")


@nox.session(default=False)
def torture(session: nox.Session) -> None:
    """Kill a training of your model again and again: `nox -s torture -- --kills 50`."""
    prepare(session)
    session.run("pytest", "-s", "-k", "killed", *session.posargs)


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train without a notebook: `nox -s train -- --epochs 20`."""
    prepare(session)
    session.run("python", "-m", PACKAGE, "train", *session.posargs)
