"""Two sessions that write the same run: noticed by a heartbeat, and the second one is told."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import UserError

BEAT = 30.0
"""Seconds between two signs of life; each is a file that Drive uploads."""

SILENCE = 90.0
"""Seconds after which a session that gave no sign is taken for dead.

Two signs may be missed: Drive takes its time to upload a file and to show it to another machine.
"""

GOODBYE = 5.0
"""Seconds that the end of a session waits for Drive to take its last sign."""

SESSION = secrets.token_hex(8)
"""This process: opening a run again in it is no conflict."""


class Claim:
    """This session's claim on a folder, kept alive by a file that is written again and again.

    Args:
        folder: What only one session may write to.

    Attributes:
        lost: Who has taken the folder over, in words; empty as long as it is this session's.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "session.json"
        self._ended = threading.Event()
        self._ended.set()
        self._beating: threading.Thread | None = None
        self.lost = ""

    def take(self) -> None:
        """Claim the folder; wait until another session's silence shows that it is dead.

        What this session holds already stays as it is.

        Raises:
            OSError: If the folder can't be written.
            UserError: If another session is alive.
        """
        if not self._ended.is_set():
            return
        before = now = self._other()
        if before is not None:
            age = time.time() - before["at"]
            wait = min(max(SILENCE - age, 0.0), SILENCE)  # whatever that machine's clock says
            if wait:
                print(
                    f"Another session ({before['machine']}) wrote to {self._file.parent}"
                    f" {max(age, 0.0):.0f} s ago, and did not say that it ended. If it is alive, it"
                    f" writes again within {BEAT:.0f} s, and Drive may be late to show it: waiting"
                    f" for up to {wait:.0f} s. If nothing comes, this session takes over."
                )
            ends = time.monotonic() + wait
            while now == before and time.monotonic() < ends:
                time.sleep(min(1.0, SILENCE / 10))
                with contextlib.suppress(OSError):  # it is just being replaced; look again
                    now = self._other()
            if now is not None and now != before:
                raise UserError(
                    f"Another session is writing to {self._file.parent}: {now['machine']}, process"
                    f" {now['process']}. Two would spoil each other's run. End that one (Runtime →"
                    " Manage sessions → Terminate) and run this again, or choose another run_name."
                )
        self._begin()

    def hold(self) -> bool:
        """Go on with the claim, or begin it anew after `release`; False if another has it."""
        if self._ended.is_set() and not self.lost:
            other = self._other()
            if other is not None and time.time() - other["at"] < SILENCE:
                self._lose(other)
            else:
                self._begin()
        return not self.lost

    def release(self) -> None:
        """Say that this session has written everything, so that the next need not wait."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(GOODBYE)

    def _begin(self) -> None:
        self.lost = ""
        self._ended = threading.Event()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._write(ended=False)
        self._beating = threading.Thread(target=self._beat, args=(self._ended,), daemon=True)
        self._beating.start()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            try:
                if (other := self._other()) is not None:
                    self._lose(other)
                    return
                self._write(ended=False)
            except OSError:  # Drive is away; its next sign of life is the retry
                continue
        with contextlib.suppress(OSError):  # then the next one waits until the silence tells
            self._write(ended=True)

    def _lose(self, other: dict[str, Any]) -> None:
        self._ended.set()
        self.lost = f"another session has taken the run over: {other['machine']}"

    def _other(self) -> dict[str, Any] | None:
        """Read the file; None if nobody else is known to be writing."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            mine = found["session"] == SESSION
            if mine or found["ended"] or _is_dead(found["machine"], found["process"]):
                return None
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or half written
            return None
        return dict(found)

    def _write(self, *, ended: bool) -> None:
        # Written in place: a file that is replaced on Drive goes to its trash each time.
        content = {
            "session": SESSION,
            "machine": platform.node(),
            "process": os.getpid(),
            "at": time.time(),
            "ended": ended,
        }
        self._file.write_text(json.dumps(content), encoding="utf-8")


def _is_dead(machine: str, process: int) -> bool:
    """Tell whether a process of this machine has ended; False where that can't be known."""
    if machine != platform.node() or os.name != "posix":
        return False
    if process == os.getpid():  # the number is this session's now
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
