"""Run inside the kernel before the first cell: notes what fails there without an exception.

IPython keeps the exit status of the last command only, and none of a command whose output is
assigned; a thread's exception is printed and forgotten.
"""

import atexit
import subprocess
import threading
import time
from concurrent.futures.thread import _threads_queues as pool_threads

from ipykernel import iostream, zmqshell
from IPython import get_ipython
from IPython.core import interactiveshell
from IPython.utils._process_common import process_handler

faults: list[str] = []
run, died = interactiveshell.system, threading.excepthook


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

    def finish(process: subprocess.Popen) -> tuple[bytes, int]:
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


def take(seconds: float) -> list[str]:
    """Return the faults since the last call; give running threads some time to end or fail.

    A pool's threads wait for work to the end, and what they raise goes to who asked for it.
    """
    ends = time.monotonic() + seconds
    for thread in threading.enumerate():
        endless = thread.daemon or thread in pool_threads
        if not endless and thread is not threading.current_thread():
            thread.join(max(ends - time.monotonic(), 0))
    found = faults[:20]
    faults.clear()
    return found


interactiveshell.system = zmqshell.system = system
interactiveshell.getoutput = getoutput
threading.excepthook = excepthook
# Two waits at the exit of ipykernel 6 that nothing ends: absl (of TensorFlow) closes a stream, and
# its thread still reads; a thread flushes one, and the thread that sends has been stopped.
iostream.OutStream.close = lambda stream: None  # type: ignore[method-assign]
atexit.register(setattr, iostream.OutStream, "flush_timeout", 0.1)
get_ipython().harness_take = take
