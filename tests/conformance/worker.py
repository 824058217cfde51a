"""Executes notebooks in one warm process: a request per line in, an answer per line out.

It runs in an environment of a generated project, in the project's folder.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from harness.notebooks import HarnessError, Limits, parse_parameters, run


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Execute the requested notebook; tell the verdict, and what is left of its processes."""
    log = Lines()
    logger = logging.getLogger("harness.cells")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    notebook, started, error = Path(request["notebook"]), time.monotonic(), None
    try:
        parameters = parse_parameters(notebook, request["parameters"])
        limits = Limits(**request["limits"])
        run(notebook, output=Path(request["output"]), parameters=parameters, limits=limits)
    except HarnessError as refused:
        error = str(refused)
    finally:
        logger.removeHandler(log)
    return {
        "error": error,
        "seconds": time.monotonic() - started,
        "log": log.lines,
        "left": left_over(),
    }


def left_over() -> list[str]:
    """Name the processes of this suite that still run; who was killed takes a moment to end."""
    ends = time.monotonic() + 5
    while (found := marked()) and time.monotonic() < ends:
        time.sleep(0.05)
    return found


def marked() -> list[str]:
    """Name the processes of this suite that still carry the mark of a run."""
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
            ours = env.get("CONFORMANCE_SUITE") == os.environ["CONFORMANCE_SUITE"]
            if ours and "HARNESS_RUN" in env and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours to look at
    return found


def main() -> None:
    """Answer until there are no more requests."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what kernels print must not come between the answers
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
