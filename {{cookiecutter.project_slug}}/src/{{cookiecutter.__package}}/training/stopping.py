"""Stopping a training in good order: on a signal, after a time, after a number of steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from ..config import Config


class Stopping:
    """Tells a training when to save and leave; a context that listens for SIGINT and SIGTERM.

    Colab's and Jupyter's *Interrupt* is a SIGINT; a machine that is taken away sends SIGTERM. A
    second signal ends the process as it would have without this.

    Attributes:
        signal: Name of the signal that came, or an empty text.
    """

    def __init__(self, config: Config) -> None:
        self.signal = ""
        self._steps = config.stop_after_steps
        self._until = time.monotonic() + config.max_hours * 3600 if config.max_hours else None
        self._hours = config.max_hours
        self._before: dict[signal.Signals, Any] = {}

    def reason(self, step: int) -> str:
        """Return why to stop after a step, in words; an empty text if there is no reason."""
        if self.signal:
            return self.signal
        if self._steps and step >= self._steps:
            return f"stop_after_steps={self._steps}"
        if self._until is not None and time.monotonic() >= self._until:
            return f"max_hours={self._hours:g}"
        return ""

    def steps_until(self, step: int, *, most: int) -> int:
        """Return how many steps to make at once: at most `most`, and none past the limit."""
        return min(most, self._steps - step) if self._steps > step else most

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # others can't listen
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        print(f"{self.signal}: the training is saved, then it stops.", flush=True)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
