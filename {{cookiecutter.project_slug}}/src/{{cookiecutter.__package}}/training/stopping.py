"""Stopping a training in good order: told to, out of time, far enough, or no better any more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
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
        self._config = config
        self._until = time.monotonic() + config.max_hours * 3600 if config.max_hours else None
        self._agreed = ""
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether this process has to stop: a signal came, or its time is over.

        Workers hear signals at different times: they stop together, once all know (`agree`).
        """
        return bool(self.signal) or (self._until is not None and time.monotonic() >= self._until)

    def agree(self, otherwise: str) -> None:
        """Have `reason` say why to stop: this process's own reason, or what is given."""
        hours = f"max_hours={self._config.max_hours:g}" if self.asked else ""
        self._agreed = self.signal or hours or otherwise

    def early(self, history: Sequence[dict[str, Any]]) -> bool:
        """Tell whether the last epochs, as many as `early_stopping` says, brought nothing better.

        It follows from the history, so that a resumed run stops where an unbroken one would.
        """
        patience = self._config.early_stopping
        return 0 < patience <= len(history) - best_epoch(history, self._config.best_by)

    def reason(self, step: int, history: Sequence[dict[str, Any]]) -> str:
        """Return why to stop after a step, in words; an empty text if there is no reason."""
        config = self._config
        if self._agreed:
            return self._agreed
        if config.stop_after_steps and step >= config.stop_after_steps:
            return f"stop_after_steps={config.stop_after_steps}"
        return f"early_stopping={config.early_stopping}" if self.early(history) else ""

    def steps_until(self, step: int, *, most: int) -> int:
        """Return how many steps to make at once: at most `most`, and none past the limit."""
        limit = self._config.stop_after_steps
        return min(most, limit - step) if limit > step else most

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # others can't listen
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _heard(self, number: int, _: object) -> None:
        self.signal = signal.Signals(number).name
        print(f"{self.signal}: the training is saved, then it stops.", flush=True)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def best_epoch(history: Sequence[dict[str, Any]], best_by: str) -> int:
    """Return the number of the best epoch so far, the first of equals; 0 if none is finished.

    Args:
        history: One record per finished epoch.
        best_by: val_accuracy, of which more is better, or val_loss, of which less is. Of equal
            accuracies, the one with the lower loss is better.
    """

    def goodness(record: dict[str, Any]) -> tuple[float, ...]:
        loss = -record["val_loss"]
        return (record["val_accuracy"], loss) if best_by == "val_accuracy" else (loss,)

    return max(history, key=goodness, default={"epoch": 0})["epoch"]
