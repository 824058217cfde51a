"""Whether the machine is idle enough to measure on.

Any other busy process, even one of the lowest priority, makes TensorFlow on two cores up to 1.6
times as slow: then all figures are of the neighbours, too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

BUSY = 0.10
"""The fraction of all cores' time, above which a machine is not idle."""


def busy_fraction(seconds: float = 1.0) -> float:
    """Return how much of the cores' time other processes take, from 0 to 1; 0 if not on Linux."""

    def read() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]  # idle, and waiting for a disk

    if not Path("/proc/stat").exists():
        return 0.0
    total, idle = read()
    time.sleep(seconds)
    total_now, idle_now = read()
    return 1.0 - (idle_now - idle) / max(total_now - total, 1)


def require_idle(patience: float = 60.0) -> None:
    """Wait until the machine is idle; after `patience` seconds refuse to measure, or say so.

    With BENCH_ANYWAY=1 in the environment it is measured, under a line that says what it is worth.
    """
    until = time.monotonic() + patience
    while (busy := busy_fraction()) > BUSY:
        if time.monotonic() > until:
            said = f"the machine is not idle: {busy:.0%} of its time is taken by others"
            if os.environ.get("BENCH_ANYWAY"):
                print(f"NOT COMPARABLE: {said}")
                return
            sys.exit(f"Nothing is measured, {said}. End them, or set BENCH_ANYWAY=1.")
