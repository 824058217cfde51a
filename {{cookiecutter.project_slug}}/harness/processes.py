"""The processes of a run: the kernel, and all that came of it, whoever their parent is by now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psutil

MARK = "HARNESS_RUN"
"""Environment variable by which the processes of a run are known."""


def memory_of(run: str) -> int:
    """Return the bytes of memory that the processes of a run hold together."""
    used = 0
    for process in _processes(run):
        with suppress(psutil.Error):  # it ended meanwhile
            used += process.memory_info().rss
    return used


def end_all(run: str) -> list[str]:
    """End the processes of a run; return what each was, in words."""
    ended = []
    for process in _processes(run):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())[:60]
            process.kill()
            ended.append(f"{command} (process {process.pid})")
    return ended


def _processes(run: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == run:
                yield process
