"""What holds for every test."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def children(parent: int) -> set[int]:
    """Return the processes that one has started; of its threads, some may end meanwhile."""
    found: set[int] = set()
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(child) for child in file.read_text().split()}
    return found


def running(parent: int) -> set[tuple[int, str]]:
    """Return the living processes below one, as Linux knows them, with their commands."""
    found = set()
    for child in children(parent):
        try:
            command = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if command:  # or else it has ended, and waits to be asked how
            found |= {(child, command), *running(child)}
    return found


def left_running() -> set[tuple[int, str]]:
    """Return what tests may not leave: all but the server that forks sessions, and its tracker."""
    direct = children(os.getpid())
    servers = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
    return {
        (child, command)
        for child, command in running(os.getpid())
        if child not in direct or not any(server in command for server in servers)
    }


@pytest.fixture(autouse=True)
def no_process_is_left_running() -> Iterator[None]:
    """Name the test that leaves a process running, which would slow down every other one."""
    before = left_running()
    yield
    deadline = time.monotonic() + 5.0  # to end in
    while (left := left_running() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"this test left processes running: {sorted(left)}"
