"""What a run does when it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = "stopped by Ctrl-C"
"""What is said of a KeyboardInterrupt that says nothing itself."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, by which CI and batch systems stop a job, end a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: the rest is putting things away
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
