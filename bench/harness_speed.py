"""Measure what the harness adds to a notebook: `python bench/harness_speed.py PROJECT`.

Run by a generated project's own Python. The project's notebook, as `nox -s demo` executes it, is
executed by the harness and its code run as a plain script, both as commands, in turn; and a
notebook of one small cell is executed in a process that has executed another before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

RATIO_LIMIT, TRIVIAL_LIMIT = 1.10, 1.5
DEMO = {"run_name": "demo"}


def seconds_of(command: Sequence[str | Path], folder: Path) -> float:
    """Return how long a command took; it must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\n{command} failed.")
    return time.perf_counter() - started


def demo_ratio(project: Path, pairs: int) -> float:
    """Return the median of what the harness took, as a multiple of what the script took."""
    notebook = project / "notebooks" / "setup.ipynb"
    ratios = []
    for pair in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            took = {}
            for way in ("script", "harness") if pair % 2 else ("harness", "script"):
                values = DEMO | {"persistent": str(folder / way)}
                if way == "script":
                    content = load_notebook_node(str(notebook))
                    language = {"kernel_name": "python3", "language": "python"}
                    content = parameterize_notebook(content, values, **language)
                    cells = [cell.source for cell in content.cells if cell.cell_type == "code"]
                    script = folder / "script.py"
                    # What a kernel has without an import.
                    cells = ["from IPython.display import display", *cells]
                    script.write_text("\n\n".join(cells), encoding="utf-8")
                    took[way] = seconds_of([sys.executable, script], notebook.parent)
                else:
                    flags = [f"-p{name}={value}" for name, value in values.items()]
                    run = [sys.executable, "-m", "harness", "run", notebook, "--quiet"]
                    took[way] = seconds_of([*run, "--output", folder / "out", *flags], project)
            ratios.append(took["harness"] / took["script"])
            print("  " + ", ".join(f"{way} {took[way]:.1f} s" for way in sorted(took)), flush=True)
    return statistics.median(ratios)


def trivial_seconds(project: Path, times: int) -> float:
    """Return the median time of executing a notebook of one cell in a warm process."""
    sys.path.insert(0, str(project))
    from harness.notebooks import run

    taken = []
    with tempfile.TemporaryDirectory() as name:
        notebook = Path(name) / "trivial.ipynb"
        content = new_notebook(cells=[new_code_cell("print('done')")])
        content.metadata = {
            "kernelspec": {"name": "python3", "display_name": "Python 3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(content, notebook)
        for _ in range(times + 1):
            started = time.perf_counter()
            run(notebook, output=Path(name) / "out", parameters={})
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    """Print both figures; exit with an error if one is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    project = options.project.resolve()
    trivial = trivial_seconds(project, times=7)
    print(f"A notebook of one cell, warm: {trivial:.2f} s (limit {TRIVIAL_LIMIT})", flush=True)
    ratio = demo_ratio(project, options.pairs)
    print(f"The demo's notebook against a plain script: {ratio:.2f} × (limit {RATIO_LIMIT})")
    if trivial > TRIVIAL_LIMIT or ratio > RATIO_LIMIT:
        sys.exit("The harness takes too long.")


if __name__ == "__main__":
    main()
