"""Copying closed files to the persistent directory in the background, whatever Drive does."""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import files
from .colab import mount_drive, mounts_made
from .console import say
from .errors import UserError
from .files import discard, explain, sha256_of
from .lock import Lock
from .mounts import LOST, belongs_on_drive, require_mounted

BACK_OFF = (1.0, 5.0, 15.0, 60.0)
"""Seconds before a failed upload is tried again; the last one is for every later attempt."""

PATIENCE = 120.0
"""Seconds without a byte moved after which `flush` takes Drive for stalled."""

AT_EXIT = 10.0
"""The same when the process ends, which nobody wants to wait for."""


def copy_verified(
    source: Path, directory: Path, *, moved: Callable[[], None] = lambda: None
) -> Path:
    """Copy a closed file as `files.copy_verified` does, also to a Drive that is lost or unmounted.

    Drive is mounted again then, once; and what went to the machine's own disk instead of Drive is
    not taken for a copy.

    Args:
        source: On the local disk.
        directory: Where the copy goes, under the same name.
        moved: Called after each block that was written.

    Raises:
        OSError: If it can't be written, or what should be on Drive is not.
    """
    try:
        return _copy(source, directory, moved)
    except OSError as error:
        if error.errno not in LOST or not belongs_on_drive(directory):
            raise
        try:
            mount_drive()
        except UserError as refusal:
            raise OSError(errno.ENOTCONN, f"{error.strerror}. {refusal}") from refusal
        return _copy(source, directory, moved)


def _copy(source: Path, directory: Path, moved: Callable[[], None]) -> Path:
    require_mounted(directory)
    copy = files.copy_verified(source, directory, moved=moved)
    require_mounted(directory)  # or it went to the machine's own disk, under Drive's name
    return copy


@dataclass(frozen=True, eq=False)
class _Job:
    """A file as it was handed over: the same path, handed over again, is another job."""

    file: Path


class Uploader:
    """Copy closed files to a directory in a thread, one after the other, until they succeed.

    A name has one file at most that waits, so the queue is bounded. Whoever uploads waits for
    nothing. A failure costs a printed line and is tried again, ever more seldom; never an
    exception. A process has one uploader per directory: made again, it goes on with its queue.

    Args:
        directory: The run's persistent directory, which only one session may write to.

    Attributes:
        directory: Where the files go.
        lock: The lock of the directory, which whoever else writes there must hold, too.

    Raises:
        UserError: If another session is writing to the directory, or it can't be written.

    Example:
        >>> uploader = exactrun.upload.Uploader(directory / "persistent")
        >>> _ = (directory / "run.json").write_text("{}")
        >>> uploader.upload(directory / "run.json")
        ''
        >>> uploader.flush()
        {}
    """

    _open: dict[Path, Uploader] = {}  # noqa: RUF012

    def __new__(cls, directory: str | Path) -> Uploader:
        return cls._open.get(Path(directory).absolute()) or super().__new__(cls)

    def __init__(self, directory: str | Path) -> None:
        if not hasattr(self, "directory"):
            self.directory = Path(directory).absolute()
            self.lock = Lock(self.directory)
            self._changed = threading.Condition()
            self._waiting: dict[str, _Job] = {}
            self._reasons: dict[str, str] = {}
            self._failed: dict[str, _Job] = {}
            self._done: dict[str, _Job] = {}
            self._thread: threading.Thread | None = None
            self._moved_at = 0.0
            self._mount = mounts_made()
            self._process = os.getpid()  # one that is forked from it has none of its threads
        try:
            self.lock.take()
            if self.directory not in self._open:
                for partial in self.directory.rglob(".*.partial"):  # of a session that died
                    discard(partial)
        except OSError as error:
            raise UserError(
                f"{self.directory} can't be written: {explain(error)}. Set persistent_dir to a"
                " directory that can, or mount Drive again by running the cell that does."
            ) from error
        self._open[self.directory] = self

    def upload(self, file: str | Path, *, within: str = "", wait: bool = False) -> str:
        """Have a closed file copied as soon as Drive allows.

        Args:
            file: On the local disk. One that waits under the same name gives way to it.
            within: The directory inside the uploader's own.
            wait: Whether to wait until it is copied, or has failed once.

        Returns:
            Why it is not copied, if that was waited for; or nothing.
        """
        name = (Path(within) / Path(file).name).as_posix()
        with self._changed:
            self._done.pop(name, None)
            self._waiting[name] = _Job(Path(file))
            self._doubt()
            self._begin()
            self._changed.notify_all()
            return self._wait_for([name], PATIENCE).get(name, "") if wait else ""

    def flush(self) -> dict[str, str]:
        """Wait until each file is copied, or has failed once more; return what is not, and why.

        What was copied to a Drive that has been unmounted, or mounted anew, meanwhile is compared,
        and copied again if need be. If all is there, the directory is free for the next session.
        """
        with self._changed:
            self._doubt()
            self._begin()
            names = list(self._waiting)
            missing = self._wait_for(names, PATIENCE)
        try:
            require_mounted(self.directory)
        except OSError as error:
            missing = {name: explain(error) for name in self._done} | missing
        if not missing:
            self.lock.release()
        return missing

    def close(self, patience: float = AT_EXIT) -> dict[str, str]:
        """Wait shortly for what is under way, and let the directory go; return what is missing.

        What was copied is not compared again, as Python begins no thread when a process ends.
        """
        with self._changed:
            missing = self._wait_for(list(self._waiting), patience)
            # No copy begins any more, as another session may lock the directory.
            self._waiting.clear()
            self._changed.notify_all()
        self._open.pop(self.directory, None)
        self.lock.release()
        return missing

    def _doubt(self) -> None:
        """Have what was copied compared if Drive is not the mount any more that it was."""
        try:
            require_mounted(self.directory)
            if self._mount == mounts_made():
                return
        except OSError:
            pass
        self._mount = mounts_made()
        self._waiting = self._done | self._waiting
        self._done = {}

    def _begin(self) -> None:
        if self._waiting and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="exactrun-upload", daemon=True)
            self._thread.start()

    def _wait_for(self, names: list[str], patience: float) -> dict[str, str]:
        """Wait until these are copied or have failed once more; return which are not, and why."""
        stalled = f"{self.directory} has not answered for {patience:.0f} s"
        with self._changed:
            for name in names:
                self._failed.pop(name, None)
            self._changed.notify_all()
            self._moved_at = time.monotonic()
            while any(self._failed.get(n) is not self._waiting.get(n) for n in names):
                if time.monotonic() - self._moved_at > patience:
                    break
                self._changed.wait(timeout=min(1.0, patience / 4))
            return {n: self._reasons.get(n, stalled) for n in names if n in self._waiting}

    def _work(self) -> None:
        failures = 0
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                name, job = next(self._untried(), next(iter(self._waiting.items())))
            try:
                self._attempt(name, job)
                failures = 0
            except Exception as error:  # whatever it is: the training goes on
                failures += 1
                self._fail(name, job, error, wait=BACK_OFF[min(failures, len(BACK_OFF)) - 1])

    def _attempt(self, name: str, job: _Job) -> None:
        """Copy a file, unless the directory holds its very bytes."""
        self.lock.hold()
        target = self.directory / name
        if not _same(job.file, target):
            copy_verified(job.file, target.parent, moved=self._note_progress)
        with self._changed:
            if self._reasons.pop(name, ""):
                say(f"{name} is in {self.directory} now.")
            if self._waiting.get(name) is job:
                del self._waiting[name]
                self._failed.pop(name, None)
                self._done[name] = job
            self._changed.notify_all()

    def _fail(self, name: str, job: _Job, error: Exception, *, wait: float) -> None:
        """Note why a file was not copied, put it last, and wait."""
        reason = explain(error) if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        with self._changed:
            if self._waiting.get(name) is not job:  # superseded; it may be gone
                return
            if self._reasons.get(name) != reason:
                say(f"{name} was not copied to {self.directory}: {reason}. It is tried again.")
            self._reasons[name] = reason
            self._failed[name] = self._waiting[name] = self._waiting.pop(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting or any(self._untried()), timeout=wait)

    def _untried(self) -> Iterator[tuple[str, _Job]]:
        """Yield what is new, or has not failed since somebody asked for it."""
        for name, job in self._waiting.items():
            if self._failed.get(name) is not job:
                yield name, job

    def _note_progress(self) -> None:
        self._moved_at = time.monotonic()


def _same(file: Path, target: Path) -> bool:
    """Tell whether a file is on the other side already, which costs Drive no trash."""
    try:
        require_mounted(target)
        return target.stat().st_size == file.stat().st_size and sha256_of(target) == sha256_of(file)
    except OSError:  # it is not there, or Drive is not: the copy tells
        return False


@atexit.register
def _close_at_exit() -> None:
    """Keep what a process that stops half way has done, and say that it has ended."""
    for each in [each for each in Uploader._open.values() if each._process == os.getpid()]:
        for name, reason in each.close().items():
            say(f"{name} is not in {each.directory}: {reason}.")
