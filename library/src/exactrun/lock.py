"""One session per run: a second one on this machine is refused, one elsewhere is noticed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .console import say
from .errors import UserError
from .mounts import require_mounted

BEAT = 30.0
"""Seconds between two heartbeats; each writes a file that Drive uploads."""

SILENCE = 90.0
"""Seconds after which a session that gave no heartbeat is taken for dead.

Two may be missed: Drive takes its time to upload a file and to show it to another machine.
"""

GOODBYE = 5.0
"""Seconds that the end of a session waits for Drive to take its last sign."""

PROCESSES = Path("/proc")
"""Where Linux tells of processes."""

SESSION = secrets.token_hex(8)
"""This process: locking a directory again in it is no conflict."""


class Lock:
    """Keep a directory to this session, by a heartbeat in its file `session.json`.

    A second session on the same machine is refused at once, by its process id. Of a session on
    another machine, which can only be seen through Drive, a heartbeat is waited for.

    Args:
        directory: What only one session may write to.

    Attributes:
        lost: Who has taken the directory over, in words; empty as long as it is this session's.
    """

    def __init__(self, directory: str | Path) -> None:
        self._file = Path(directory) / "session.json"
        self._ended = threading.Event()
        self._ended.set()
        self._beating: threading.Thread | None = None
        self.lost = ""

    def take(self) -> None:
        """Lock the directory; wait until another machine's silence shows that it is dead.

        What this session holds already stays as it is.

        Raises:
            OSError: If the directory can't be written.
            UserError: If another session is alive.
        """
        if not self._ended.is_set():
            return
        require_mounted(self._file.parent)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        before = self._other()
        if before is not None and not _is_here(before):
            self._wait_for_silence(before)
        with self._alone_on_this_machine():
            now = self._other()
            if now is not None and (now != before or _is_here(now)):
                kill = "taskkill /F /PID" if sys.platform == "win32" else "kill"
                end = f"{kill} {now['process']}" if _is_here(now) else "Runtime → Manage sessions"
                raise UserError(
                    f"Another session is writing to {self._file.parent}: {_name(now)}. Two would"
                    f" spoil each other's run. End that one ({end}) and run this again, or choose"
                    " another run_name."
                )
            self._begin()

    def hold(self) -> None:
        """Keep the lock, or lock again after `release`.

        Raises:
            OSError: If another session has it, or the directory can't be written.
        """
        if self._ended.is_set() and not self.lost:
            with self._alone_on_this_machine():
                other = self._other()
                if other is not None and time.time() - other["at"] < SILENCE:
                    self._lose(other)
                elif self._ended.is_set():  # no other thread has locked it meanwhile
                    self._begin()
        if self.lost:
            raise OSError(errno.EBUSY, self.lost)

    def release(self) -> None:
        """Say that this session has written everything, so that the next need not wait."""
        self._ended.set()
        if self._beating is not None and self._beating is not threading.current_thread():
            self._beating.join(GOODBYE)

    def _wait_for_silence(self, before: dict[str, Any]) -> None:
        """Return when the session that wrote this has given a sign, or none for so long."""
        age = time.time() - before["at"]
        wait = min(max(SILENCE - age, 0.0), SILENCE)  # whatever that machine's clock says
        if not wait:
            return
        say(
            f"Another session ({before['machine']}) wrote to {self._file.parent}"
            f" {max(age, 0.0):.0f} s ago, and did not say that it ended. If it is alive, it writes"
            f" again within {BEAT:.0f} s, and Drive may be late to show it: waiting for up to"
            f" {wait:.0f} s. If nothing comes, this session takes over."
        )
        ends = time.monotonic() + wait
        while self._other() == before and time.monotonic() < ends:
            time.sleep(min(1.0, SILENCE / 10))

    def _begin(self) -> None:
        self.lost = ""
        self._ended = threading.Event()
        self._write(ended=False)
        self._beating = threading.Thread(
            target=self._beat, args=(self._ended,), name="exactrun-heartbeat", daemon=True
        )
        self._beating.start()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):  # Drive is away; the next heartbeat is the retry
                if (other := self._other()) is not None:
                    self._lose(other)
                    return
                self._write(ended=False)
        with contextlib.suppress(OSError):  # then the next one waits until the silence tells
            if self._other() is None:
                self._write(ended=True)

    def _lose(self, other: dict[str, Any]) -> None:
        self._ended.set()
        self.lost = f"another session has taken the run over: {_name(other)}"

    def _other(self) -> dict[str, Any] | None:
        """Return what another session that may be alive has written; None if there is none."""
        for pause in (0.05, 0.2, 0.0):
            try:
                found = json.loads(self._file.read_text(encoding="utf-8"))
                mine = found["session"] == SESSION
                return None if mine or found["ended"] or _is_dead(found) else dict(found)
            except FileNotFoundError:
                return None
            except (ValueError, KeyError, TypeError):  # it is just being written, or is no such
                time.sleep(pause)
        return None

    def _write(self, *, ended: bool) -> None:
        require_mounted(self._file.parent)
        # Written in place: a file that is replaced on Drive goes to its trash each time.
        content = {
            "session": SESSION,
            "machine": _this_machine(),
            "process": os.getpid(),
            "started": _started(os.getpid()),
            "at": time.time(),
            "ended": ended,
        }
        self._file.write_text(json.dumps(content), encoding="utf-8")

    @contextlib.contextmanager
    def _alone_on_this_machine(self) -> Iterator[None]:
        """Look and write as one: of two sessions that begin in the same instant, one is first."""
        if sys.platform == "win32":  # the heartbeat tells the later one
            yield
            return
        import fcntl

        number = os.open(self._file.parent, os.O_RDONLY)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)


def _name(session: dict[str, Any]) -> str:
    return f"process {session['process']} on {session['machine']}"


def _this_machine() -> str:
    """Return this machine's name, with the id of its boot on Linux, elsewhere of its network."""
    try:
        boot = (PROCESSES / "sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return f"{platform.node()}/{uuid.getnode():x}"
    return f"{platform.node()}/{boot}"


def _started(process: int) -> str | None:
    """Return when a process began, which no other of its number did; nothing if it has ended.

    None if that can't be told: without Linux's `/proc`, and without psutil or its permission.
    """
    if not PROCESSES.exists():
        try:
            import psutil
        except ImportError:
            return None
        try:
            found = psutil.Process(process)
            return f"{found.create_time():.0f}" if found.status() != psutil.STATUS_ZOMBIE else ""
        except psutil.NoSuchProcess:
            return ""
        except psutil.AccessDenied:
            return None
    try:
        stat = (PROCESSES / f"{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]  # a zombie has ended


def _is_here(other: dict[str, Any]) -> bool:
    """Tell whether a session is one of this machine, if it and this one can tell of processes."""
    told = other["started"] and _started(os.getpid())
    return bool(told and other["machine"] == _this_machine())


def _is_dead(other: dict[str, Any]) -> bool:
    """Tell whether a session's process has ended; False where that can't be known."""
    process = int(other["process"])
    if not _is_here(other):
        return False
    # Its number may be that of this session now, or of another process.
    return process == os.getpid() or _started(process) not in (None, str(other["started"]))
