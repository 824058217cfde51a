"""Compare ways to run a notebook: what they say of all the tests' cases, and how long they take.

A verdict is right if a notebook that failed is said to have failed, and one that did not is said
to have passed, with the parameters it was given. `–`: this way takes no parameters. Times are of
commands, made in turn; what counts is the median of the pairs' ratios.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
from idle import require_idle
from nbformat.v4 import new_code_cell, new_notebook

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library" / "tests" / "notebooks"))

from notebook_cases import MATRIX, MORE, Case
from right_notebooks import RIGHT
from wrong_notebooks import WRONG

CASES = [case for case in (*MATRIX, *MORE, *RIGHT, *WRONG) if case.kernel == "python3"]
"""Notebooks, and what is right to say of each; without those whose kernels are only the tests'."""

FLAGS = {"cell": "--cell-limit", "notebook": "--limit", "memory": "--memory-limit"}

Command = Callable[[Path, Case], list[str]]
PATIENCE_SECONDS = 60
PAIRS = 7
LIMITS = {"papermill": 1.0, "papermill and nbconvert": 0.7}
"""What ours may take, with its report, as a multiple; the goals of the runner's next edition."""


def exactrun(notebook: Path, case: Case) -> list[str]:
    flags = [flag for text in case.parameters for flag in ("-p", text)]
    given = {name: value / (1e9 if name == "memory" else 1) for name, value in case.limits.items()}
    limit = [text for name, value in given.items() for text in (FLAGS[name], f"{value}")]
    return ["-m", "exactrun", "notebook", "run", notebook.name, "--output", "out", *flags, *limit]


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
    # It writes the executed notebook over the one that it is given: a copy, where the others write.
    executed = Path(shutil.copy(notebook, notebook.parent / "out" / "case.ipynb"))
    return [
        "-m",
        "pytest",
        "--nbmake",
        "--overwrite",
        "-p",
        "no:cacheprovider",
        *limit,
        str(executed),
    ]


WAYS: dict[str, tuple[Command, bool]] = {
    "exactrun": (exactrun, True),
    "papermill": (papermill, True),
    "jupyter execute": (jupyter_execute, False),
    "nbconvert": (nbconvert, False),
    "nbmake": (nbmake, False),
}
"""Each way's command, and whether it takes parameters."""


def verdict(way: str, case: Case) -> str:
    """Run a notebook and judge the judge."""
    command, takes_parameters = WAYS[way]
    if case.parameters and not takes_parameters:
        return "–"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        notebook = case.write(directory)
        (directory / "out").mkdir()
        try:
            done = subprocess.run(
                [sys.executable, *command(notebook, case)],
                cwd=directory,
                capture_output=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "✖ hangs"
        executed = directory / "out" / "case.ipynb"
        # As JSON, in which a text is whole: in the file it is a list of lines.
        text = (
            json.dumps(nbformat.read(executed, 4), ensure_ascii=False) if executed.exists() else ""
        )
    passed = done.returncode == 0
    right = passed == (case.fault is None) and (not passed or case.shows in text)
    return f"{'✔' if right else '✖'} {'passes' if passed else 'fails'}"


def print_matrix() -> int:
    """Print a row for each notebook; return of how many ours says what is wrong."""
    print(f"{'':62}" + "".join(f"{way:17}" for way in WAYS))
    wrong = 0
    for case in CASES:
        verdicts = [verdict(way, case) for way in WAYS]
        print(f"{case.name:62}" + "".join(f"{each:17}" for each in verdicts), flush=True)
        wrong += not verdicts[0].startswith("✔")
    return wrong


def print_times() -> None:
    """Print how long a notebook of one cell takes, ours with its report."""
    commands = {
        "exactrun": [exactrun],
        "papermill": [papermill],
        "papermill and nbconvert": [papermill, lambda n, c: HTML],
    }
    case = Case(name="one cell", cells=(), tagged=True)
    taken: dict[str, list[float]] = {way: [] for way in commands}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        notebook = directory / "case.ipynb"
        content = new_notebook(cells=[new_code_cell("print('done')")])
        content.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(content, notebook)
        (directory / "out").mkdir()
        for number in range(PAIRS + 1):
            ways = list(commands)
            for way in ways[number % 3 :] + ways[: number % 3]:  # each round begins with another
                started = time.perf_counter()
                for command in commands[way]:
                    call = [sys.executable, *command(notebook, case)]
                    subprocess.run(call, cwd=directory, capture_output=True, check=True)
                if number:  # the first round fills the caches
                    taken[way].append(time.perf_counter() - started)
    for way, times in taken.items():
        pairs = zip(taken["exactrun"], times, strict=True)
        ratio = statistics.median(ours / other for ours, other in pairs)
        limit = f"   limit {LIMITS[way]:g}" if way in LIMITS else ""
        print(f"{way:<25} {statistics.median(times):5.2f} s   ours: {ratio:4.2f} ×{limit}")


HTML = ["-m", "nbconvert", "--to", "html", "out/case.ipynb"]


def main() -> None:
    """Print both; exit with an error if ours is wrong about one of the cases."""
    require_idle()
    wrong = print_matrix()
    print()
    print_times()
    if wrong:
        sys.exit(f"exactrun is wrong about {wrong} of {len(CASES)}.")


if __name__ == "__main__":
    main()
