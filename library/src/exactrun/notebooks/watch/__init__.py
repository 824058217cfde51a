"""What the kernel begins with, before the first cell: notes what fails without an exception.

Each patch notes, and then does what was there before. What a library does inside is its own matter:
noted is what the notebook's own code began.
"""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path
from typing import Any

from ipykernel import iostream
from IPython import get_ipython
from IPython.lib import pretty

from . import begun, commands, shown
from .noted import faults, last, pending, swallowed

ENDING = "EXACTRUN_ENDING"
"""Environment variable: the file for what failed while the interpreter ended."""

SYSTEM = "get_ipython().system was replaced, so no failed command is seen. Leave it"


class Answer(dict[str, Any]):
    """What is asked for, shown alike whatever the notebook does to how values are shown."""

    def _repr_pretty_(self, printer: pretty.RepresentationPrinter, cycle: bool) -> None:
        printer.text(repr(self))


def take(*, end: bool = False) -> Answer:
    """Return what failed since the last call, and whether something still runs.

    Args:
        end: Whether that was the last cell, and nobody will ask any more how something ended.
    """
    shell = get_ipython()
    replaced = [vars(shell).get(name) for name in ("system", "getoutput")]
    if any(each and each.__name__ != "system_raw" for each in replaced):
        faults.append(SYSTEM)
    shown.look_at_autoreload(shell)
    swallowed.extend(shown.unasked(later=False))
    for ask in last if end else ():
        faults.extend(ask())
    runs = any(ask() for ask in pending)
    found = Answer(faults=faults[:20], swallowed=swallowed[:20], runs=runs)
    faults.clear()
    swallowed.clear()
    return found


def tell(path: str, process: int) -> None:
    """Write down what failed since the last call; not in a process that was forked."""
    if os.getpid() == process:
        Path(path).write_text(json.dumps(faults), encoding="utf-8")


def watch() -> None:
    """Begin."""
    shell = get_ipython()
    for part in (commands, shown, begun):
        part.watch(shell)
    # Two waits at the exit of ipykernel 6 that nothing ends: absl (of TensorFlow) closes a stream,
    # and its thread still reads; a thread flushes one, and the thread that sends has been stopped.
    iostream.OutStream.close = lambda stream: None
    atexit.register(setattr, iostream.OutStream, "flush_timeout", 0.1)
    if ending := os.environ.pop(ENDING, None):
        atexit.register(
            tell, ending, os.getpid()
        )  # the first that is registered is the last that is called
    shell.exactrun_take = take
