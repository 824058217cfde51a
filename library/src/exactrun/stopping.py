"""Stopping a training in good order: asked by a signal, or out of time."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

from .console import say


class Stopping:
    """Listen for SIGINT and SIGTERM, and for the end of the time; a context.

    Colab's and Jupyter's *Interrupt* is a SIGINT; a machine that is taken away sends SIGTERM. A
    second signal does what it would do without this.

    Args:
        max_time_secs: Seconds after which to stop; None: never.

    Attributes:
        signal: The signal that came, or None.
    """

    def __init__(self, max_time_secs: float | None) -> None:
        self.signal: signal.Signals | None = None
        self._limit = max_time_secs
        self._until = None if max_time_secs is None else time.monotonic() + max_time_secs
        self._before: dict[signal.Signals, Any] = {}

    @property
    def reason(self) -> str:
        """Why this process has to stop, or an empty text."""
        if self.signal is not None:
            return self.signal.name
        over = self._until is not None and time.monotonic() >= self._until
        return f"max_time_secs={self._limit:g}" if over else ""

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # others can't listen
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _heard(self, number: int, _: object) -> None:
        self.signal = signal.Signals(number)
        self._restore()
        # The program may be in the middle of a print, which no other one may interrupt; or its
        # terminal is gone.
        with contextlib.suppress(RuntimeError, OSError, ValueError):
            say(f"\n{self.signal.name}: the training is saved, then it stops.")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
