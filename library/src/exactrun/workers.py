"""Several workers that train together: who they are, and how to start them on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from .errors import UserError

SECONDS_TO_LEAVE = 60.0
"""How long workers get to save when they are told to stop."""


def place_in_cluster() -> tuple[int, int]:
    """Return how many workers `TF_CONFIG` names, and which of them this process is; 0 is the chief.

    Vertex AI, Kubeflow and `run_workers` set it in each process. A process of the type `chief`
    comes before all of the type `worker`.

    Raises:
        UserError: If it is no JSON of the known form, or gives this process another task.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return 1, 0
    try:
        told = json.loads(text)
        cluster, task = told.get("cluster", {}), told.get("task", {})
        return place_among(cluster, task.get("type", "worker"), int(task.get("index", 0)))
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"TF_CONFIG={text!r} can't be understood: {error}. It has to look like"
            ' {"cluster": {"worker": ["host0:2222", "host1:2222"]},'
            ' "task": {"type": "worker", "index": 0}}; to train on one machine, unset it.'
        ) from error


def place_among(cluster: Mapping[str, Sequence[str]], kind: str, index: int) -> tuple[int, int]:
    """Return how many workers a cluster has, and which of them the task of this kind is."""
    chiefs, others = len(cluster.get("chief", [])), len(cluster.get("worker", []))
    if chiefs + others <= 1:
        return 1, 0
    if kind not in ("chief", "worker") or index >= (chiefs if kind == "chief" else others):
        raise UserError(
            f"TF_CONFIG gives this process the task {kind} {index}, but its cluster has {chiefs}"
            f" of the type chief and {others} of the type worker. Other types take no part here:"
            " start the training in those processes only."
        )
    return chiefs + others, index if kind == "chief" else chiefs + index


def run_workers(command: Sequence[str], count: int) -> int:
    """Run a command as so many workers that find each other, and wait for all of them.

    If one fails, the others can't go on: they are ended, too. SIGINT and SIGTERM are passed on,
    once, also those of a terminal.

    Args:
        command: The program and its arguments; each worker runs it.
        count: How many workers.

    Returns:
        0 if every worker returned 0, or else the code of the first that did not.

    Raises:
        UserError: If the count is no number of workers.

    Example:
        >>> import sys
        >>> exactrun.run_workers([sys.executable, "-c", "import os; os.environ['TF_CONFIG']"], 2)
        0
    """
    if count < 1:
        raise UserError(f"workers={count} is too small; it must be at least 1.")
    addresses = [f"localhost:{port}" for port in _free_ports(count)]
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        if sys.platform == "win32" and number == signal.SIGINT:
            return  # the console has told each of them
        for process in processes:
            process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    heard = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        for index in range(count):
            told = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = os.environ | {"TF_CONFIG": json.dumps(told)}
            # They say the same; what goes wrong is told by each.
            quiet = subprocess.DEVNULL if index else None
            processes.append(
                # In a session of its own: a second Ctrl-C ends a worker without saving.
                subprocess.Popen(command, env=environment, stdout=quiet, start_new_session=True)
            )
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
