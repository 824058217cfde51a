"""Run inside the kernel before the first cell: notes what fails there without an exception.

IPython keeps the exit status of the last command only, and none of a command whose output is
assigned; what a thread or a task of asyncio died of is printed and forgotten.
"""

import asyncio
import atexit
import subprocess
import sys
import threading
import time
from concurrent.futures.thread import _threads_queues as pool_threads
from typing import Any

from ipykernel import iostream, zmqshell
from IPython import get_ipython
from IPython.core import interactiveshell
from IPython.lib import pretty
from IPython.utils._process_common import process_handler

faults: list[str] = []
shell, run = get_ipython(), interactiveshell.system
died, unraisable = threading.excepthook, sys.unraisablehook


class Faults(list[str]):
    """A list that is shown alike, whatever the notebook does to how lists are shown."""

    def _repr_pretty_(self, printer: pretty.RepresentationPrinter, cycle: bool) -> None:
        printer.text(repr(self))


def note(command: str, status: int | None) -> None:
    """Remember a command that failed."""
    if status:
        faults.append(
            f"the command {command!r} ended with exit status {status}."
            " If that is no failure, write `command || true`"
        )


def system(command: str) -> int:
    """Do what `!command` and `%pip` call."""
    status: int = run(command)
    note(command, status)
    return status


def getoutput(command: str) -> str:
    """Do what `lines = !command` calls."""

    def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, int]:
        return process.communicate()[0], process.returncode

    output, status = process_handler(command, finish, subprocess.STDOUT) or (b"", None)
    note(command, status)
    return str(output, errors="replace")


def excepthook(args: threading.ExceptHookArgs) -> None:
    """Remember a thread that died."""
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else "unknown"
        faults.append(f"thread {name} died of {args.exc_type.__name__}: {args.exc_value}")
    died(args)


def unraisablehook(args: "sys.UnraisableHookArgs") -> None:
    """Remember a thread of the module `_thread` that died."""
    if "in thread" in (args.err_msg or ""):
        faults.append(f"a thread died of {args.exc_type.__name__}: {args.exc_value}")
    unraisable(args)


def exception_handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Remember a task that died, and nobody waited for it."""
    if error := context.get("exception"):
        faults.append(f"a task of asyncio died of {type(error).__name__}: {error}")
    loop.default_exception_handler(context)


def take(seconds: float) -> Faults:
    """Return the faults since the last call; give running threads some time to end or fail.

    A pool's threads wait for work to the end, and what they raise goes to who asked for it.
    """
    ends = time.monotonic() + seconds
    for thread in threading.enumerate():
        endless = thread.daemon or thread in pool_threads
        if not endless and thread is not threading.current_thread():
            thread.join(max(ends - time.monotonic(), 0))
    if {"system", "getoutput"} & vars(shell).keys():
        faults.append("get_ipython().system was replaced, so no failed command is seen. Leave it")
    found = Faults(faults[:20])
    faults.clear()
    return found


interactiveshell.system = zmqshell.system = system
interactiveshell.getoutput = getoutput
threading.excepthook, sys.unraisablehook = excepthook, unraisablehook
asyncio.get_running_loop().set_exception_handler(exception_handler)
# Two waits at the exit of ipykernel 6 that nothing ends: absl (of TensorFlow) closes a stream, and
# its thread still reads; a thread flushes one, and the thread that sends has been stopped.
iostream.OutStream.close = lambda stream: None
atexit.register(setattr, iostream.OutStream, "flush_timeout", 0.1)
shell.exactrun_take = take
