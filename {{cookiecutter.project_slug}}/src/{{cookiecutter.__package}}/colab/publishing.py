"""Copying finished files to Drive in the background, whatever Drive does meanwhile."""

from __future__ import annotations

import atexit
import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from . import drive
from .claim import Claim
from .files import discard, explain, publish

BACK_OFF = (1.0, 5.0, 15.0, 60.0)
"""Seconds before a failed copy is tried again; the last one is for every later attempt."""

PATIENCE = 120.0
"""Seconds without a byte moved after which `flush` takes Drive for stalled."""

AT_EXIT = 10.0
"""The same when the process ends, which nobody wants to wait for."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Files that are published together, in their order: what names the others comes last.

    Attributes:
        name: A later job of the same name takes the place of one that still waits.
        files: Closed files on the local disk.
        folder: Where they go.
        then: Called after them, such as to delete what they supersede.
    """

    name: str
    files: tuple[Path, ...]
    folder: Path
    then: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is safe in the persistent folder, and what is not.

    Attributes:
        safe: Names of the jobs that are copied and verified.
        unsafe: Names of those that are not, and why; they are tried again as time goes by.
    """

    safe: tuple[str, ...]
    unsafe: dict[str, str]


class Publisher:
    """Copies jobs to a folder in a thread of its own, one after the other, until they succeed.

    A name has one job at most, so the queue is bounded, and so is the space that the copies take.
    Whoever submits a job waits for nothing.

    Args:
        folder: The run's folder.

    Attributes:
        claim: Of the folder, which only one session may write to.

    Raises:
        UserError: If another session is writing to the folder.
        OSError: If it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.claim = Claim(folder)
        self.claim.take()
        for partial in folder.rglob(".*.partial"):  # of a session that died while copying
            discard(partial)
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._reasons: dict[str, str] = {}
        self._failed: dict[str, Job] = {}
        self._safe: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._urgent = False
        self._moved_at = 0.0
        self._crash: Exception | None = None

    def submit(self, job: Job) -> None:
        """Have a job done as soon as Drive allows; returns at once."""
        with self._changed:
            self._jobs[job.name] = job
            self._safe.pop(job.name, None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="publish", daemon=True)
                self._thread.start()

    def flush(self, *, patience: float | None = None) -> Report:
        """Wait until each job is done, or has failed once more; say which are safe.

        If everything is safe, the folder is given free for the next session.

        Args:
            patience: Seconds without a byte moved to wait for; by default, `PATIENCE`.
        """
        patience = PATIENCE if patience is None else patience
        with self._changed:
            self._failed.clear()
            self._urgent = True
            self._changed.notify_all()
            self._moved_at = time.monotonic()
            while any(self._failed.get(name) is not job for name, job in self._jobs.items()):
                if self._crash is not None:
                    raise self._crash
                if time.monotonic() - self._moved_at > patience:
                    stalled = f"Drive has not answered for {patience:.0f} s"
                    self._reasons |= {n: stalled for n in self._jobs if n not in self._reasons}
                    break
                self._changed.wait(timeout=1.0)
            self._urgent = False
            unsafe = {name: self._reasons.get(name, "not copied yet") for name in self._jobs}
            report = Report(safe=tuple(self._safe), unsafe=unsafe)
        if not unsafe:
            self.claim.release()
        return report

    def _work(self) -> None:
        failures = 0
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                job = next(iter(self._jobs.values()))
            try:
                self._attempt(job)
                failures = 0
            except OSError as error:
                if self._jobs[job.name] is not job:  # superseded, its files may be gone
                    continue
                failures += 1
                self._fail(job, error, wait=BACK_OFF[min(failures, len(BACK_OFF)) - 1])
            except Exception as error:
                with self._changed:
                    self._crash = error  # told to who waits, and to who watches threads
                    self._changed.notify_all()
                raise

    def _attempt(self, job: Job) -> None:
        """Copy a job's files; if Drive's connection was lost, mount it again and copy them then."""
        try:
            self._copy(job)
        except OSError as error:
            on_drive = job.folder.is_relative_to(drive.MOUNTPOINT)
            if error.errno != errno.ENOTCONN or not on_drive:
                raise
            try:
                drive.mount()
            except UserError as refusal:
                raise OSError(errno.ENOTCONN, f"{error.strerror}. {refusal}") from refusal
            self._copy(job)

    def _copy(self, job: Job) -> None:
        """Copy a job's files, unless a newer one has taken its place meanwhile."""
        if not self.claim.hold():
            raise OSError(errno.EBUSY, self.claim.lost)
        for file in job.files:
            if self._jobs[job.name] is not job:
                return
            publish(file, job.folder, moved=self._note_progress)
        job.then()
        with self._changed:
            if self._reasons.pop(job.name, ""):
                print(f"{job.name} is in {job.folder} now.")
            if self._jobs[job.name] is job:
                del self._jobs[job.name]
                self._safe[job.name] = None
            self._changed.notify_all()

    def _fail(self, job: Job, error: OSError, *, wait: float) -> None:
        """Note why a job failed, put it last, and wait."""
        reason = explain(error)
        if job.name not in self._reasons:
            print(f"{job.name} was not copied to {job.folder}: {reason}. It is tried again.")
        with self._changed:
            self._reasons[job.name] = reason
            self._failed[job.name] = job
            self._jobs[job.name] = self._jobs.pop(job.name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._urgent, timeout=wait)

    def _note_progress(self, size: int) -> None:
        self._moved_at = time.monotonic()


_open: dict[Path, Publisher] = {}


def publisher(folder: Path) -> Publisher:
    """Return the folder's publisher: opened again, a run finds its queue as it was.

    Raises:
        UserError: If another session is writing to the folder.
        OSError: If it can't be written.
    """
    if folder in _open:
        _open[folder].claim.take()
    else:
        _open[folder] = Publisher(folder)
    return _open[folder]


@atexit.register
def _flush_at_exit() -> None:
    """Keep what a process that stops half way has done, and say that it has ended."""
    for each in _open.values():
        each.flush(patience=AT_EXIT)
