"""Several workers on this machine: the same command, once for each, under `TF_CONFIG`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from ..errors import UserError

SECONDS_TO_LEAVE = 60.0
"""How long workers get to save when they are told to stop."""


def run_workers(command: Sequence[str], count: int) -> int:
    """Run a command as so many workers that find each other, and wait for all of them.

    If one fails, the others can't go on: they are ended, too. SIGINT and SIGTERM are passed on.

    Args:
        command: The program and its arguments; each worker runs it.
        count: How many workers.

    Returns:
        0 if every worker returned 0, or else the code of the first that did not.

    Raises:
        UserError: If the count is no number of workers.
    """
    if count < 1:
        raise UserError(f"workers={count} is too small; it must be at least 1.")
    addresses = [f"localhost:{port}" for port in _free_ports(count)]
    processes = []
    for index in range(count):
        told = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(told)}
        # They say the same; what goes wrong is told by each.
        quiet = subprocess.DEVNULL if index else None
        processes.append(subprocess.Popen(command, env=environment, stdout=quiet))

    def pass_on(number: int, _: object) -> None:
        for process in processes:
            process.send_signal(number)

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        while any(process.poll() is None for process in processes):
            if failed := [code for p in processes if (code := p.poll())]:
                _end(processes)
                return failed[0]
            time.sleep(0.1)
        return next((process.returncode for process in processes if process.returncode), 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end(processes)


def this_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that starts this package with other arguments."""
    return [sys.executable, "-m", str(__package__).split(".")[0], *arguments]


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tell processes to leave; end those that don't."""
    deadline = time.monotonic() + SECONDS_TO_LEAVE
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
