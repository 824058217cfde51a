"""Work that is done in a thread, the newest first, while a training goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Background:
    """Run jobs in a daemon thread, one at a time; a job that still waits gives way to a newer one.

    A daemon, so that a job which hangs, such as a copy to a Drive that is gone, never keeps the
    process from ending.

    A job that calls `pause` now and then takes a small fraction of one core, so that the training
    keeps both of a Colab machine's cores; until somebody waits for it.

    Attributes:
        error: What a job raised, of whatever type; None since a later job has ended well.
    """

    FRACTION = 0.15

    def __init__(self, name: str) -> None:
        self._awaited = threading.Event()
        self.error: BaseException | None = None
        self._name = name
        self._changed = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._moved_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a job is under way or waits."""
        with self._changed:
            return self._thread is not None

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done as soon as the one under way has ended; return at once."""
        with self._changed:
            self._next = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def pause(self, seconds: float = 0.0) -> None:
        """Say that the job under way is moving, and leave the processor to others for a while."""
        worked = time.monotonic() - self._moved_at
        self._awaited.wait(timeout=seconds or worked / self.FRACTION)
        self._moved_at = time.monotonic()

    def wait(self, *, patience: float | None = None) -> bool:
        """Wait until nothing is left to do; return whether that was so.

        Args:
            patience: Seconds without progress after which to give up; None: never.
        """
        began = time.monotonic()
        self._awaited.set()
        try:
            with self._changed:
                while self._thread is not None:
                    still = time.monotonic() - max(self._moved_at, began)
                    if patience is not None and still > patience:
                        return False
                    self._changed.wait(timeout=0.2)
            return True
        finally:
            self._awaited.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                job, self._next = self._next, None
                if job is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            self._moved_at = time.monotonic()
            try:
                job()
                self.error = None
            except BaseException as error:
                self.error = error
