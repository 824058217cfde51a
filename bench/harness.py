"""Print what five ways to run a notebook say of the same twelve: the harness's failure matrix.

A verdict is right if a notebook that failed is said to have failed, and one that did not is said
to have passed, with the parameters it was given. `–`: this way takes no parameters.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TEMPLATE / "tests"), str(TEMPLATE / "tests" / "conformance")]

from baking import bake  # noqa: E402
from cases import MATRIX, Case  # noqa: E402
from environment import Harness, build  # noqa: E402

Command = Callable[[Path, Case], list[str]]
PATIENCE_SECONDS = 60


def harness(notebook: Path, case: Case) -> list[str]:
    flags = [flag for text in case.parameters for flag in ("-p", text)]
    limit = ["--cell-limit", f"{case.limits['cell']}"] if "cell" in case.limits else []
    return ["-m", "harness", "run", notebook.name, "--output", "out", *flags, *limit]


def papermill(notebook: Path, case: Case) -> list[str]:
    flags = [flag for text in case.parameters for flag in ("-p", *text.split("="))]
    limit = ["--execution-timeout", f"{case.limits['cell']}"] if "cell" in case.limits else []
    return ["-m", "papermill", notebook.name, "out/case.ipynb", *flags, *limit]


def jupyter_execute(notebook: Path, case: Case) -> list[str]:
    limit = [f"--timeout={case.limits['cell']}"] if "cell" in case.limits else []
    return ["-m", "jupyter", "execute", notebook.name, "--output=out/case", *limit]


def nbconvert(notebook: Path, case: Case) -> list[str]:
    limit = case.limits.get("cell", -1)
    execute = ["--to", "notebook", "--execute", f"--ExecutePreprocessor.timeout={limit}"]
    return ["-m", "nbconvert", *execute, "--output", "out/case", notebook.name]


def nbmake(notebook: Path, case: Case) -> list[str]:
    limit = [f"--nbmake-timeout={case.limits['cell']}"] if "cell" in case.limits else []
    return ["-m", "pytest", "--nbmake", "-p", "no:cacheprovider", *limit, notebook.name]


WAYS: dict[str, tuple[Command, bool]] = {
    "harness": (harness, True),
    "papermill": (papermill, True),
    "jupyter execute": (jupyter_execute, False),
    "nbconvert": (nbconvert, False),
    "nbmake": (nbmake, False),
}
"""Each way's command, and whether it takes parameters."""


def verdict(way: str, case: Case, place: Harness) -> str:
    """Run a notebook and judge the judge."""
    command, takes_parameters = WAYS[way]
    if case.parameters and not takes_parameters:
        return "–"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = case.write(folder)
        (folder / "out").mkdir()
        arguments = [str(place.python), *command(notebook, case)]
        try:
            done = subprocess.run(
                arguments,
                cwd=folder,
                env=place.env,
                capture_output=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "✖ hangs"
        executed = folder / "out" / "case.ipynb"
        text = executed.read_text(encoding="utf-8") if executed.exists() else ""
    passed = done.returncode == 0
    right = passed == (case.fault is None) and (not passed or case.shows in text)
    return f"{'✔' if right else '✖'} {'passes' if passed else 'fails'}"


def main() -> None:
    """Print a row for each notebook; exit with an error if the harness is wrong about one."""
    with tempfile.TemporaryDirectory() as folder:
        place = build(Path(folder), bake(Path(folder)), "nbmake", "jupyter-core")
        print(f"{'':34}" + "".join(f"{way:17}" for way in WAYS))
        wrong = 0
        for case in MATRIX:
            verdicts = [verdict(way, case, place) for way in WAYS]
            print(f"{case.name:34}" + "".join(f"{each:17}" for each in verdicts), flush=True)
            wrong += not verdicts[0].startswith("✔")
    if wrong:
        sys.exit(f"The harness is wrong about {wrong} of {len(MATRIX)}.")


if __name__ == "__main__":
    main()
