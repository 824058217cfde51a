"""Small notebooks, and what must be said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TAGS_LINE = "# tags: "
IMP = "open('imp.py', 'w').write('from importlib import reload')"
"""What IPython 7's %autoreload lacks on Python 3.12 and later."""

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
        cut: Whether a part of its outputs is left out, under the limit of the tests.
        limits: What the run may take.
        parameters: `name=value` texts.
        tagged: Whether a cell is tagged `parameters`.
        declares: Source of the cell with the parameters.
        above: Sources of cells above that one.
        kernel: Name of its kernel.
    """

    name: str
    cells: tuple[str, ...]
    fault: str | None = None
    shows: str = ""
    hides: str = "never-shown"
    cut: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    tagged: bool = True
    declares: str = PARAMETERS
    above: tuple[str, ...] = ()
    kernel: str = "python3"

    def write(self, directory: Path) -> Path:
        """Write the notebook and return its path."""
        tags = {"tags": ["parameters"]} if self.tagged else {}
        cells = [
            new_markdown_cell("# A title"),
            *map(new_code_cell, self.above),
            new_code_cell(self.declares, metadata=tags),
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
        path = directory / "case.ipynb"
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
        fault=r"no parameter step\. Did you mean steps\? There is: steps, fast",
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

# Failures beyond those, and what is none.
MORE = [
    Case(
        name="no parameters, and none given",
        cells=("print('do', 'ne')",),
        tagged=False,
        shows="do ne",
    ),
    Case(name="nothing wrong", cells=("print('steps', steps)",), shows="steps 3"),
    Case(
        name="a parameter given",
        cells=("print('steps', steps)",),
        parameters=("steps=007",),
        shows="steps 7",
    ),
    Case(name="an exception under %%capture", cells=("%%capture\n1 / 0",), fault="ZeroDivision"),
    Case(name="a syntax error", cells=("def",), fault="SyntaxError"),
    Case(
        name="exit()", cells=("exit()", "1"), fault=r"cell 2 of 3 .*: it ended the kernel by exit"
    ),
    Case(
        name="os._exit(0)",
        cells=("import os\nos._exit(0)", "1"),
        fault=r"cell 2 of 3 .*: the kernel exited with status 0",
    ),
    Case(
        name="os._exit(0) in the last cell",
        cells=("import os\nos._exit(0)",),
        fault=r"cell 2 of 2 .*: the kernel exited with status 0",
    ),
    Case(
        name="a crash in C",
        cells=("import ctypes\nctypes.string_at(0)",),
        fault="the kernel was ended by SIGSEGV",
    ),
    Case(
        name="a failed command whose output is assigned",
        # What `lines = !…` becomes; IPython 7 itself can't read that under Python 3.12 and later.
        cells=("lines = get_ipython().getoutput('echo seen; exit 4')\nprint(lines)",),
        fault="exit status 4",
        shows="seen",
    ),
    Case(
        name="a failed command in a function, with a variable of it",
        cells=("def go():\n    status = 5\n    !exit {status}\ngo()",),
        fault="'exit 5' ended with exit status 5",
    ),
    Case(
        name="a failed command in a cell that may raise",
        cells=("# tags: raises-exception\n!exit 6\n1 / 0",),
        fault="exit status 6",
    ),
    Case(name="a command that may fail", cells=("!false || true",)),
    Case(name="a failed %%bash", cells=("%%bash\nexit 3",), fault="CalledProcessError"),
    Case(
        name="an exception that is meant",
        cells=("# tags: raises-exception\n1 / 0", "print('after')"),
        shows="after",
    ),
    Case(
        name="a cell tagged to be skipped",
        cells=("# tags: skip-execution\n'never-shown'", "1"),
        fault=r"cell 2 of 3 .*: it was not executed",
    ),
    Case(
        name="an error that was shown and cleared",
        cells=(
            "open('bad.py', 'w').write('1 / 0')",
            "from IPython.display import clear_output\n%run bad.py\nclear_output()",
        ),
        fault=r"cell 3 of 3 .*: ZeroDivisionError",
    ),
    Case(
        name="what runs commands was replaced",
        cells=("import os\nget_ipython().system = os.system\n!exit 3",),
        fault=r"get_ipython\(\)\.system was replaced",
    ),
    Case(
        name="a way of its own to show lists",
        cells=(
            "shown = get_ipython().display_formatter.formatters['text/plain']\n"
            "shown.for_type(list, lambda value, printer, cycle: printer.text(' '.join(value)))",
            "!exit 3",
        ),
        fault="exit status 3",
    ),
    Case(name="everything deleted", cells=("%reset -f", "!exit 3"), fault="exit status 3"),
    Case(
        name="a thread of another kind",
        cells=(
            "import _thread, time\ndef load():\n    raise OSError('no data')\n"
            "_thread.start_new_thread(load, ())\ntime.sleep(0.3)",
        ),
        fault="a thread died of OSError: no data",
    ),
    Case(
        name="a task that died unseen",
        cells=(
            "import asyncio\nasync def load():\n    raise OSError('no data')\n"
            "asyncio.create_task(load())\nawait asyncio.sleep(0.1)",
        ),
        fault="a task of asyncio died of OSError: no data",
    ),
    Case(
        name="a task that was waited for",
        cells=(
            "import asyncio\nasync def load():\n    raise OSError('no data')\n"
            "await asyncio.gather(load(), return_exceptions=True)",
        ),
    ),
    Case(
        name="threads that end well",
        cells=(
            "import sys, threading\n"
            "from concurrent.futures import ThreadPoolExecutor\n"
            "threading.Thread(target=sys.exit).start()\n"
            "pool = ThreadPoolExecutor(1)\npool.submit(print)",
        ),
    ),
    Case(
        name="the whole over its time",
        cells=("import time", "time.sleep(60)"),
        limits={"notebook": 9, "cell": 30},  # of which starting takes 6 on a busy machine
        fault=r"cell 3 of 3 .*: the notebook took longer than its limit of 9 s",
    ),
    Case(
        name="outputs without end",
        cells=("from IPython.display import display\nwhile True:\n    display(1)",),
        limits={"cell": 2},
        fault="longer than the limit of 2 s",
    ),
    Case(
        name="a command that waits for input",
        cells=("!cat",),
        limits={"cell": 2},
        fault="longer than the limit of 2 s",
    ),
    Case(
        name="a kernel that was stopped",
        cells=("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",),
        limits={"cell": 2},
        fault="longer than the limit of 2 s",
    ),
    Case(name="input()", cells=("input('name? ')",), fault="does not support input"),
    Case(
        name="too much memory",
        cells=("import time\nzeros = b'1' * 500_000_000\ntime.sleep(60)",),
        limits={"memory": 400e6},
        fault=r"cell 2 of 2 .*: it used 0\.\d GB of memory, over its 0\.4 GB",
    ),
    Case(
        name="workers that share memory",
        cells=(
            "import os, time\nshared = bytearray(b'1') * 200_000_000\n"
            "for _ in range(4):\n    if os.fork() == 0:\n        time.sleep(3)\n"
            "        os._exit(0)\ntime.sleep(2.5)",
        ),
        limits={"memory": 600e6},
    ),
    Case(
        name="deep recursion", cells=("def f(n):\n    return f(n + 1) + 1\nf(0)",), fault="Recurs"
    ),
    Case(
        name="5 MB of lines",
        cells=("for _ in range(50_000):\n    print('x' * 99)\nprint('the', 'end')",),
        shows="xxx\\nthe end",
        hides="left out",
    ),
    Case(
        name="5 MB in one line",
        cells=("print('x' * 5_000_000)\nprint('the', 'end')",),
        shows="the end",
        hides="left out",
    ),
    Case(
        name="5 MB of lines, each sent by itself",  # ZeroMQ drops the 1,001st that waits
        cells=("for _ in range(3_000):\n    print('x' * 1_700, flush=True)\nprint('the', 'end')",),
        limits={"cell": 120},
        shows="the end",
    ),
    Case(
        name="10 MB of lines",
        cells=("for _ in range(100_000):\n    print('x' * 99)\nprint('the', 'end')",),
        shows="the end",
        cut=True,
    ),
    Case(
        name="2 MB of exception",
        cells=("raise ValueError('x' * 2_000_000)",),
        fault=r"ValueError: x{99}.*left out here(?!.{99999})",
    ),
    Case(
        name="characters that no file can hold",
        cells=(r"print('the file caf\udce9')",),  # as os.listdir tells what is not UTF-8
        shows="the file caf",
    ),
    Case(
        name="a process left over",
        cells=(
            "import subprocess\n"
            "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "!(trap '' HUP; sleep 600 > /dev/null 2>&1 &)",
        ),
    ),
    Case(
        name="a process left over by a kernel that died",
        cells=(
            "import os, subprocess\n"
            "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "os._exit(1)",
        ),
        fault="exited with status 1",
    ),
    Case(
        name="a plot with no display",
        cells=("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",),
        shows="image/png",
    ),
    Case(name="unicode", cells=("print('é 🎉 שלום 数字')",), shows="é 🎉 שלום 数字"),
    Case(name="empty cells", cells=("", "  \n", "# only a comment", "print('af', 'ter')")),
    Case(
        name="a progress bar",
        cells=("for i in range(50):\n    print(f'\\r{i} %', end='', flush=True)",),
        shows="49 %",
        hides="48 %",
    ),
    Case(
        name="a kernel that is not installed",
        cells=("1",),
        kernel="there-is-none",
        fault="asks for the kernel there-is-none, which is not installed",
    ),
    Case(
        name="a kernel that never starts",
        cells=("1",),
        kernel="never",
        limits={"start": 2},
        fault=r"cell 1 of 2 .*: the kernel 'never' did not start: .* 2 s",
    ),
    Case(
        name="a kernel that dies at its start",
        cells=("1",),
        kernel="dies",
        fault=r"cell 1 of 2 .*: the kernel 'dies' did not start: it died",
    ),
]
