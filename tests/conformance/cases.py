"""Small notebooks, and what a harness must say of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TAGS_LINE = "# tags: "
PARAMETERS = "steps = 3\nfast = False\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A notebook and the right verdict.

    Attributes:
        name: What it is about.
        cells: Sources of its code cells, after the one with the parameters; a first line
            `# tags: …` gives the cell a tag.
        fault: Pattern of what a failure must say; None if the notebook must pass.
        shows: Text that the executed notebook must hold, whatever the verdict.
        hides: Text that it must not hold.
        limits: What the run may take.
        parameters: `name=value` texts.
        tagged: Whether a cell is tagged `parameters`.
        kernel: Name of its kernel.
    """

    name: str
    cells: tuple[str, ...]
    fault: str | None = None
    shows: str = ""
    hides: str = "never-shown"
    limits: Mapping[str, float] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    tagged: bool = True
    kernel: str = "python3"

    def write(self, folder: Path) -> Path:
        """Write the notebook and return its path."""
        tags = {"tags": ["parameters"]} if self.tagged else {}
        cells = [
            new_markdown_cell("# A title"),
            new_code_cell(PARAMETERS, metadata=tags),
            new_markdown_cell("## The part"),
        ]
        for source in self.cells:
            first, _, rest = source.partition("\n")
            tagged = first.startswith(TAGS_LINE)
            metadata = {"tags": [first.removeprefix(TAGS_LINE)]} if tagged else {}
            cells.append(new_code_cell(rest if tagged else source, metadata=metadata))
        notebook = new_notebook(cells=cells)
        notebook.metadata = {
            "kernelspec": {"name": self.kernel, "display_name": "Python 3"},
            "language_info": {"name": "python"},
        }
        path = folder / "case.ipynb"
        nbformat.write(notebook, path)
        return path


# How the usual runners miss failures: the twelve rows that were measured.
MATRIX = [
    Case(
        name="exception",
        cells=("print('so far')", "1 / 0", "'never-shown'"),
        fault=r"cell 3 of 4 \(The part\): ZeroDivisionError: division by zero",
        shows="so far",
    ),
    Case(
        name="kernel killed",
        cells=("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "1"),
        fault=r"cell 2 of 3 \(The part\): the kernel was ended by SIGKILL, .* memory",
    ),
    Case(
        name="cell timeout",
        cells=("import time\nprint('so far', flush=True)\ntime.sleep(60)",),
        limits={"cell": 1},
        fault=r"cell 2 of 2 .*: it took longer than the limit of 1 s for a cell",
        shows="so far",
    ),
    Case(
        name="sys.exit(0) mid-notebook",
        cells=("import sys\nsys.exit(0)", "'never-shown'"),
        fault=r"cell 2 of 3 .*: SystemExit: 0",
    ),
    Case(
        name="!exit 3, !pip install missing",
        cells=("!exit 3\n!true", "1"),
        fault=r"cell 2 of 3 .*: the command 'exit 3' ended with exit status 3\. .* `command \|\|",
    ),
    Case(
        name="%pip install missing",
        cells=("%pip install --no-index --quiet there-is-no-such-package",),
        fault=r"cell 2 of 2 .*: the command .*there-is-no-such-package' ended with exit status 1",
    ),
    Case(
        name="%run bad.py, %%capture + raise",
        cells=("open('bad.py', 'w').write('1 / 0')", "%run bad.py"),
        fault=r"cell 3 of 3 .*: ZeroDivisionError",
    ),
    Case(
        name="exception in a thread",
        cells=(
            "import threading, time\n"
            "def load():\n    time.sleep(0.3)\n    raise OSError('no data')\n"
            "threading.Thread(target=load, name='loader').start()",
        ),
        fault=r"cell 2 of 2 .*: thread loader died of OSError: no data",
    ),
    Case(
        name="unknown parameter -p typo 1",
        cells=("1",),
        parameters=("step=1",),
        fault=r"no parameter step\. Did you mean steps\? It has: steps, fast",
    ),
    Case(
        name="no cell tagged parameters",
        cells=("1",),
        tagged=False,
        parameters=("steps=1",),
        fault="0 cells tagged 'parameters'",
    ),
    Case(
        name="-p flag true for a bool",
        cells=("print('flag', fast is True)",),
        parameters=("fast=true",),
        shows="flag True",
    ),
    Case(
        name="-p steps abc for an int",
        cells=("1",),
        parameters=("steps=abc",),
        fault="steps=abc: 'abc' is not of type int",
    ),
]
