"""The project's chores; `nox` alone checks everything, `nox --list` names them all."""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"

PACKAGE = "{{ cookiecutter.__package }}"


def install(session: nox.Session) -> None:
    """Install what the notebook has in Colab, the tools, and the project itself."""
    session.install("--require-hashes", "--requirement", "requirements-dev.txt")
    session.install("--no-deps", "--editable", ".")


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and notebooks; `-- --fix` fixes what can be fixed."""
    install(session)
    fix = "--fix" in session.posargs
    session.run("ruff", "format", *([] if fix else ["--diff"]), ".")
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("python", "-m", "exactrun", "notebook", "clean" if fix else "lint", "notebooks/")


@nox.session
def tests(session: nox.Session) -> None:
    """Test data, model and training."""
    install(session)
    session.run("pytest", "--ignore", "tests/test_notebook.py", *session.posargs)


@nox.session
def notebook(session: nox.Session) -> None:
    """Execute the notebook on a simulated Colab and test what it did; its report is in build/."""
    install(session)
    session.run("pytest", "tests/test_notebook.py", *session.posargs)


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train without a notebook: `nox -s train -- --run-name longer --epochs 20`."""
    install(session)
    session.run("python", "-m", PACKAGE, "train", *session.posargs)


@nox.session(default=False)
def add(session: nox.Session) -> None:
    """Add libraries under Colab's versions: `nox -s add -- NAME…`."""
    change_pins(session, "add")


@nox.session(default=False)
def remove(session: nox.Session) -> None:
    """Take libraries out again: `nox -s remove -- NAME…`."""
    change_pins(session, "remove")


@nox.session(default=False)
def move(session: nox.Session) -> None:
    """Bring pins, Python and notebooks to another runtime of Colab: `nox -s move -- 2026.07`."""
    change_pins(session, "move")


def change_pins(session: nox.Session, command: str) -> None:
    install(session)
    session.install("uv")
    session.run("python", "-m", "exactrun", "pins", command, *session.posargs)


@nox.session(name="crash-test", default=False)
def crash_test(session: nox.Session) -> None:
    """Kill a training of your model again and again; demand an unbroken one's weights."""
    install(session)
    training = ("python", "-m", PACKAGE, "train", "--epochs", "1", "--save-interval-secs", "0")
    session.run("python", "-m", "exactrun", "crash-test", *session.posargs, "--", *training)
