"""The processes of a run: the kernel, and all that came of it, whoever their parent is by now."""

from __future__ import annotations

import glob
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MARK = "EXACTRUN_NOTEBOOK"
"""Environment variable by which the processes of a run are known."""


def processes_of(run: str) -> set[psutil.Process]:
    """Return the processes that carry the mark of a run, and their children with it or without."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == run:
                found |= {process, *process.children(recursive=True)}
    return found


def memory_of(run: str) -> int:
    """Return the bytes of memory that the processes of a run hold together, shared ones once.

    That is the sum of their proportional shares, which Linux tells. Where it doesn't, it is what
    the largest of them holds: a sum would count what forked workers share once for each.
    """
    shares, whole = 0, [0]
    for process in processes_of(run):
        with suppress(psutil.Error):  # it ended meanwhile
            memory = process.memory_info()
            try:
                shares += process.memory_full_info().pss
            except (AttributeError, psutil.AccessDenied):
                whole.append(memory.rss)
    return shares + max(whole)


def end_all(processes: Iterable[psutil.Process]) -> list[str]:
    """End processes; return what each was, in words, of those that had not ended yet."""
    ended = []
    for process in processes:
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())[:60]
            process.kill()
            if command:  # a process that has ended, and nobody has asked how, has none
                ended.append(f"{command} (process {process.pid})")
    return ended


@contextmanager
def guarded(run: str, files: Path) -> Iterator[None]:
    """Have a run's processes ended should this one be killed, by another that waits for it.

    Args:
        run: Its mark.
        files: How the paths of its files begin, which are deleted then, too.
    """
    command = [sys.executable, "-P", __file__, run, str(files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.kill()


if __name__ == "__main__":
    sys.stdin.read()  # nothing comes; it ends with who started this
    end_all(processes_of(sys.argv[1]))
    for path in glob.glob(f"{glob.escape(sys.argv[2])}*"):
        Path(path).unlink(missing_ok=True)
